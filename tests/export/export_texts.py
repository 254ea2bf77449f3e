"""Compares the vectors of two programs."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.export.loaders.texts import TEXTS

__all__ = ("TEXTS", "Vectors", "assert_same_search", "unit")
MOST_DIFFERENCE = 1e-4

Vectors = NDArray[np.float32]


def unit(vectors: NDArray[np.floating]) -> Vectors:
    """Vectors [n, width] of unit length."""
    found = np.asarray(vectors, np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def assert_same_search(theirs: NDArray[np.floating], ours: NDArray[np.floating]) -> None:
    """Vectors agree to 1e-4, and rank a fixed pool alike."""
    assert theirs.shape == ours.shape
    first, second = unit(theirs), unit(ours)
    assert np.abs(first - second).max() < MOST_DIFFERENCE
    pool = unit(np.random.default_rng(0).standard_normal((40, first.shape[1])))
    assert np.array_equal(
        (first @ pool.T).argsort(1)[:, -10:], (second @ pool.T).argsort(1)[:, -10:]
    )
