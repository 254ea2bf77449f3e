"""Exact search: the k nearest of a pool for many queries, in blocks of bounded memory.

A block of queries meets a block of the pool at a time, in float32; what may be among the best k
is scored again in float64. So the result does not depend on the size of the blocks, equal
vectors tie exactly, and ties break by pool position. Memory: one block of scores
(`query_block` x `pool_block` float32, 16 MiB as it comes) and the candidates.
"""

import numpy as np
from numpy.typing import NDArray

from paraclip.errors import UserError

Float = NDArray[np.floating]
Integer = NDArray[np.int64]

MARGIN = 1e-4  # more than float32 can lose in the product of two unit vectors
GATHER = 16_384  # candidates scored at once in float64


def top_k(
    queries: Float, pool: Float, k: int, query_block: int = 256, pool_block: int = 16_384
) -> Integer:
    """Pool positions [queries, k] of the largest dot products, best first.

    Args:
        queries: unit vectors [queries, width].
        pool: unit vectors [pool, width]; may be a memory map, it is read block by block.
        k: how many results a query, at most the size of the pool.
        query_block: queries at a time.
        pool_block: pool vectors at a time.

    Raises:
        UserError: the widths differ, or the pool holds fewer than k vectors.
    """
    check_search(queries, pool, k)
    found = [
        _search(queries[start : start + query_block], pool, k, pool_block)
        for start in range(0, len(queries), query_block)
    ]
    return np.concatenate(found) if found else np.empty((0, k), np.int64)


def check_search(queries: Float, pool: Float, k: int) -> None:
    """Refuse searches that cannot be done."""
    if queries.shape[1] != pool.shape[1]:
        raise UserError(
            "pool",
            f"its vectors are {pool.shape[1]} wide and this model's are {queries.shape[1]}",
            "Cached vectors serve only models of the encoder that made them; give the pictures.",
        )
    if len(pool) < k:
        raise UserError(
            "pool",
            f"it holds {len(pool)} items, fewer than k = {k}",
            "Give a larger pool or a smaller k.",
        )


def _search(queries: Float, pool: Float, k: int, pool_block: int) -> Integer:
    """`top_k` of one block of queries."""
    best = _Best(np.asarray(queries, np.float32), k)
    for start in range(0, len(pool), pool_block):
        best.offer(np.asarray(pool[start : start + pool_block], np.float32), start)
    return best.positions


class _Best:
    """The best k so far of each query of a block; slots not yet filled score minus infinity."""

    def __init__(self, queries: NDArray[np.float32], k: int) -> None:
        self.queries, self.k = queries, k
        self.scores = np.full((len(queries), k), -np.inf)
        self.positions = np.full((len(queries), k), np.iinfo(np.int64).max, np.int64)

    def offer(self, vectors: NDArray[np.float32], start: int) -> None:
        """Meet a block of the pool, vectors [block, width], whose first position is `start`."""
        coarse = self.queries @ vectors.T
        rows, columns = np.nonzero(coarse >= self._bar(coarse)[:, None])
        exact = self._exact(rows, columns, vectors)
        held = np.repeat(np.arange(len(self.queries)), self.k)
        self._keep(
            np.concatenate([held, rows]),
            np.concatenate([self.scores.ravel(), exact]),
            np.concatenate([self.positions.ravel(), columns + start]),
        )

    def _bar(self, coarse: NDArray[np.float32]) -> Float:
        """What a coarse score must reach so that it may be among the best k [queries]."""
        bar = self.scores[:, -1]
        if np.isneginf(bar).any() and coarse.shape[1] > self.k:
            kth = coarse.shape[1] - self.k
            bar = np.maximum(bar, np.partition(coarse, kth, axis=1)[:, kth])
        margin: Float = bar - MARGIN
        return margin

    def _exact(self, rows: Integer, columns: Integer, vectors: NDArray[np.float32]) -> Float:
        """Dot products in float64 of the candidates, some at a time."""
        scores = np.empty(len(rows))
        for start in range(0, len(rows), GATHER):
            part = slice(start, start + GATHER)
            left = self.queries[rows[part]].astype(np.float64)
            scores[part] = (left * vectors[columns[part]]).sum(axis=1)
        return scores

    def _keep(self, rows: Integer, scores: Float, positions: Integer) -> None:
        """Keep the first k of each query, by score and then by position; every query has k."""
        order = np.lexsort((positions, -scores, rows))
        starts = np.searchsorted(rows[order], np.arange(len(self.queries)))
        kept = order[starts[:, None] + np.arange(self.k)[None, :]]
        self.scores, self.positions = scores[kept], positions[kept]
