"""Exact search returns what sorting all scores returns."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paraclip.search import exact
from paraclip.search.exact import nearest


def unit(rows: int, width: int, seed: int) -> np.ndarray:
    made = np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@settings(max_examples=60)
@given(
    rows=st.integers(0, 400), queries=st.integers(0, 5), k=st.integers(1, 50),
    most=st.sampled_from([1, 500, 2**25]), seed=st.integers(0, 99),
)  # fmt: skip
def test_the_best_k_are_those_of_sorting_all_scores(
    rows: int, queries: int, k: int, most: int, seed: int
) -> None:
    vectors, asked = unit(rows, 8, seed), unit(queries, 8, seed + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "MOST_SCORES", most)
        found = nearest(vectors, asked, k)
    scores = asked @ vectors.T
    expected = -np.sort(-scores, axis=1)[:, :k]
    assert found.scores.shape == (queries, min(k, rows) if queries else 0)
    if queries and rows:
        np.testing.assert_allclose(found.scores, expected, atol=1e-6)
        for row, positions in enumerate(found.positions):
            assert len(set(positions)) == len(positions)
            np.testing.assert_allclose(scores[row, positions], found.scores[row], atol=1e-6)


def test_equal_scores_come_in_the_order_of_the_rows() -> None:
    vectors = np.repeat(unit(1, 4, 0), 300, axis=0)
    assert nearest(vectors, vectors[:1], 5).positions.tolist() == [[0, 1, 2, 3, 4]]


def test_the_graph_is_what_its_recipe_writes() -> None:
    pytest.importorskip("onnx")
    from recipes.search_graph import graph

    assert exact.GRAPH.read_bytes() == graph().SerializeToString()
