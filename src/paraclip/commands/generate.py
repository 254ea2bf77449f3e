"""`paraclip generate`: paraphrase captions and print the counts, or a plan of the run."""

from paraclip.errors import printable
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.cost import show_dollars
from paraclip.paraphrase.distributed.places import shown_path
from paraclip.paraphrase.run import (
    check_generate_options,
    count_captions,
    estimate_from_source,
    generate_from_source,
)


def generate_command(config: GenerateConfig) -> None:
    """Generate triples and print the counts, or with --dry-run what is read and an estimate.

    Raises:
        UserError: see `generate_from_source`; also if no caption got an answer.
    """
    if config.dry_run:
        _print_plan(config)
        return
    generation = generate_from_source(config)
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
    if summary.failed:
        print(f"{summary.failed:,} captions got no answer: the same command asks them again.")
    generation.check()


def _print_plan(config: GenerateConfig) -> None:
    check_generate_options(config)
    counts = count_captions(config)
    for row in counts.beginning:
        print("\t".join(map(printable, (row.id, row.caption, row.image or "(no picture)"))))
    without = counts.captions - counts.pictures
    print(f"{counts.captions:,} captions, {counts.pictures:,} with a picture, {without:,} without")
    if counts.problems.count:
        print(counts.problems.summary())
    estimate = estimate_from_source(config, counts.captions)
    print("\n".join(map(printable, estimate.table().split("\n"))))
