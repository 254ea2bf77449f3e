"""Exact nearest neighbours of a batch of queries in a matrix of unit vectors, with numpy alone.

Scores are computed for one block of the matrix at a time. The maximum of each group of adjacent
scores is taken first, so that nearly all scores are read once only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Integer = NDArray[np.int64]

BLOCK = 8192  # rows
GROUP = 32  # adjacent rows represented by their best score


@dataclass(frozen=True)
class Nearest:
    """Positions int64 [queries, k] of the nearest rows, best first, and their scores."""

    positions: Integer
    scores: Float


def nearest(vectors: Float, queries: Float, k: int) -> Nearest:
    """The k rows with the largest dot products; ties are broken by position.

    Args:
        vectors: unit vectors [rows, width]; may be a memory map.
        queries: unit vectors [queries, width].
        k: results of each query; at most the number of rows.
    """
    k = min(k, len(vectors))
    best = Nearest(np.zeros((len(queries), 0), np.int64), np.zeros((len(queries), 0), np.float32))
    if not k or not len(queries):
        return best
    for start in range(0, len(vectors), BLOCK):
        scores = queries @ vectors[start : start + BLOCK].T
        best = merged(best, candidates(scores, k, bar(best, k)), start, k)
    return best


def bar(best: Nearest, k: int) -> Float:
    """The score [queries] that a further result must reach."""
    if best.scores.shape[1] < k:
        return np.full(len(best.scores), -np.inf, np.float32)
    return best.scores[:, -1]


def candidates(scores: Float, k: int, least: Float) -> list[tuple[Integer, Float]]:
    """Columns and scores of each query [queries, block] that may be among its best k."""
    block = scores.shape[1]
    whole = block - block % GROUP
    tops = scores[:, :whole].reshape(len(scores), -1, GROUP).max(2)
    if tops.shape[1] > k:  # k groups reach the k-th best maximum, and so do k scores
        reached = np.partition(tops, tops.shape[1] - k, axis=1)[:, -k]
        least = np.maximum(least, reached)
    found = []
    for row, limit in zip(scores, least, strict=True):
        (columns,) = np.nonzero(row >= limit)
        found.append((columns, row[columns]))
    return found


def merged(best: Nearest, found: list[tuple[Integer, Float]], start: int, k: int) -> Nearest:
    """The best k of the results so far and the candidates of the block that begins at `start`."""
    positions, scores = [], []
    for known, value, (columns, more) in zip(best.positions, best.scores, found, strict=True):
        places = np.concatenate([known, columns + start])
        values = np.concatenate([value, more])
        order = np.lexsort((places, -values))[:k]
        positions.append(places[order])
        scores.append(values[order])
    return Nearest(np.stack(positions), np.stack(scores))
