"""The weighted bootstrap against resampling item by item, and the coverage of its intervals."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip.evaluation import metrics, statistics
from paraclip.evaluation.statistics import STATISTICS, Metric, interval, resample


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


def test_intervals_of_a_mean_cover_the_truth() -> None:
    random = np.random.default_rng(11)
    covered = 0
    for trial in range(200):
        metric = Metric("m", (random.random(120) < 0.3).astype(float))
        found = interval(metric.value(), resample(metric, 400, trial))
        covered += found.low <= 0.3 <= found.high
    assert 0.90 <= covered / 200 <= 0.985


def test_clusters_are_drawn_together_and_widen_the_interval() -> None:
    random = np.random.default_rng(4)
    values = np.repeat((random.random(40) < 0.5).astype(float), 5)
    clusters = np.repeat(np.arange(40), 5)
    apart = resample(Metric("m", values), 800, 0).std()
    together = resample(Metric("m", values, clusters=clusters), 800, 0).std()
    assert together == pytest.approx(np.sqrt(5) * apart, rel=0.15)


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, 20))
def test_groups_and_clusters_equal_drawing_them_one_by_one(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    items, groups = random.random(count), random.integers(0, 3, count)
    clusters = random.integers(0, 4, count)
    metric = Metric("m", items, groups=groups, clusters=clusters)
    slow = np.zeros(20)
    present = sorted(set(groups.tolist()))
    for number, group in enumerate(present):
        members = [n for n in range(count) if groups[n] == group]
        names = sorted({int(clusters[n]) for n in members})
        (weights,) = statistics.draws(len(names), 20, np.random.default_rng([5, number]))
        for row, often in enumerate(weights):
            drawn = [
                items[n]
                for name, times in zip(names, often, strict=True)
                for n in members
                if clusters[n] == name
                for _ in range(int(times))
            ]
            slow[row] += np.mean(drawn) / len(present)
    assert resample(metric, 20, 5) == pytest.approx(slow)


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
