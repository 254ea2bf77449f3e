"""Metrics with a value for each item, their bootstrap intervals, and tests of differences.

The bootstrap is a seeded, vectorised percentile bootstrap over items. A resample is a vector of
weights, the number of times each item is drawn. Means are then matrix products, and a rank
correlation needs only one sort, since the rank of a value in a resample is the cumulative sum of
the weights in sorted order. Two models scored on the same items with the same seed use the same
draws, so the difference of their resamples is the paired bootstrap.

A missing mark of significance is no evidence that two models are equally good: a small sample marks
nothing, and Holm's correction hides small losses. `not_inferior` is the test for "no worse".
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from paraclip.arrays import Float, Integers
from paraclip.evaluation import metrics

BLOCK = 100_000  # number of weights at a time: a few arrays of this size fit a core's cache
_SAMPLES = 1000  # number of samples of `_sampled_spearman`
_SAMPLED = 2_000_000  # number of its weights at a time; another number gives other samples
_ROUNDING = 1e-12  # a variance below this share of the mean square is due to rounding
LEVEL = 0.05  # differences with a smaller corrected p-value are significant
MARGIN = 1.0  # points that a figure may lose and still be "not inferior"
FEWEST = 100  # items of which that can be said
_APART = 1_000_003  # added to the seed of the second model if draws are not paired

_LOWER_IS_BETTER = re.compile(r"first result changes|\w+@\d+ (contrast|negative)")

Statistic = Literal["mean", "spearman", "pearson", "sampled_spearman"]
_Weighted = Callable[[Float], Float]
"""A statistic of fixed items [resamples] as a function of their weights [resamples, items]."""


@dataclass(frozen=True, eq=False)
class Metric:
    """A metric with its value for each item, for computing intervals and differences."""

    name: str  # name in the report, including k ("AO@10")
    # [items] for a mean, [items, 2] for a correlation (similarity, gold score), [items, 3] for a
    # sampled one (with the number of the query)
    items: Float
    statistic: Statistic = "mean"  # statistic computed over the items
    # group numbers [items], for a mean over groups (macro); or numbers of group and part [items,
    # 2], with equal weights for groups and for the parts within each group (tasks and their
    # subsets)
    groups: Integers | None = None
    # cluster numbers [items]; items of one cluster are resampled together
    clusters: Integers | None = None
    headline: bool = True  # whether the metric is in the short table and the plot

    def value(self) -> float:
        """Return the value, 0 to 1 (correlations: -1 to 1); NaN if undefined."""
        members, shares = self.parts()
        values = [VALUES[self.statistic](self.items[rows]) for rows in members]
        return float(np.average(values, weights=shares))

    def parts(self) -> tuple[list[Integers], Float]:
        """Return the item indices of each group (or part) and its weight; weights sum to 1."""
        if self.groups is None:
            return [np.arange(len(self.items))], np.ones(1)
        # Group, and part, of each part [parts, 1 or 2]; the number of each item's part [items].
        names, numbers = np.unique(
            self.groups.reshape(len(self.groups), -1), axis=0, return_inverse=True
        )
        members = [np.flatnonzero(numbers.ravel() == number) for number in range(len(names))]
        # The group of each part [parts]; the number of parts of each group [groups].
        _, owners, sizes = np.unique(names[:, 0], return_inverse=True, return_counts=True)
        return members, 1 / (len(sizes) * sizes[owners])


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


def resample(metric: Metric, resamples: int, seed: int) -> Float:
    """Return the metric on `resamples` draws of its items with replacement [resamples].

    Items of one cluster (captions of one picture) are drawn together, in all groups; a group of
    which nothing is drawn does not count in its resample. Without clusters, each group is resampled
    separately and keeps its number of items. Resamples are NaN if there is only one item or cluster
    to draw, which says nothing about others.
    """
    members, shares = metric.parts()
    # What is drawn together: the number of units; of each part, its items and the unit of each.
    if metric.clusters is None:
        strata = [(len(rows), [(rows, np.arange(len(rows)))]) for rows in members]
    else:
        names, units = np.unique(metric.clusters, return_inverse=True)
        strata = [(len(names), [(rows, units[rows]) for rows in members])]
    if all(count < 2 for count, _ in strata):
        return np.full(resamples, np.nan)
    drawn: list[Float] = []
    for number, (count, parts) in enumerate(strata):
        of_parts = [(STATISTICS[metric.statistic](metric.items[rows]), own) for rows, own in parts]
        blocks = draw_weights(count, resamples, np.random.default_rng([seed, number]))
        found = [[of(np.take(often, own, axis=1)) for of, own in of_parts] for often in blocks]
        drawn.extend(np.concatenate(found, axis=1))  # [resamples] of each of its parts
    # [parts, resamples]. A mean is NaN if nothing of its part is drawn; a correlation, if a column
    # is constant, and then its resample does not count.
    present = np.ma.array(drawn, mask=np.isnan(drawn) & (metric.statistic == "mean"))
    averaged: Float = np.ma.filled(np.ma.average(present, axis=0, weights=shares), np.nan)
    return averaged


def mean_interval(values: Float, clusters: Integers | None = None) -> Interval:
    """The mean of the values of items, with its interval over items, or over clusters of them."""
    metric = Metric("mean", values, clusters=clusters)
    return interval(metric.value(), resample(metric, 1000, 0))


def draw_weights(units: int, resamples: int, random: np.random.Generator) -> Iterator[Float]:
    """Yield how often each unit is drawn, in blocks [resamples, units] of bounded size."""
    step = max(1, BLOCK // units)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = random.integers(0, units, size=(rows, units))
        drawn += np.arange(rows)[:, None] * units
        counted = np.bincount(drawn.ravel(), minlength=rows * units)
        yield counted.reshape(rows, units).astype(np.float64)


def _weighted_mean(items: Float) -> _Weighted:
    """Return the mean of items [items] as a function of weights; NaN if all weights are 0."""

    def mean(weights: Float) -> Float:
        total = weights.sum(axis=1)
        value: Float = np.full_like(total, np.nan)
        np.divide(weights @ items, total, out=value, where=total > 0)
        return value

    return mean


def _weighted_pearson(items: Float) -> _Weighted:
    """Return the linear correlation of two columns [items, 2] as a function of weights."""
    first, second = (items - items.mean(axis=0)).T
    columns = np.stack([first, second, first**2, second**2, first * second], axis=1)  # [items, 5]

    def correlation(weights: Float) -> Float:
        sums = (weights @ columns) / weights.sum(axis=1, keepdims=True)  # [resamples, 5]
        return _ratio(*sums.T)

    return correlation


def _weighted_spearman(items: Float) -> _Weighted:
    """Return the rank correlation of two columns as a function of weights; ties share their rank.

    A weight is how often an item is drawn. Fractional weights represent an average over draws.
    """
    ranks = _weighted_ranks(items[:, 0]), _weighted_ranks(items[:, 1])

    def correlation(weights: Float) -> Float:
        first, second = (rank(weights) for rank in ranks)  # [resamples, items]
        total = weights.sum(axis=1)  # [resamples]
        centre = (total[:, None] + 1) / 2  # the mean of the ranks 1..total
        first -= centre
        second -= centre
        weighted = weights * first
        squares = np.einsum("bi,bi->b", weighted, first)
        others = np.einsum("bi,bi,bi->b", weights, second, second)
        zero = np.zeros_like(total)
        return _ratio(zero, zero, squares, others, np.einsum("bi,bi->b", weighted, second))

    return correlation


def _weighted_by_sample(items: Float) -> _Weighted:
    """Return the correlation that `_sampled_spearman` estimates: drawn queries weigh the same."""
    _, queries, counts = np.unique(items[:, 2], return_inverse=True, return_counts=True)
    shares, correlation = 1 / counts[queries], _weighted_spearman(items[:, :2])
    return lambda weights: correlation(weights * shares)


def _sampled_spearman(items: Float) -> float:
    """Return the mean rank correlation over samples of half of the queries, one item of each.

    Pairs that share a query are correlated, and some queries have many more pairs than others; a
    sample takes each query at most once. Samples are seeded, the same for every model; those in
    which a column is constant do not count. NaN with fewer than four queries.

    Source: Parekh et al. 2021 (Crisscrossed Captions), section 4; 1,000 samples.
    """
    _, queries, counts = np.unique(items[:, 2], return_inverse=True, return_counts=True)
    if len(counts) < 4:
        return float("nan")
    by_query = np.argsort(queries, kind="stable")  # [items]
    starts = np.cumsum(counts) - counts  # of each query's items in `by_query` [queries]
    correlation, random = _weighted_spearman(items[:, :2]), np.random.default_rng(0)
    rows, correlations = max(1, _SAMPLED // len(items)), []
    for first in range(0, _SAMPLES, rows):
        size = (min(rows, _SAMPLES - first), len(counts))
        weights = np.zeros((size[0], len(items)))
        half = np.argsort(random.random(size), axis=1)[:, : len(counts) // 2]  # half of the queries
        # Places in `by_query` of one item of each drawn query [rows, queries // 2].
        place = starts[half] + (random.random(half.shape) * counts[half]).astype(np.int64)
        np.put_along_axis(weights, by_query[place], 1.0, axis=1)
        correlations.append(correlation(weights))
    found = np.concatenate(correlations)
    found = found[np.isfinite(found)]  # a few items drawn from many ties may all be equal
    return float(found.mean()) if len(found) else float("nan")


def _weighted_ranks(column: Float) -> _Weighted:
    """Return the mean ranks [resamples, items] of a column as a function of weights."""
    level = np.unique(column, return_inverse=True)[1]  # [items], equal for equal values
    order = np.argsort(level, kind="stable")
    # The last place of each level in `order` [levels].
    ends = np.searchsorted(level[order], np.arange(level.max() + 1), side="right") - 1

    def ranks(weights: Float) -> Float:
        drawn = np.take(weights, order, axis=1)  # three times as fast as an index expression
        through = np.take(np.cumsum(drawn, axis=1), ends, axis=1)  # up to each level [., levels]
        below = np.zeros_like(through)
        below[:, 1:] = through[:, :-1]
        found: Float = np.take((below + through + 1) / 2, level, axis=1)
        return found

    return ranks


def _ratio(first: Float, second: Float, square: Float, other: Float, product: Float) -> Float:
    """Return the correlation from weighted moments; NaN where a column is constant."""
    one, two = square - first**2, other - second**2  # variances; all are [resamples]
    varies = (one > _ROUNDING * square) & (two > _ROUNDING * other)
    value = np.full_like(one, np.nan)
    np.divide(product - first * second, np.sqrt(abs(one * two)), out=value, where=varies)
    return value


VALUES = {
    "mean": metrics.mean,
    "spearman": metrics.spearman,
    "pearson": metrics.pearson,
    "sampled_spearman": _sampled_spearman,
}
STATISTICS = {
    "mean": _weighted_mean,
    "pearson": _weighted_pearson,
    "spearman": _weighted_spearman,
    "sampled_spearman": _weighted_by_sample,
}


def prefers_lower(name: str) -> bool:
    """Return whether less is better: of changes, and of what another meaning shares or finds."""
    return _LOWER_IS_BETTER.fullmatch(name) is not None


def not_inferior(difference: Interval, items: int, lower_is_better: bool = False) -> bool:
    """Return whether the interval of a difference, in points, excludes a loss of `MARGIN` or more.

    False also where the interval is undefined, for fewer items than `FEWEST`, and where it has no
    width: that nothing was drawn which changes says little of what changes seldom.

    Source: Piaggio et al. 2012, CONSORT statement on non-inferiority trials.
    """
    worst = -difference.high if lower_is_better else difference.low
    return items >= FEWEST and difference.low < difference.high and worst > -MARGIN


def p_value(drawn: Float) -> float:
    """Return the two-sided p-value of "no difference" from resampled differences.

    It is twice the smaller tail beyond zero. Zeros count in both tails, and one is added to the
    count and to the number of resamples, so that the p-value is never 0 (Davison and Hinkley 1997,
    section 4.2). It is about 0.05 if the 95 % percentile interval ends at zero.

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

    NaN values are not counted as tests and stay NaN.
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
    2007, the pigeonhole bootstrap). The variance between S runs is underestimated by a factor (S -
    1) / S; deviations from the mean are scaled by sqrt(S / (S - 1)) to correct this. Given are
    resamples of the items [seeds, resamples], with the same draws for every seed; the result is
    [resamples], with one seed its row unchanged.
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


def drawn_difference(
    ones: Sequence[Metric],
    others: Sequence[Metric],
    resamples: int,
    seed: int = 0,
    paired: bool = True,
) -> Float:
    """Return resampled differences [resamples] of a metric, others less ones, in points.

    Each model has the metric once for each of its runs (seeds). Equal numbers of runs are paired in
    order, otherwise runs are drawn separately. If `paired`, both were scored on the same items,
    which are then drawn together.
    """
    first = np.stack([100 * resample(metric, resamples, seed) for metric in ones])
    apart = seed if paired else seed + _APART
    second = np.stack([100 * resample(metric, resamples, apart) for metric in others])
    if len(first) == len(second):
        return over_seeds(second - first, seed)
    return over_seeds(second, seed + _APART) - over_seeds(first, seed)
