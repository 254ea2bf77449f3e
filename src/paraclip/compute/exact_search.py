"""Exact search for the k nearest pool vectors of many queries, in blocks of bounded memory.

Scores are computed in float32 for one block of the pool and one block of queries at a time. The
maximum of every group of `GROUP` scores is computed first, so that nearly all scores are read only
once; candidates for the best k are then scored again in float64. The result therefore does not
depend on the block sizes, equal vectors tie exactly, and ties are broken by pool position. Memory:
one block of scores (`query_block` x `pool_block` float32, 16 MiB by default), the queries and the
best k of each. The pool is read once, sequentially, and not copied if it is float32.
"""

from math import gcd

import numpy as np
from numpy.typing import NDArray

from paraclip.arrays import Float, Integers
from paraclip.errors import UserError
from paraclip.progress import track

_MARGIN = 1e-4  # exceeds the float32 error of the product of two unit vectors
_GATHER = 128  # candidates scored at once in float64; fits the L2 cache
GROUP = 64  # scores represented by their maximum


def top_k(queries: Float, pool: Float, k: int, label: str | None = None) -> Integers:
    """Return the pool positions [queries, k] of `nearest_rows`."""
    return nearest_rows(queries, pool, k, label=label)[0]


def nearest_rows(
    queries: Float,
    pool: Float,
    k: int,
    query_block: int = 256,
    pool_block: int = 16_384,
    label: str | None = None,
) -> tuple[Integers, Float]:
    """Return the pool positions of the largest dot products, best first, and these products.

    Args:
        queries: unit vectors [queries, width].
        pool: unit vectors [pool, width]; may be a memory map, since it is read in blocks.
        k: number of results per query, at most the size of the pool.
        query_block, pool_block: numbers of vectors per block.
        label: label of the progress bar, or None for no bar.

    Returns:
        Positions [queries, k], and dot products, float64 [queries, k].

    Raises:
        UserError: if the widths differ, the pool has fewer than k vectors, or a vector is not
            finite.
    """
    if queries.shape[1] != pool.shape[1]:
        raise UserError(
            "pool",
            f"its vectors are {pool.shape[1]} wide and this model's are {queries.shape[1]}",
            "Stored vectors fit only the encoder that computed them; give the pictures instead.",
        )
    if len(pool) < k:
        what = f"it contains {len(pool)} items, fewer than k = {k}"
        raise UserError("pool", what, "Give a larger pool or a smaller k.")
    best = [
        _Best(np.asarray(queries[start : start + query_block], np.float32), k)
        for start in range(0, len(queries), query_block)
    ]
    starts = range(0, len(pool), pool_block)
    for start in starts if label is None else track(starts, label, len(starts), "block"):
        vectors = np.asarray(pool[start : start + pool_block], np.float32)
        for block in best:
            block.offer(vectors, start)
    if not best:
        return np.empty((0, k), np.int64), np.empty((0, k))
    positions = np.concatenate([block.positions for block in best])
    return positions, np.concatenate([block.scores for block in best])


class _Best:
    """The best k so far of each query in a block; empty slots score minus infinity."""

    def __init__(self, queries: NDArray[np.float32], k: int) -> None:
        self.queries, self.k = queries, k
        self.scores = np.full((len(queries), k), -np.inf)  # float64 [queries, k], best first
        self.positions = np.full((len(queries), k), np.iinfo(np.int64).max, np.int64)

    def offer(self, vectors: NDArray[np.float32], start: int) -> None:
        """Update with a block of the pool, vectors [block, width] that begin at `start`."""
        coarse = self.queries @ vectors.T  # float32 [queries, block]
        # [queries, members, groups]: members are far apart, so that maxima are computed with vector
        # instructions. The last block may be no multiple of GROUP.
        grouped = coarse.reshape(len(coarse), gcd(coarse.shape[1], GROUP), -1)
        tops = grouped.max(axis=1)  # [queries, groups]; a maximum passes on any NaN
        if not np.isfinite(tops).all():
            hint = "The weights or the vectors file are corrupt; create them again."
            raise UserError("search", "a vector is not finite", hint)
        bar = self._bar(coarse, tops)[:, None]  # [queries, 1]
        rows, groups = np.nonzero(tops >= bar)  # query and number of each group to look into
        hits, places = np.nonzero(grouped[rows, :, groups] >= bar[rows])
        rows, columns = rows[hits], places * tops.shape[1] + groups[hits]  # both [candidates]
        scores = np.empty(len(rows))
        for begin in range(0, len(rows), _GATHER):
            part = slice(begin, begin + _GATHER)
            pairs = self.queries[rows[part]].astype(np.float64) * vectors[columns[part]]
            scores[part] = pairs.sum(axis=1)
        if len(rows):
            self._keep(rows, scores, columns + start)

    def _bar(self, coarse: NDArray[np.float32], tops: NDArray[np.float32]) -> Float:
        """Return the lowest coarse score that may be among the best k [queries]."""
        bar = self.scores[:, -1].astype(np.float32)
        # If the maxima of k groups reach a threshold, at least k scores do.
        source = tops if tops.shape[1] >= self.k else coarse
        if np.isneginf(bar).any() and source.shape[1] >= self.k:
            bar = np.maximum(bar, np.partition(source, -self.k, axis=1)[:, -self.k])
        return bar - np.float32(_MARGIN)

    def _keep(self, rows: Integers, scores: Float, positions: Integers) -> None:
        """Keep the best k of each query with candidates, by score and then by position."""
        touched, local = np.unique(rows, return_inverse=True)
        owners = np.concatenate([np.repeat(np.arange(len(touched)), self.k), local])
        scores = np.concatenate([self.scores[touched].ravel(), scores])
        positions = np.concatenate([self.positions[touched].ravel(), positions])
        order = np.lexsort((positions, -scores, owners))  # by the last key first
        starts = np.searchsorted(owners[order], np.arange(len(touched)))
        # [touched, k]: each query has k entries at least, those that it had.
        kept = order[starts[:, None] + np.arange(self.k)[None, :]]
        self.scores[touched], self.positions[touched] = scores[kept], positions[kept]
