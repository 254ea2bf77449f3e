"""The programs that load exported models, and a comparison of vectors."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.export.loaders import environments
from benchmarks.export.loaders.texts import TEXTS
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import encode_texts

__all__ = ("TEXTS",)
LOADERS = Path(environments.__file__).parent
MOST_DIFFERENCE = 1e-5
Vectors = NDArray[np.float32]

Load = Callable[..., np.ndarray]
LoadEach = Callable[..., list[np.ndarray]]


def ours(model: DualEncoder) -> np.ndarray:
    """The model's own vectors of the texts."""
    return encode_texts(model, TEXTS).numpy()


def program(environment: str) -> list[str]:
    """The program that runs an environment's loaders; skips without the environment."""
    if environment == "here":
        return [sys.executable]
    if environment == "transformers_js":
        found = "node" if environments.node_modules() else None
    else:
        path = environments.program(environment)
        found = str(path) if path else None
    if found is None:
        pytest.skip(f"no environment {environment}: make targets creates it")
    return [found]


def node() -> str:
    """The folder that Node's modules are in."""
    return str(environments.node_modules() or "")


def unit(vectors: NDArray[np.floating]) -> Vectors:
    """Vectors [n, width] of unit length."""
    found = np.asarray(vectors, np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def assert_same_search(theirs: NDArray[np.floating], ours: NDArray[np.floating]) -> None:
    """Vectors agree to 1e-5, and rank a fixed pool alike."""
    assert theirs.shape == ours.shape
    first, second = unit(theirs), unit(ours)
    assert np.abs(first - second).max() < MOST_DIFFERENCE
    pool = unit(np.random.default_rng(0).standard_normal((40, first.shape[1])))
    assert np.array_equal(
        (first @ pool.T).argsort(1)[:, -10:], (second @ pool.T).argsort(1)[:, -10:]
    )
