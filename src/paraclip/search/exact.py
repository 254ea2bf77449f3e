"""Exact nearest neighbours of a batch of queries in a matrix of unit vectors.

One matrix product and one selection, which onnxruntime runs on all cores. `recipes/search_graph.py`
writes the graph.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paraclip.onnx_session import open_session

Float = NDArray[np.float32]
Integer = NDArray[np.int64]

GRAPH = Path(__file__).with_name("nearest.onnx")
MOST_SCORES = 2**25  # scores computed at a time: 128 MiB


@dataclass(frozen=True)
class Nearest:
    """Positions int64 [queries, k] of the nearest rows, best first, and their scores."""

    positions: Integer
    scores: Float


def nearest(vectors: Float, queries: Float, k: int) -> Nearest:
    """The k rows with the largest dot products; ties are broken by position.

    Args:
        vectors: unit vectors [rows, width]; may be a memory map, which is not copied.
        queries: unit vectors [queries, width].
        k: number of results per query; fewer if there are fewer rows.
    """
    k = min(k, len(vectors))
    if not k or not len(queries):
        empty = (len(queries), k if len(queries) else 0)
        return Nearest(np.zeros(empty, np.int64), np.zeros(empty, np.float32))
    step = max(MOST_SCORES // len(vectors), 1)
    parts = [
        session().run(
            ["positions", "scores"],
            {
                "queries": np.ascontiguousarray(queries[start : start + step], np.float32),
                "vectors": vectors,
                "k": np.array([k], np.int64),
            },
        )
        for start in range(0, len(queries), step)
    ]
    positions, scores = (np.concatenate(one) for one in zip(*parts, strict=True))
    return Nearest(positions, scores)


@cache
def session() -> Any:
    """The onnxruntime session of the graph; raises UserError if it is not installed."""
    return open_session(GRAPH, "search")
