"""Whether a difference counts: bootstrap p-values, seeds as a second level, Holm's correction."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.floating]


def p_value(drawn: Float) -> float:
    """Two-sided p-value of "no difference" from resampled differences.

    Twice the smaller tail beyond zero, zero itself in both tails, one added to count and number so
    that it is never 0 (Davison and Hinkley 1997, section 4.2). It is under 0.05 where the 95 %
    percentile interval leaves out zero.

    Args:
        drawn: differences [resamples]; NaN ones (not defined) are passed over.

    Returns:
        0 to 1, NaN where no resample has a value.
    """
    finite = drawn[np.isfinite(drawn)]
    if not len(finite):
        return math.nan
    tail = min(np.count_nonzero(finite <= 0), np.count_nonzero(finite >= 0))
    return float(min(1.0, 2 * (tail + 1) / (len(finite) + 1)))


def holm(found: Sequence[float]) -> list[float]:
    """p-values adjusted for being many (Holm 1979): the chance of any false alarm stays bounded.

    From the smallest up the i-th of m is multiplied by m - i + 1; none may fall below one before
    it, and none passes 1. Without assumptions on how the tests depend on each other.

    Args:
        found: p-values; NaN ones belong to no test and stay NaN.
    """
    order = sorted((p, place) for place, p in enumerate(found) if not math.isnan(p))
    adjusted, reached = [math.nan] * len(found), 0.0
    for rank, (p, place) in enumerate(order):
        reached = max(reached, min(1.0, (len(order) - rank) * p))
        adjusted[place] = reached
    return adjusted


def over_seeds(drawn: Float, seed: int) -> Float:
    """Resamples of the mean over seeds: runs are drawn with replacement beside the items.

    Items and seeds are crossed (every run meets the same items), so a resample draws both (Owen
    2007, the pigeonhole bootstrap). The spread between few runs comes out too small by
    (S - 1) / S; deviations from the mean are stretched by sqrt(S / (S - 1)), which sets that right.

    Args:
        drawn: [seeds, resamples], resamples of the items, the same draws for every seed.
        seed: of the draws of seeds.

    Returns:
        [resamples]; with one seed the row as it is.
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
