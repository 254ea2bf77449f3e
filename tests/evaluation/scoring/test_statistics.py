"""Intervals, p-values, Holm's correction and seeds: by hand, against slow twins, by simulation."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from paraclip.evaluation import metrics, statistics
from paraclip.evaluation.statistics import (
    STATISTICS,
    Interval,
    Metric,
    draw_weights,
    holm,
    interval,
    not_inferior,
    over_seeds,
    p_value,
    resample,
)


@given(
    seed=st.integers(0, 2**32 - 1),
    items=st.integers(3, 25),
    statistic=st.sampled_from(["mean", "pearson", "spearman"]),
)
def test_weights_equal_repeating_items(seed: int, items: int, statistic: str) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(0, 8, size=(items, 2)).astype(float)
    values = values[:, 0] if statistic == "mean" else values
    weights = random.multinomial(items, np.full(items, 1 / items), size=3)
    plain = {"mean": metrics.mean, "pearson": metrics.pearson, "spearman": metrics.spearman}
    slow = [plain[statistic](np.repeat(values, row, axis=0)) for row in weights]
    fast = STATISTICS[statistic](values)(weights.astype(float))
    assert fast == pytest.approx(slow, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("statistic", ["mean", "pearson", "spearman", "sampled_spearman"])
@pytest.mark.parametrize("block", [1, 30, 1_000])
def test_results_do_not_depend_on_the_size_of_blocks(
    monkeypatch: pytest.MonkeyPatch, statistic: Any, block: int
) -> None:
    items = np.random.default_rng(0).integers(0, 9, size=(40, 3)).astype(float)
    columns = {"mean": 0, "sampled_spearman": slice(3)}.get(statistic, slice(2))
    metric = Metric("m", items[:, columns], statistic)
    whole = resample(metric, 25, 0)
    assert whole.shape == (25,)
    monkeypatch.setattr(statistics, "BLOCK", block)
    assert resample(metric, 25, 0) == pytest.approx(whole, abs=1e-12)


def sampled(items: np.ndarray) -> float:
    return Metric("a", items, "sampled_spearman").value()


def slow_sampled(items: np.ndarray, samples: int, random: np.random.Generator) -> float:
    """The published procedure, one sample at a time."""
    queries = np.unique(items[:, 2])
    found = []
    for _ in range(samples):
        half = random.permutation(queries)[: len(queries) // 2]
        rows = [random.choice(np.flatnonzero(items[:, 2] == query)) for query in half]
        found.append(spearmanr(items[rows, 0], items[rows, 1]).statistic)
    return float(np.mean(found))


@pytest.mark.slow
def test_the_sampled_correlation_is_the_published_procedure() -> None:
    random = np.random.default_rng(0)
    queries = random.integers(0, 60, 150)
    gold = random.normal(size=150) + queries / 30
    similar = gold + random.normal(size=150)
    items = np.stack([similar, gold, queries], axis=1)
    slow = slow_sampled(items, 2000, random)
    assert sampled(items) == pytest.approx(slow, abs=0.01)
    assert sampled(items) == sampled(items)
    (whole,) = STATISTICS["sampled_spearman"](items)(np.ones((1, len(items))))
    assert whole == pytest.approx(slow, abs=0.02)


@given(seed=st.integers(0, 1000))
def test_with_one_pair_a_query_resamples_are_plain(seed: int) -> None:
    random = np.random.default_rng(seed)
    pairs = random.integers(0, 9, (20, 2)).astype(np.float64)  # ties are many
    items = np.column_stack([pairs, np.arange(20)])
    drawn = resample(Metric("a", items, "sampled_spearman", clusters=np.arange(20)), 20, seed)
    plain = resample(Metric("a", pairs, "spearman", clusters=np.arange(20)), 20, seed)
    assert drawn == pytest.approx(plain, nan_ok=True)


def test_few_queries_or_a_constant_column_have_no_sampled_correlation() -> None:
    items = np.column_stack([np.arange(6.0), np.arange(6.0), [0, 0, 1, 1, 2, 2]])
    assert np.isnan(sampled(items))
    items = np.column_stack([np.ones(8), np.arange(8.0), np.arange(8)])
    assert np.isnan(sampled(items))


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, 20), clustered=st.booleans())
def test_groups_and_clusters_equal_drawing_them_one_by_one(
    seed: int, count: int, clustered: bool
) -> None:
    random = np.random.default_rng(seed)
    items, groups = random.random(count), random.integers(0, 3, count)
    groups[:2] = 0  # a group that says more than one item
    clusters = np.array([0, 1, *random.integers(0, 4, count - 2)])
    metric = Metric("m", items, groups=groups, clusters=clusters if clustered else None)
    slow = np.zeros((20, 2))  # sum and number of the means of the groups that are drawn
    for number, group in enumerate(sorted(set(groups.tolist()))):
        members = np.flatnonzero(groups == group)
        names, key = (clusters, 0) if clustered else (np.arange(count), number)
        drawable = np.unique(names if clustered else members)
        (weights,) = statistics.draw_weights(len(drawable), 20, np.random.default_rng([5, key]))
        for row, often in enumerate(weights):
            times = dict(zip(drawable.tolist(), often.astype(int).tolist(), strict=True))
            drawn = [items[n] for n in members for _ in range(times[int(names[n])])]
            slow[row] += (np.mean(drawn), 1) if drawn else (0, 0)
    assert resample(metric, 20, 5) == pytest.approx(slow[:, 0] / slow[:, 1])


def test_rewordings_of_one_caption_that_agree_are_no_further_evidence() -> None:
    captions = np.random.default_rng(0).random(30)
    kinds = np.repeat(np.arange(4), 30)
    metric = Metric("m", np.tile(captions, 4), groups=kinds, clusters=np.tile(np.arange(30), 4))
    assert resample(metric, 50, 0) == pytest.approx(resample(Metric("m", captions), 50, 0))


@pytest.mark.parametrize(
    "metric",
    [
        Metric("m", np.ones(1)),
        Metric("m", np.array([0.2, 0.4]), clusters=np.zeros(2, int)),
        Metric("m", np.array([0.2, 0.4]), groups=np.arange(2), clusters=np.zeros(2, int)),
        Metric("m", np.array([0.2, 0.4]), groups=np.arange(2)),
    ],
)
def test_one_item_has_no_interval(metric: Metric) -> None:
    assert np.isnan(resample(metric, 20, 0)).all() and np.isfinite(metric.value())


def test_undefined_resamples_do_not_spoil_the_interval() -> None:
    found = interval(0.5, np.array([0.0, np.nan, 1.0]))
    assert (found.low, found.high) == pytest.approx((0.025, 0.975))
    assert np.isnan(interval(np.nan, np.array([np.nan])).low)


def test_parts_of_groups_by_hand() -> None:
    # Group 0 has parts of mean 1 and 0, group 1 one part of mean 1/4: (1/2 + 1/4) / 2 = 3/8.
    items = np.array([0, 1.0, 1, 0, 0, 0, 1, 0])
    groups = np.array([[1, 3], [0, 0], [0, 0], [0, 1], [1, 3], [1, 3], [1, 3], [0, 1]])
    metric = Metric("m", items, groups=groups)
    assert metric.value() == pytest.approx(3 / 8)
    members, shares = metric.parts()
    assert shares.tolist() == [1 / 4, 1 / 4, 1 / 2]
    assert [rows.tolist() for rows in members] == [[1, 2], [3, 7], [0, 4, 5, 6]]


def test_no_items_give_no_figure() -> None:
    drawn = resample(Metric("m", np.empty(0)), 7, 0)
    assert drawn.shape == (7,) and np.isnan(drawn).all()


def slow_holm(found: list[float]) -> list[float]:
    """By the definition: step down, each hypothesis rejected at level a iff all before it are."""
    answer = []
    for p in found:
        smaller = [q for q in found if q <= p]
        answer.append(min(1.0, max((len(found) - sum(r < q for r in found)) * q for q in smaller)))
    return answer


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_equals_its_slow_twin(found: list[float]) -> None:
    assert holm(found) == pytest.approx(slow_holm(found))
    assert holm([math.nan, *found])[1:] == holm(found)
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # by hand


@settings(max_examples=25)
@given(st.lists(st.integers(-3, 3), min_size=2, max_size=12), st.integers(0, 9))
def test_a_p_value_equals_its_slow_twin(gains: list[int], seed: int) -> None:
    fast = p_value(resample(Metric("m", np.array(gains, float)), 99, seed))
    (weights,) = draw_weights(len(gains), 99, np.random.default_rng([seed, 0]))
    below = above = 0
    for drawn in weights:
        total = sum(gain * int(often) for gain, often in zip(gains, drawn, strict=True))
        below += total <= 0
        above += total >= 0
    assert fast == min(1.0, 2 * (min(below, above) + 1) / 100)
    assert p_value(np.array([1.0, math.nan, 2.0])) == 2 * 1 / 3
    assert math.isnan(p_value(np.array([math.nan])))


@pytest.mark.parametrize(
    ("low", "high", "items", "lower", "expected"),
    [
        (-0.9, 3, 100, False, True),
        (-1.0, 3, 100, False, False),
        (-2.5, -0.7, 100, False, False),  # a certain loss that Holm's correction may hide
        (-0.9, -0.1, 100, False, True),  # a certain loss, but smaller than the margin
        (-5, 5, 100, False, False),  # no mark of significance is no evidence of equality
        (-9, 0.9, 100, True, True),
        (-9, 1.1, 100, True, False),
        (math.nan, math.nan, 100, False, False),
        (-0.9, 3, 99, False, False),  # too few
        (0, 0, 1000, False, False),  # nothing changed in any draw: what changes seldom is not seen
    ],
)
def test_not_inferior_means_that_a_loss_of_the_margin_is_excluded(
    low: float, high: float, items: int, lower: bool, expected: bool
) -> None:
    assert not_inferior(Interval((low + high) / 2, low, high), items, lower) == expected


@given(runs=st.integers(2, 5), resamples=st.integers(1, 20), seed=st.integers(0, 10**6))
def test_seeds_equal_their_slow_twin(runs: int, resamples: int, seed: int) -> None:
    drawn = np.random.default_rng(seed).normal(size=(runs, resamples))
    chosen = np.random.default_rng([seed, runs]).integers(0, runs, size=(runs, resamples))
    slow = []
    for column in range(resamples):
        mean = sum(drawn[row, column] for row in range(runs)) / runs
        picked = sum(drawn[chosen[row, column], column] for row in range(runs)) / runs
        slow.append(mean + math.sqrt(runs / (runs - 1)) * (picked - mean))
    assert over_seeds(drawn, seed) == pytest.approx(slow)


def covered(seeds: int, between: float, trials: int = 150) -> float:
    """Share of simulated experiments whose 95 % interval holds the true difference, 0.3.

    Items and runs are crossed: a gain is the truth, plus its item's part, plus its run's part
    (deviation `between`), plus noise.
    """
    random, hits = np.random.default_rng(11), 0
    for trial in range(trials):
        items = random.normal(0, 1, 80)
        runs = random.normal(0, between, seeds)
        gains = 0.3 + items + runs[:, None] + random.normal(0, 0.5, (seeds, 80))
        drawn = np.stack([resample(Metric("m", row), 300, trial) for row in gains])
        found = interval(float(gains.mean()), over_seeds(drawn, trial))
        hits += found.low <= 0.3 <= found.high
    return hits / trials


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    assert 0.90 <= covered(seeds=1, between=0.0) <= 0.99
    assert 0.88 <= covered(seeds=6, between=0.3) <= 0.99
    # without the second level they would not
    assert covered(seeds=1, between=0.3) < 0.70
