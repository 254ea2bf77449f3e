"""Which mixture of base and tuned to take: the knee of an alpha sweep, by a stated rule.

The rule:

1. A share alpha is admissible if no standard figure falls beyond chance: of every headline figure
   of the standard benchmarks, the 95 % interval of the paired difference from base reaches 0.
2. Each headline figure of the other (robustness) benchmarks is set against base and divided by its
   largest change over the sweep, so that each counts the same, whatever its unit. The score of an
   alpha is the mean of these over the figures of a benchmark, then over the benchmarks.
3. The knee is the admissible alpha of the largest score; of equal ones the smallest.

Base (alpha 0) is always admissible with score 0. Where it is the knee, tuning costs more than
chance at every share that gains anything.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paraclip.evaluation.benchmark import Role
from paraclip.evaluation.scoring.bootstrap import Interval


@dataclass(frozen=True)
class Figure:
    """One headline figure along a sweep, in percent.

    Args:
        benchmark: whose.
        name: such as "AO@10".
        role: whether it is to gain, or only not to fall.
        values: with intervals, one an alpha.
        changes: paired difference from base with intervals, one an alpha.
    """

    benchmark: str
    name: str
    role: Role
    values: tuple[Interval, ...]
    changes: tuple[Interval, ...]

    def defined(self) -> bool:
        """Whether it has a value at every alpha (a constant similarity has no correlation)."""
        return all(math.isfinite(value.value) for value in self.values)


def admissible(figures: Sequence[Figure], place: int) -> bool:
    """Whether no standard figure falls beyond chance at the alpha of this place (rule 1)."""
    standard = [figure for figure in figures if figure.role == "standard"]
    return not any(figure.changes[place].high < 0 for figure in standard)


def robustness(figures: Sequence[Figure]) -> list[float]:
    """The score of each alpha (rule 2); 0 at base, at most 1.

    Args:
        figures: all; the standard ones and those that are not defined are passed over.
    """
    by_benchmark: dict[str, list[list[float]]] = {}
    for figure in figures:
        if figure.role == "robust" and figure.defined():
            by_benchmark.setdefault(figure.benchmark, []).append(normalised(figure))
    means = [np.mean(curves, axis=0) for curves in by_benchmark.values()]
    return [float(score) for score in np.mean(means, axis=0)]


def normalised(figure: Figure) -> list[float]:
    """Changes from base as shares of the largest one, gain or loss."""
    changes = [change.value for change in figure.changes]
    largest = max(map(abs, changes))
    return [change / largest if largest else 0.0 for change in changes]


def knee(figures: Sequence[Figure]) -> int:
    """Place of the knee among the alphas (rule 3)."""
    scores = robustness(figures)
    allowed = [place for place in range(len(scores)) if admissible(figures, place)]
    return max(allowed, key=lambda place: scores[place])
