"""How a swap moves the similarities of queries with pictures, on which cut-offs are set."""

from dataclasses import dataclass

import numpy as np

from paraclip.arrays import Float
from paraclip.evaluation.statistics import Interval, interval

_RESAMPLES = 1000
_MOST_QUERIES = 2000
"""Queries that are scored; the memory of the counts grows with them."""
_EDGES = np.linspace(-1, 1, 4001)
"""Cut-offs at which results are counted; one between them is interpolated."""
_BLOCK = 4096  # pictures at a time


@dataclass(frozen=True)
class Cutoff:
    """A cut-off on the similarity before and after a swap."""

    before: float  # the user's, for the base
    # The one that lets as many results of all queries through with the tuned model; None if the
    # one before lets none or all through.
    after: Interval | None
    results: float  # mean number of results a query that pass


@dataclass(frozen=True)
class Scores:
    """Similarities of the results of queries, means over the queries."""

    queries: int  # number of queries
    before: list[float]  # similarity of the result at each rank with the base, best first
    after: list[float]  # the same with the tuned model
    shift: list[Interval]  # their difference, with the interval over queries
    cutoff: Cutoff | None = None  # the user's, if given


def compare_scores(
    before: tuple[Float, Float], after: tuple[Float, Float], pool: Float, cutoff: float | None
) -> Scores:
    """Compare the similarities of queries with a pool [pictures, width] by two text encoders.

    `before` and `after` are unit vectors of the queries [queries, width] and the similarities of
    their first results [queries, k]; the cut-off is the user's for the base.
    """
    random = np.random.default_rng(0)
    chosen = np.sort(random.permutation(len(before[0]))[:_MOST_QUERIES])
    (first, best), (second, new) = ([one[chosen] for one in both] for both in (before, after))
    count, shifts = len(chosen), new - best
    draws = random.multinomial(count, np.full(count, 1 / count), _RESAMPLES).astype(np.float32)
    resampled = draws @ shifts / count
    return Scores(
        count,
        best.mean(axis=0).tolist(),
        new.mean(axis=0).tolist(),
        [
            interval(float(one.mean()), drawn)
            for one, drawn in zip(shifts.T, resampled.T, strict=True)
        ],
        None if cutoff is None else _move_cutoff(cutoff, first, second, pool, draws),
    )


def _move_cutoff(cutoff: float, before: Float, after: Float, pool: Float, draws: Float) -> Cutoff:
    """The cut-off that lets as many results through after as `cutoff` does before."""
    passing, counts = np.zeros(len(before), np.float32), np.zeros((len(after), len(_EDGES)))
    for start in range(0, len(pool), _BLOCK):
        block = np.asarray(pool[start : start + _BLOCK], np.float32)
        passing += (before @ block.T >= cutoff).sum(axis=1)
        places = (
            ((after @ block.T + 1) * (len(_EDGES) // 2)).astype(np.int64).clip(0, len(_EDGES) - 1)
        )
        places += len(_EDGES) * np.arange(len(after))[:, None]
        counts += np.bincount(places.ravel(), minlength=counts.size).reshape(counts.shape)
    above = counts[:, ::-1].cumsum(axis=1).astype(np.float32)  # results at or above each edge
    if not 0 < passing.sum() < len(before) * len(pool):
        return Cutoff(cutoff, None, float(passing.mean()))

    def same_number(weights: Float) -> Float:
        wanted, reached = weights @ passing, weights @ above
        return np.array(
            [np.interp(*one, _EDGES[::-1]) for one in zip(wanted, reached, strict=True)]
        )

    value = same_number(np.ones((1, len(before)), np.float32))[0]
    return Cutoff(cutoff, interval(float(value), same_number(draws)), float(passing.mean()))
