"""`paraclip generate`: paraphrase captions, and print the counts or an estimate."""

from paraclip.errors import printable
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.distributed.places import shown_path
from paraclip.paraphrase.estimate import Estimate
from paraclip.paraphrase.money import dollars
from paraclip.paraphrase.outputs import Summary
from paraclip.paraphrase.run import estimate_from_source, generate_from_source


def generate_command(config: GenerateConfig) -> Summary | Estimate:
    """Generate triples and print the counts, or with --dry-run the estimate.

    Raises:
        UserError: see `generate_from_source`; also if no caption got an answer.
    """
    if config.dry_run:
        estimate = estimate_from_source(config)
        print(printable_lines(estimate.table()))
        return estimate
    generation = generate_from_source(config)
    summary, problems = generation.summary, generation.problems
    print(summary.table())
    shown = shown_path(generation.triples)
    print(printable(f"{summary.kept:,} triples in {shown}"))
    print(cost_line(summary))
    if summary.stopped:
        print(
            f"{summary.stopped} stopped the run; the same command without it goes through the rest."
        )
    if problems.count:
        print(problems.summary())
    for line in generation.exchange.lines(config) if generation.exchange else ():
        print(line)
    if summary.failed:
        print(f"{summary.failed:,} captions got no answer: the same command asks them again.")
    generation.check()
    return summary


def cost_line(summary: Summary) -> str:
    """Tokens and dollars of a run."""
    spent = summary.spent
    tokens = f"{spent['prompt_tokens']:,} + {spent['answer_tokens']:,} tokens"
    return f"{tokens}, cost {dollars(spent['dollars'])}"


def printable_lines(text: str) -> str:
    """The text with control characters escaped, except line ends."""
    return "\n".join(map(printable, text.split("\n")))
