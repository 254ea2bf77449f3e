"""The knee of an alpha sweep: which mixture of base and tuned to choose.

The rule:

1. A share alpha is admissible if no standard figure falls significantly: for every headline figure
   of the standard benchmarks, the 95 % interval of the paired difference from base reaches 0.
2. The change from base of each headline figure of the other (robustness) benchmarks is divided by
   its largest change over the sweep, so that all figures count the same. The score of an alpha is
   their mean over the figures of a benchmark, then over the benchmarks.
3. The knee is the admissible alpha with the largest score, the smallest alpha of a tie.

Base (alpha 0) is always admissible, with score 0. If base is the knee, every share with a gain
has a significant cost.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paraclip.evaluation.benchmark import Role
from paraclip.evaluation.statistics import Interval


@dataclass(frozen=True)
class Figure:
    """One headline figure along a sweep, in percent."""

    benchmark: str  # its benchmark
    name: str  # such as "AO@10"
    role: Role  # whether it should gain, or only not fall
    values: tuple[Interval, ...]  # values with intervals, one per alpha
    changes: tuple[Interval, ...]  # paired difference from base with intervals, one per alpha

    def defined(self) -> bool:
        """Whether it has a value at every alpha (a constant similarity has no correlation)."""
        return all(math.isfinite(value.value) for value in self.values)


def admissible(figures: Sequence[Figure], index: int) -> bool:
    """Whether no standard figure falls significantly at the alpha of that index (rule 1)."""
    standard = [figure for figure in figures if figure.role == "standard"]
    return not any(figure.changes[index].high < 0 for figure in standard)


def robustness(figures: Sequence[Figure]) -> list[float]:
    """The score of each alpha (rule 2); 0 at base, at most 1.

    Args:
        figures: all; standard and undefined ones are ignored.
    """
    by_benchmark: dict[str, list[list[float]]] = {}
    for figure in figures:
        if figure.role == "robust" and figure.defined():
            by_benchmark.setdefault(figure.benchmark, []).append(normalised(figure))
    means = [np.mean(curves, axis=0) for curves in by_benchmark.values()]
    return [float(score) for score in np.mean(means, axis=0)]


def normalised(figure: Figure) -> list[float]:
    """Changes from base, divided by the largest absolute change."""
    changes = [change.value for change in figure.changes]
    largest = max(map(abs, changes))
    return [change / largest if largest else 0.0 for change in changes]


def knee(figures: Sequence[Figure]) -> int:
    """Index of the knee among the alphas (rule 3)."""
    scores = robustness(figures)
    allowed = [index for index in range(len(scores)) if admissible(figures, index)]
    return max(allowed, key=scores.__getitem__)
