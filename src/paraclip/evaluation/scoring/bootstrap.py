"""Vectorised, seeded percentile bootstrap over items.

A resample is a vector of weights, the number of times each item is drawn. Means are then matrix
products, and a rank correlation needs only one sort, since the rank of a value in a resample is the
cumulative sum of the weights in sorted order. Two models scored on the same items with the same
seed use the same draws, so the difference of their resamples is the paired bootstrap.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from paraclip.evaluation.benchmark import Metric

Float = NDArray[np.floating]
Integer = NDArray[np.integer]

BLOCK = 100_000  # number of weights at a time: a few arrays of this size fit a core's cache
SAMPLES = 1000  # number of samples of `sampled_spearman`
SAMPLED = 2_000_000  # number of its weights at a time; another number gives other samples
ROUNDING = 1e-12  # a variance below this share of the mean square is due to rounding


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float  # value on all items
    low: float  # 2.5th percentile of the resamples
    high: float  # 97.5th percentile of the resamples


def interval(value: float, resampled: Float) -> Interval:
    """Return the percentile interval of the resamples; NaN bounds if no resample is finite."""
    finite = resampled[np.isfinite(resampled)]
    if not len(finite):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.percentile(finite, [2.5, 97.5])
    return Interval(value, float(low), float(high))


def resample(metric: "Metric", resamples: int, seed: int) -> Float:
    """Return the metric on `resamples` draws of its items with replacement [resamples].

    Items of one cluster (captions of one picture) are drawn together. If the metric is a mean over
    groups, each group is resampled separately and keeps its number of clusters.
    """
    parts = [
        _resample_group(metric, members, resamples, np.random.default_rng([seed, number]))
        for number, members in enumerate(metric.members())
    ]
    averaged: Float = np.average(parts, axis=0, weights=metric.shares())
    return averaged


def _resample_group(
    metric: "Metric", members: Integer, resamples: int, random: np.random.Generator
) -> Float:
    if not len(members):  # undefined without items
        return np.full(resamples, np.nan)
    items = metric.items[members]
    clusters = np.arange(len(items)) if metric.clusters is None else metric.clusters[members]
    names, clusters = np.unique(clusters, return_inverse=True)
    statistic = STATISTICS[metric.statistic](items)
    drawn = draws(len(names), resamples, random)
    return np.concatenate([statistic(np.take(weights, clusters, axis=1)) for weights in drawn])


def draws(units: int, resamples: int, random: np.random.Generator) -> Iterator[Float]:
    """Yield how often each unit is drawn, in blocks [resamples, units] of bounded size."""
    step = max(1, BLOCK // units)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = random.integers(0, units, size=(rows, units))
        drawn += np.arange(rows)[:, None] * units
        counted = np.bincount(drawn.ravel(), minlength=rows * units)
        yield counted.reshape(rows, units).astype(np.float64)


class WeightedMean:
    """Mean of items [items] under weights [resamples, items]."""

    def __init__(self, items: Float) -> None:
        self.items = items

    def __call__(self, weights: Float) -> Float:
        mean: Float = (weights @ self.items) / weights.sum(axis=1)
        return mean


class WeightedPearson:
    """Linear correlation of two columns [items, 2] under weights [resamples, items]."""

    def __init__(self, items: Float) -> None:
        first, second = (items - items.mean(axis=0)).T
        self.columns = np.stack([first, second, first**2, second**2, first * second], axis=1)

    def __call__(self, weights: Float) -> Float:
        sums = (weights @ self.columns) / weights.sum(axis=1, keepdims=True)
        return _ratio(*sums.T)


class WeightedSpearman:
    """Rank correlation of two columns under weights; ties share their mean rank.

    A weight is how often an item is drawn. Fractional weights represent an average over draws.
    """

    def __init__(self, items: Float) -> None:
        self.first, self.second = _Ranks(items[:, 0]), _Ranks(items[:, 1])

    def __call__(self, weights: Float) -> Float:
        first, second = self.first(weights), self.second(weights)
        total = weights.sum(axis=1)
        centre = (total[:, None] + 1) / 2  # the mean of the ranks 1..total
        first -= centre
        second -= centre
        weighted = weights * first
        sums = (
            np.einsum("bi,bi->b", weighted, first),
            np.einsum("bi,bi,bi->b", weights, second, second),
            np.einsum("bi,bi->b", weighted, second),
        )
        zero = np.zeros_like(total)
        return _ratio(zero, zero, sums[0], sums[1], sums[2])


class WeightedBySample:
    """`sampled_spearman` of items [items, 3] under weights: every drawn query has equal weight.

    It is the correlation that the samples estimate, so a resample has no sampling noise.
    """

    def __init__(self, items: Float) -> None:
        _, queries, counts = np.unique(items[:, 2], return_inverse=True, return_counts=True)
        self.shares = 1 / counts[queries]
        self.correlation = WeightedSpearman(items[:, :2])

    def __call__(self, weights: Float) -> Float:
        return self.correlation(weights * self.shares)


def sampled_spearman(items: Float, samples: int = SAMPLES) -> float:
    """Return the mean rank correlation over samples of half of the queries, one item of each.

    Pairs that share a query are correlated, and some queries have many more pairs than others; a
    sample takes each query at most once. Samples are seeded, the same for every model.

    Args:
        items: similarity, gold score and number of the query [items, 3].
        samples: number of samples.

    Returns:
        The mean over the samples in which both columns vary, -1 to 1; NaN with fewer than four
        queries, or if a column is constant.

    Source: Parekh et al. 2021 (Crisscrossed Captions), section 4; 1,000 samples.
    """
    _, queries, counts = np.unique(items[:, 2], return_inverse=True, return_counts=True)
    if len(counts) < 4:
        return float("nan")
    by_query = np.argsort(queries, kind="stable")
    starts = np.cumsum(counts) - counts
    correlation, random = WeightedSpearman(items[:, :2]), np.random.default_rng(0)
    rows, correlations = max(1, SAMPLED // len(items)), []
    for first in range(0, samples, rows):
        size = (min(rows, samples - first), len(counts))
        weights = np.zeros((size[0], len(items)))
        half = np.argsort(random.random(size), axis=1)[:, : len(counts) // 2]  # half of the queries
        place = starts[half] + (random.random(half.shape) * counts[half]).astype(np.int64)
        np.put_along_axis(weights, by_query[place], 1.0, axis=1)
        correlations.append(correlation(weights))
    found = np.concatenate(correlations)
    found = found[np.isfinite(found)]  # a few items drawn from many ties may all be equal
    return float(found.mean()) if len(found) else float("nan")


class _Ranks:
    """Ranks of a column's values in resamples, computed from one sort.

    `np.take` is three times as fast as an index expression, and where nearly every value is a
    level of its own, `reduceat` takes as long as another cumulative sum.
    """

    def __init__(self, column: Float) -> None:
        self.level = np.unique(column, return_inverse=True)[1]
        self.order = np.argsort(self.level, kind="stable")
        self.starts = np.searchsorted(self.level[self.order], np.arange(self.level.max() + 1))
        self.ends = np.append(self.starts[1:], len(column)) - 1
        self.many = 2 * len(self.starts) > len(column)

    def __call__(self, weights: Float) -> Float:
        """Return the mean ranks [resamples, items]; items that are not drawn have weight 0."""
        drawn = np.take(weights, self.order, axis=1)
        if self.many:
            through = np.take(np.cumsum(drawn, axis=1), self.ends, axis=1)
        else:
            through = np.cumsum(np.add.reduceat(drawn, self.starts, axis=1), axis=1)
        below = np.zeros_like(through)
        below[:, 1:] = through[:, :-1]
        ranks: Float = np.take((below + through + 1) / 2, self.level, axis=1)
        return ranks


def _ratio(first: Float, second: Float, square: Float, other: Float, product: Float) -> Float:
    """Return the correlation from weighted moments; NaN where a column is constant."""
    one, two = square - first**2, other - second**2
    varies = (one > ROUNDING * square) & (two > ROUNDING * other)
    value = np.full_like(one, np.nan)
    np.divide(product - first * second, np.sqrt(abs(one * two)), out=value, where=varies)
    return value


STATISTICS: dict[
    str, type[WeightedMean | WeightedPearson | WeightedSpearman | WeightedBySample]
] = {
    "mean": WeightedMean,
    "pearson": WeightedPearson,
    "spearman": WeightedSpearman,
    "sampled_spearman": WeightedBySample,
}
