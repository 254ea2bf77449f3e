"""Exact search: the k nearest of a pool for many queries, in blocks of bounded memory.

A block of the pool meets a block of queries at a time, in float32. The largest score of every
`GROUP` neighbours is taken first, so that nearly all scores are looked at once only, by one fast
instruction; what may be among the best k is scored again in float64. So the result does not depend
on the size of the blocks, equal vectors tie exactly, and ties break by pool position. Memory: one
block of scores (`query_block` x `pool_block` float32, 16 MiB as it comes), one of the pool, the
queries and the best k of each. The pool is read once, from its start to its end.
"""

from math import gcd

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paraclip.errors import UserError
from paraclip.progress import track

Float = NDArray[np.floating]
Integer = NDArray[np.int64]

MARGIN = 1e-4  # more than float32 can lose in the product of two unit vectors
GATHER = 128  # candidates scored at once in float64: what fits the second cache
GROUP = 64  # neighbours whose largest score stands for them


def top_k(
    queries: Float,
    pool: Float,
    k: int,
    query_block: int = 1024,
    pool_block: int = 4096,
    label: str | None = None,
) -> Integer:
    """Pool positions [queries, k] of the largest dot products, best first.

    Args:
        queries: unit vectors [queries, width].
        pool: unit vectors [pool, width]; may be a memory map, it is read block by block.
        k: how many results a query, at most the size of the pool.
        query_block: queries at a time.
        pool_block: pool vectors at a time.
        label: of a progress bar, or None for no bar.

    Raises:
        UserError: the widths differ, the pool holds fewer than k vectors, or a vector is not
            finite.
    """
    check_search(queries, pool, k)
    best = [
        _Best(np.array(queries[start : start + query_block], np.float32), k)
        for start in range(0, len(queries), query_block)
    ]
    starts = range(0, len(pool), pool_block)
    for start in starts if label is None else track(starts, label, len(starts), "block"):
        vectors = np.array(pool[start : start + pool_block], np.float32)
        for block in best:
            block.offer(vectors, start)
    return np.concatenate([block.positions for block in best] or [np.empty((0, k), np.int64)])


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


class _Best:
    """The best k so far of each query of a block; slots not yet filled score minus infinity."""

    def __init__(self, queries: NDArray[np.float32], k: int) -> None:
        self.queries, self.k = queries, k
        self.scores = np.full((len(queries), k), -np.inf)
        self.positions = np.full((len(queries), k), np.iinfo(np.int64).max, np.int64)

    def offer(self, vectors: NDArray[np.float32], start: int) -> None:
        """Meet a block of the pool, vectors [block, width], whose first position is `start`."""
        coarse = torch.from_numpy(self.queries) @ torch.from_numpy(vectors).T
        rows, columns = self._candidates(coarse)
        if len(rows):
            self._keep(rows, self._exact(rows, columns, vectors), columns + start)

    def _candidates(self, coarse: Tensor) -> tuple[Integer, Integer]:
        """Rows and columns of the scores [queries, block] that may be among the best k."""
        grouped = coarse.view(len(coarse), -1, gcd(coarse.shape[1], GROUP))
        tops = grouped.amax(2)
        if not torch.isfinite(tops).all():
            hint = "The weights or the file of vectors are broken; make them anew."
            raise UserError("search", "a vector is not finite", hint)
        bar = self._bar(coarse, tops)
        rows, groups = (tops >= bar[:, None]).nonzero(as_tuple=True)
        hits, places = (grouped[rows, groups] >= bar[rows, None]).nonzero(as_tuple=True)
        return rows[hits].numpy(), (groups[hits] * grouped.shape[2] + places).numpy()

    def _bar(self, coarse: Tensor, tops: Tensor) -> Tensor:
        """What a coarse score must reach so that it may be among the best k [queries]."""
        bar = torch.from_numpy(self.scores[:, -1].astype(np.float32))
        # k groups whose largest score reaches a bar hold at least k scores that do.
        source = tops if tops.shape[1] >= self.k else coarse
        if torch.isneginf(bar).any() and source.shape[1] >= self.k:
            bar = torch.maximum(bar, source.topk(self.k).values[:, -1])
        return bar - MARGIN

    def _exact(self, rows: Integer, columns: Integer, vectors: NDArray[np.float32]) -> Float:
        """Dot products in float64 of the candidates, some at a time."""
        scores = np.empty(len(rows))
        for start in range(0, len(rows), GATHER):
            part = slice(start, start + GATHER)
            left = self.queries[rows[part]].astype(np.float64)
            scores[part] = (left * vectors[columns[part]]).sum(axis=1)
        return scores

    def _keep(self, rows: Integer, scores: Float, positions: Integer) -> None:
        """Keep the first k of each query that has candidates, by score and then by position."""
        touched, local = np.unique(rows, return_inverse=True)
        owners = np.concatenate([np.repeat(np.arange(len(touched)), self.k), local])
        scores = np.concatenate([self.scores[touched].ravel(), scores])
        positions = np.concatenate([self.positions[touched].ravel(), positions])
        order = np.lexsort((positions, -scores, owners))
        starts = np.searchsorted(owners[order], np.arange(len(touched)))
        kept = order[starts[:, None] + np.arange(self.k)[None, :]]
        self.scores[touched], self.positions[touched] = scores[kept], positions[kept]
