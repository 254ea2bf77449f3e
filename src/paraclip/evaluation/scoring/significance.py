"""Significance of differences: bootstrap p-values, resampling over seeds, Holm's correction.

A missing mark of significance is no evidence that two models are equally good: a small sample marks
nothing, and Holm's correction hides small losses. `not_inferior` is the test for "no worse".
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from paraclip.evaluation.scoring.bootstrap import Interval

Float = NDArray[np.floating]

MARGIN = 1.0  # points that a figure may lose and still be "not inferior"


def not_inferior(
    difference: Interval, lower_is_better: bool = False, margin: float = MARGIN
) -> bool:
    """Return whether the 95 % interval of a difference excludes a loss of `margin` or more.

    Args:
        difference: difference from the other model, in points, with its interval.
        lower_is_better: whether an increase is a loss.
        margin: largest tolerable loss, in points.

    Returns:
        False also where the interval is undefined.

    Source: Piaggio et al. 2012, CONSORT statement on non-inferiority trials.
    """
    worst = -difference.high if lower_is_better else difference.low
    return worst > -margin


def p_value(drawn: Float) -> float:
    """Return the two-sided p-value of "no difference" from resampled differences.

    It is twice the smaller tail beyond zero. Zeros count in both tails, and one is added to the
    count and to the number of resamples, so that the p-value is never 0 (Davison and Hinkley 1997,
    section 4.2). It is below 0.05 if the 95 % percentile interval excludes zero.

    Returns:
        The p-value, 0 to 1; NaN if no resample is finite.
    """
    finite = drawn[np.isfinite(drawn)]
    if not len(finite):
        return math.nan
    tail = min(np.count_nonzero(finite <= 0), np.count_nonzero(finite >= 0))
    return float(min(1.0, 2 * (tail + 1) / (len(finite) + 1)))


def holm(found: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple tests (Holm 1979), which bounds the family-wise error rate.

    In ascending order, the i-th of m p-values is multiplied by m - i + 1. Adjusted values never
    decrease and never exceed 1. No assumption is made on the dependence of the tests.

    Args:
        found: p-values; NaN values are not counted as tests and stay NaN.
    """
    order = sorted((p, index) for index, p in enumerate(found) if not math.isnan(p))
    adjusted, reached = [math.nan] * len(found), 0.0
    for rank, (p, index) in enumerate(order):
        reached = max(reached, min(1.0, (len(order) - rank) * p))
        adjusted[index] = reached
    return adjusted


def over_seeds(drawn: Float, seed: int) -> Float:
    """Resample the mean over seeds by drawing runs, as well as items, with replacement.

    Items and seeds are crossed (every run uses the same items), so a resample draws both (Owen
    2007, the pigeonhole bootstrap). The variance between S runs is underestimated by a factor
    (S - 1) / S; deviations from the mean are scaled by sqrt(S / (S - 1)) to correct this.

    Args:
        drawn: resamples of the items [seeds, resamples], with the same draws for every seed.
        seed: random seed of the draws of runs.

    Returns:
        Resamples of the mean [resamples]; with one seed, its row unchanged.
    """
    seeds, resamples = drawn.shape
    if seeds == 1:
        only: Float = drawn[0]
        return only
    random = np.random.default_rng([seed, seeds])
    chosen = random.integers(0, seeds, size=(seeds, resamples))
    mean = drawn.mean(axis=0)
    picked = np.take_along_axis(drawn, chosen, axis=0).mean(axis=0)
    stretched: Float = mean + math.sqrt(seeds / (seeds - 1)) * (picked - mean)
    return stretched
