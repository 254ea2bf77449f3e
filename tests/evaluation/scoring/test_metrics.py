"""Metrics against cases worked by hand and slow reference implementations."""

from functools import partial

import numpy as np
import pytest
import twins
from hypothesis import given
from hypothesis import strategies as st

from paraclip.evaluation import metrics


@st.composite
def two_rankings(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    k = draw(st.integers(1, 12))
    pool = st.permutations(range(k + draw(st.integers(0, 8))))
    return draw(pool)[:k], draw(pool)[:k]


@given(two_rankings(), two_rankings(), st.sampled_from([0.5, 0.9, 0.98]))
def test_overlaps_equal_their_slow_twins(found, further, p) -> None:
    k = min(len(found[0]), len(further[0]))  # of two items
    rows = [[ranking[:k] for ranking in pair] for pair in (found, further)]
    first, second = (np.array(rankings) for rankings in zip(*rows, strict=True))
    for fast, slow in (
        (metrics.average_overlap(first, second), partial(twins.average_overlap, k=k)),
        (metrics.jaccard(first, second), partial(twins.jaccard, k=k)),
        (metrics.shared_results(first, second), lambda one, other: len({*one} & {*other})),
        (metrics.rank_biased_overlap(first, second, p), partial(twins.rank_biased_overlap, p=p)),
    ):
        assert fast.tolist() == pytest.approx([slow(one, other) for one, other in rows])


def test_average_overlap_by_hand() -> None:
    # A = 1 2 3, B = 2 1 4: shared at depths 1, 2, 3: 0, 2, 2, so (0/1 + 2/2 + 2/3) / 3 = 5/9.
    first, second = np.array([[1, 2, 3], [7, 8, 9]]), np.array([[2, 1, 4], [7, 8, 9]])
    assert metrics.average_overlap(first, second) == pytest.approx([5 / 9, 1.0])
    assert metrics.jaccard(first, second) == pytest.approx([2 / 4, 1.0])


def unit(*rows: list[float]) -> np.ndarray:
    vectors = np.array(rows, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@given(st.integers(0, 2**32 - 1))
def test_tot_equals_its_slow_twin(seed: int) -> None:
    random = np.random.default_rng(seed)
    one, two, three = (unit(*random.normal(size=(6, 4)).tolist()) for _ in range(3))
    slow = [
        float(a @ b > a @ c and a @ b > b @ c)
        for a, b, c in zip(*(x.astype(np.float64) for x in (one, two, three)), strict=True)
    ]
    assert metrics.text_only_test(one, two, three).tolist() == slow


@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_itt_equals_its_slow_twin(seed: int, rows: int) -> None:
    # Small whole numbers: many ties, and no rounding.
    image, *texts = np.random.default_rng(seed).integers(-1, 2, (4, rows, 3)).astype(np.float32)
    both = []
    for row in range(rows):
        one, two, far = (
            sum(a * b for a, b in zip(image[row], text[row], strict=True)) for text in texts
        )
        both.append(1.0 if one > far and two > far else 0.0)
    assert metrics.image_text_test(image, *texts).tolist() == both


def slow_pearson(first: list[float], second: list[float]) -> float:
    one, two = sum(first) / len(first), sum(second) / len(second)
    products = sum((a - one) * (b - two) for a, b in zip(first, second, strict=True))
    squares = sum((a - one) ** 2 for a in first) * sum((b - two) ** 2 for b in second)
    return products / squares**0.5


def slow_ranks(values: list[float]) -> list[float]:
    """Ranks from 1; equal values share the mean of theirs."""
    return [sum(v < value for v in values) + (values.count(value) + 1) / 2 for value in values]


@given(st.integers(0, 2**32 - 1), st.integers(2, 30))
def test_correlations_equal_their_slow_twins(seed: int, items: int) -> None:
    random = np.random.default_rng(seed)
    pairs = random.integers(0, 6, size=(items, 2)).astype(float)  # with ties
    if np.ptp(pairs, axis=0).min() == 0:
        assert np.isnan(metrics.spearman(pairs)) and np.isnan(metrics.pearson(pairs))
        return
    first, second = pairs.T.tolist()
    assert metrics.pearson(pairs) == pytest.approx(slow_pearson(first, second), abs=1e-9)
    ranked = slow_pearson(slow_ranks(first), slow_ranks(second))
    assert metrics.spearman(pairs) == pytest.approx(ranked, abs=1e-9)


def test_figures_of_too_few_items_are_not_defined() -> None:
    assert np.isnan(metrics.mean(np.empty(0)))
    assert np.isnan(metrics.pearson(np.ones((1, 2))))
    assert np.isnan(metrics.spearman(np.array([[1.0, 2], [1, 3], [1, 4]])))
