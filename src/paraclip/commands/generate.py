"""`paraclip generate`: paraphrase captions and print the counts, or a plan of the run."""

from itertools import islice

from paraclip.errors import printable, require
from paraclip.paraphrase.backends import backend_kind
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.cost import show_dollars
from paraclip.paraphrase.filters.judge import PACKAGES, Judge
from paraclip.paraphrase.generation import generate_from_source
from paraclip.paraphrase.outputs import FAILED
from paraclip.paraphrase.run import count_captions, estimate
from paraclip.provenance import shown_path

_SHOWN = 5  # captions


def generate_command(config: GenerateConfig) -> None:
    """Generate triples and print the counts, or with --dry-run what is read and an estimate."""
    require(PACKAGES | backend_kind(config.backend).packages)
    # First: without MiniLM's files it fails, before the server is asked.
    judge = Judge(config.filter_limits)
    if config.dry_run:
        _print_plan(config, judge)
        return
    generation = generate_from_source(
        config.captions, config.llm, judge, config.outputs,
        to_file=config.to_file, from_file=config.from_file, part=config.one_part,
        ray_workers=config.ray_workers,
    )  # fmt: skip
    summary, problems = generation.summary, generation.problems
    spent, triples = summary.spent, shown_path(generation.triples)
    print(summary.table())
    print(printable(f"{summary.kept:,} triples in {triples}"))
    tokens = f"{spent['prompt_tokens']:,} + {spent['answer_tokens']:,} tokens"
    print(f"{tokens}, cost {show_dollars(spent['dollars'])}")
    if summary.stopped:
        without = "the same command without it goes through the rest"
        print(f"{summary.stopped} stopped the run; {without}.")
    if problems.count:
        print(problems.summary())
    for line in generation.notes:
        print(printable(line))
    if unanswered := summary.failed - summary.unjudged:
        print(f"{unanswered:,} captions got no answer: {generation.again} asks them again.")
    if summary.unjudged:
        print(f"{summary.unjudged:,} captions failed because of an error in judging their answers.")
        print(f"Please report it, with the reasons in {FAILED}.")
    generation.check()  # last, because the counts explain the error


def _print_plan(config: GenerateConfig, judge: Judge) -> None:
    with count_captions(config.captions, config.outputs.folder) as counts:
        for row in islice(counts.rows(), _SHOWN):
            print("\t".join(map(printable, (row.id, row.caption, row.image or "(no picture)"))))
        captions = counts.captions
        pictures = sum(row.image is not None for row in counts.rows())
        print(
            f"{captions:,} captions, {pictures:,} with a picture, {captions - pictures:,} without"
        )
        if counts.problems.count:
            print(counts.problems.summary())
        found = estimate(counts.rows(), captions, config.llm, judge, config.outputs)
    print("\n".join(map(printable, found.table().split("\n"))))
