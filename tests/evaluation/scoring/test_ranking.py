"""Blockwise search against sorting everything."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip.compute.exact_search import GROUP, nearest_rows, top_k
from paraclip.errors import UserError


def sorted_search(queries: np.ndarray, pool: np.ndarray, k: int) -> np.ndarray:
    """Slow reference: every score in float64, with a stable sort, so ties keep the pool's order."""
    scores = (queries.astype(np.float64)[:, None, :] * pool[None]).sum(axis=2)
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def vectors(random: np.random.Generator, rows: int, distinct: int) -> np.ndarray:
    """Unit vectors; with few distinct ones there are many exact ties."""
    kinds = random.normal(size=(distinct, 5))
    kinds /= np.linalg.norm(kinds, axis=1, keepdims=True)
    return kinds[random.integers(0, distinct, rows)].astype(np.float32)


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 40),
    distinct=st.integers(1, 40),
    k=st.integers(1, 12),
    query_block=st.integers(1, 5),
    pool_block=st.integers(1, 50) | st.just(32),  # even ones are searched in groups
)
def test_blocks_and_ties_equal_sorting_everything(
    seed: int, rows: int, distinct: int, k: int, query_block: int, pool_block: int
) -> None:
    random = np.random.default_rng(seed)
    pool, queries = vectors(random, max(rows, k), distinct), vectors(random, 4, 4)
    found, _ = nearest_rows(queries, pool, k, query_block, pool_block)
    assert found.tolist() == sorted_search(queries, pool, k).tolist()


@pytest.mark.parametrize("k", [1, 7, 100])
def test_groups_of_neighbours_hide_nothing(k: int) -> None:
    # Whole groups, more and fewer of them than k, and all of the best within one group.
    random = np.random.default_rng(k)
    pool = vectors(random, 6 * GROUP, 6 * GROUP)
    queries = pool[[3, 4 * GROUP, 6 * GROUP - 1]]
    pool[GROUP : 2 * GROUP] = queries[0] + random.normal(scale=1e-3, size=(GROUP, 5))
    found, _ = nearest_rows(queries, pool, k, query_block=2, pool_block=3 * GROUP)
    assert found.tolist() == sorted_search(queries, pool, k).tolist()


def test_reads_a_memory_map(tmp_path) -> None:
    pool = vectors(np.random.default_rng(0), 300, 300)
    np.save(tmp_path / "pool.npy", pool)
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    queries = pool[[7, 250]]
    found, _ = nearest_rows(queries, mapped, 3, pool_block=64)
    assert found.tolist() == top_k(queries, pool, 3).tolist()


def test_near_ties_that_float32_would_confuse() -> None:
    step = np.float32(3e-7)
    pool = np.stack([np.full(50, 0.6) + np.arange(50) * step, np.full(50, 0.8)], axis=1)
    pool = pool.astype(np.float32)
    query = np.array([[1.0, 0.0]], np.float32)
    found, _ = nearest_rows(query, pool, 5, pool_block=7)
    assert found.tolist() == sorted_search(query, pool, 5).tolist()


def test_refuses_other_widths_and_small_pools() -> None:
    with pytest.raises(UserError, match="5 wide and this model's are 4"):
        top_k(np.ones((1, 4)), np.ones((9, 5)), 1)
    with pytest.raises(UserError, match="fewer than k = 10"):
        top_k(np.ones((1, 4)), np.ones((9, 4)), 10)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_reported(broken: float) -> None:
    pool = np.ones((70, 4), np.float32)
    pool[66, 1] = broken
    with pytest.raises(UserError, match="a vector is not finite"):
        nearest_rows(np.ones((1, 4)), pool, 3, pool_block=32)
