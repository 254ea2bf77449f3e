"""Crisscrossed Captions: reading, the published correlation, people's pairs, graded consistency."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from extent import DATA
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Arithmetic
from paraclip.evaluation.benchmarks import cxc
from paraclip.evaluation.statistics import STATISTICS, Metric, resample
from tiny import ColourEncoder, draw_pictures

HEADER = "image_1,image_2,caption,caption2,score,sampling"
ROWS = (
    "1,1,red,red,5,c2c_cocaption",
    "1,1,green,green,4.2,c2c_cocaption",
    "2,2,blue,white,4.6,c2c_cocaption",
    "2,3,red,red,4.9,c2c_isim",
    "4,4,red,blue,0,c2c_cocaption",
    "5,6,green,white,1.5,c2c_isim",
)


def write(folder: Path, *rows: str) -> Path:
    """A data folder with these rows, and twenty pictures of four colours."""
    draw_pictures(folder / "flickr8k" / "images")
    (folder / "cxc").mkdir()
    (folder / "cxc" / "sts.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return folder


def scored(folder: Path, model: ColourEncoder) -> dict[str, Metric]:
    benchmark = cxc.load(folder, Arithmetic())
    return {metric.name: metric for metric in benchmark.score(model, None).metrics}


def test_pairs_of_one_picture_above_a_score_count(tmp_path: Path) -> None:
    found = scored(write(tmp_path, *ROWS), ColourEncoder())
    values = {name: metric.value() for name, metric in found.items()}
    assert len(found["AO@10 CxC ≥ 4"].items) == 3  # not the pair of two pictures
    assert len(found["AO@10 CxC ≥ 4.5"].items) == 2
    same, other = found["JS@10 CxC ≥ 4"].items[:2], found["JS@10 CxC ≥ 4"].items[2]
    assert same.tolist() == [1, 1] and other < 1
    assert values["AO@10 CxC ≥ 4.5"] < values["AO@10 CxC ≥ 4"]
    assert [name for name, metric in found.items() if not metric.headline] == ["CxC-STS, all pairs"]


def test_graded_consistency_is_the_rank_correlation_of_overlap_and_score(tmp_path: Path) -> None:
    graded = scored(write(tmp_path, *ROWS), ColourEncoder())["graded consistency"]
    assert graded.value() == pytest.approx(spearmanr(*graded.items.T).statistic)
    assert graded.value() > 0
    assert graded.items[:, 1].tolist() == [5, 4.2, 4.6, 4.9, 0, 1.5]
    assert graded.clusters is not None and len(set(graded.clusters)) == 4  # by first picture


def test_too_few_pairs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fewer than three pairs"):
        cxc.load(write(tmp_path, *ROWS[:2]), Arithmetic())


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


@pytest.mark.shared_data("cxc")
def test_the_real_pairs_are_those_that_are_known() -> None:
    benchmark = cxc.load(DATA, Arithmetic())
    assert benchmark.data["pairs"] == 17_203
    assert benchmark.data["pairs_at_least"] == {"4": 1863, "4.5": 352}
