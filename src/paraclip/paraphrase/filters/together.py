"""Checks with models that read source and answer together, for answers that passed all others."""

from collections.abc import Callable, Sequence
from pathlib import Path

from paraclip.paraphrase.config import Limits

PairCheck = Callable[[Sequence[tuple[str, str]]], list[bool]]
"""Maps pairs of source and answer to whether each fails."""


def pair_checks(limits: Limits) -> dict[str, PairCheck]:
    """The checks that the limits require, by reason, in order of application.

    Raises:
        UserError: a dependency of a check is not installed, or the folder of `nli` has no model.
    """
    wanted = {
        "roles": (limits.parser, by_parser),
        "meaning": (limits.fault < 1.0, by_checker),
        "entailment": (bool(limits.nli), by_entailment),
    }
    return {
        reason: make(limits)
        for reason, (enabled, make) in wanted.items()
        if enabled and reason not in limits.skipped
    }


def check_models(limits: Limits) -> None:
    """Raise UserError, before any question, if a dependency of `pair_checks` is missing."""
    if limits.nli:
        from paraclip.paraphrase.filters.entailment import entailment_label

        entailment_label(Path(limits.nli))
    if limits.parser:
        from paraclip.paraphrase.language.tagger import require_model

        require_model()


def by_parser(limits: Limits) -> PairCheck:
    """Whether a predicate has other arguments, according to spaCy's dependency parser."""
    from paraclip.paraphrase.language.arguments import ArgumentParser, contradicts

    parser = ArgumentParser()

    def fails(pairs: Sequence[tuple[str, str]]) -> list[bool]:
        texts = list({text for pair in pairs for text in pair})
        parsed = dict(zip(texts, parser.parse(texts), strict=True))
        return [contradicts(parsed[source], parsed[answer]) for source, answer in pairs]

    return fails


def by_checker(limits: Limits) -> PairCheck:
    """Whether the checker's probability of a fault exceeds the limit."""
    from paraclip.paraphrase.filters.checker import Checker

    checker = Checker.shipped()
    return lambda pairs: [fault > limits.fault for fault in checker.faults(pairs)]


def by_entailment(limits: Limits) -> PairCheck:
    """Whether one of the texts does not entail the other, according to a cross-encoder."""
    from paraclip.paraphrase.filters.entailment import Entailment

    model = Entailment(limits.nli)

    def fails(pairs: Sequence[tuple[str, str]]) -> list[bool]:
        sources, answers = [source for source, _ in pairs], [answer for _, answer in pairs]
        return [both < limits.entailed for both in model.both_ways(sources, answers)]

    return fails
