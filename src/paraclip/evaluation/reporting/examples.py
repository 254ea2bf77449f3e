"""Pairs of wordings with the rankings of each model, from any benchmark that ranks pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paraclip.evaluation.benchmark import Benchmark, Scores, Showing
from paraclip.evaluation.scoring.metrics import average_overlap

Integer = NDArray[np.integer]
Rankings = tuple[Integer, Integer]
"""Rankings of the first and second wording, as pool positions [pairs, k]."""

EACH = 30


@dataclass(frozen=True, eq=False)
class Examples:
    """All pairs of one benchmark."""

    name: str  # name of the benchmark in the report
    pool: str  # description of the pool
    references: Sequence[str]  # paths or URLs of the pool's pictures
    texts: Sequence[tuple[str, str]]  # both wordings of each pair
    kinds: Sequence[str]  # kind of rewording of each pair; empty strings if there is only one kind
    rankings: Mapping[str, Rankings]  # rankings of each model, by label
    answers: Sequence[int] = ()  # pool position of the correct pictures; empty if not known


def examples_of(benchmark: Benchmark, scores: Mapping[str, Scores], name: str) -> Examples | None:
    """Return the pairs of a benchmark, or None if it does not rank pictures of a pool."""
    if not isinstance(benchmark, Showing):
        return None
    shown = benchmark.pairs_shown(next(iter(scores.values())))
    if not shown.references or not shown.texts:
        return None
    first, second = shown.arrays
    rankings = {
        label: (found.arrays[first], found.arrays[second]) for label, found in scores.items()
    }
    return Examples(
        name, benchmark.pool, shown.references, shown.texts, shown.kinds, rankings, shown.answers
    )


def overlaps(rankings: Rankings) -> NDArray[np.floating]:
    """Return AO@k of each pair [pairs], 0 to 1."""
    return average_overlap(*rankings)


def most_changed(gains: NDArray[np.floating], each: int = EACH) -> list[int]:
    """Return the indices of the pairs with the largest gains and losses, up to `each` of both.

    Unchanged pairs are excluded. Pairs are sorted by the size of the change, ties by index.
    """
    order = np.argsort(-gains, kind="stable")
    won = [int(number) for number in order[:each] if gains[number] > 0]
    lost = [int(number) for number in order[::-1][:each] if gains[number] < 0]
    return sorted({*won, *lost}, key=lambda number: (-abs(float(gains[number])), number))
