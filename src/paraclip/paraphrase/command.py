"""`paraclip generate` and `paraclip negatives`: call the functions of this room and print."""

from collections import Counter

from paraclip.errors import printable
from paraclip.paraphrase.config import GenerateConfig, NegativesConfig
from paraclip.paraphrase.negatives import NEGATIVE_KINDS, write_negatives
from paraclip.paraphrase.outputs import Summary
from paraclip.paraphrase.run import generate_from_source


def generate_command(config: GenerateConfig) -> Summary:
    """Generate triples and print the counts.

    Raises:
        UserError: `generate_from_source` raised it, or no caption got an answer.
    """
    generation = generate_from_source(config)
    summary, problems = generation.summary, generation.problems
    print(summary.table())
    print(printable(f"{summary.kept:,} triples in {generation.triples}"))
    if problems.count:
        print(problems.summary())
    if summary.failed:
        print(f"{summary.failed:,} captions got no answer: the same command asks them again.")
    generation.check()
    return summary


def negatives_command(config: NegativesConfig) -> None:
    """Write the triples with a hard negative each, and print the kinds of negatives.

    Raises:
        UserError: `write_negatives` raised it.
    """
    negatives, problems = write_negatives(config)
    kinds = Counter(one.kind for one in negatives if one is not None)
    for kind in NEGATIVE_KINDS:
        print(f"{kinds[kind]:>9,}  {kind}")
    print(f"{negatives.count(None):>9,}  none: the text has nothing to change")
    print(f"{len(negatives):,} triples in {config.out}")
    if problems.count:
        problems.write(f"{config.out}.problems.txt")
        print(f"{problems.summary()}\nAll of them: {config.out}.problems.txt")
