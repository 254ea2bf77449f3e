"""Pairs of wordings with what either model finds for them, out of any benchmark that ranks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paraclip.evaluation.benchmark import Benchmark, Scores, Showing
from paraclip.evaluation.scoring.metrics import average_overlap

Integer = NDArray[np.integer]
Rankings = tuple[Integer, Integer]
"""Pool positions [pairs, k] of the first and of the second wording."""

EACH = 30


@dataclass(frozen=True, eq=False)
class Examples:
    """All pairs of one benchmark.

    Args:
        name: of the benchmark, as the report calls it.
        pool: what is searched, in words.
        references: pictures of the pool, paths or URLs.
        texts: both wordings of each pair.
        kinds: what sort of rewording each is; empty where there is one sort only.
        rankings: of each model by its label.
    """

    name: str
    pool: str
    references: Sequence[str]
    texts: Sequence[tuple[str, str]]
    kinds: Sequence[str]
    rankings: Mapping[str, Rankings]


def examples_of(benchmark: Benchmark, scores: Mapping[str, Scores], name: str) -> Examples | None:
    """The pairs of a benchmark, or None where it ranks no pictures of its own pool.

    Args:
        benchmark: what was run.
        scores: of each model.
        name: of the benchmark in the report.
    """
    if not isinstance(benchmark, Showing):
        return None
    shown = benchmark.pairs_shown(next(iter(scores.values())))
    if not shown.references or not shown.texts:
        return None
    first, second = shown.arrays
    rankings = {
        label: (found.arrays[first], found.arrays[second]) for label, found in scores.items()
    }
    return Examples(name, benchmark.pool, shown.references, shown.texts, shown.kinds, rankings)


def overlaps(rankings: Rankings) -> NDArray[np.floating]:
    """AO@k of each pair [pairs], 0 to 1."""
    return average_overlap(*rankings)


def most_changed(gains: NDArray[np.floating], each: int = EACH) -> list[int]:
    """Numbers of the pairs that gained most and that lost most, at most `each` of either.

    A pair that did not change is never taken. Greatest change first, equal ones by their order.
    """
    order = np.argsort(-gains, kind="stable")
    won = [int(number) for number in order[:each] if gains[number] > 0]
    lost = [int(number) for number in order[::-1][:each] if gains[number] < 0]
    return sorted({*won, *lost}, key=lambda number: (-abs(float(gains[number])), number))
