"""STS: pairs and subsets, and correlations against slow twins."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from text_sets import write_sts

from paraclip.errors import UserError
from paraclip.evaluation.benchmarks.sts import SemanticSimilarity, StsTask, read_tasks
from tiny import ColourEncoder


@pytest.fixture
def sts(tmp_path: Path) -> Path:
    return write_sts(tmp_path / "sts")


@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.lists(st.integers(3, 9), min_size=1, max_size=3), min_size=1, max_size=3),
)
def test_all_and_the_mean_of_subsets_equal_their_slow_twins(
    seed: int, sizes: list[list[int]]
) -> None:
    tasks = [
        StsTask(f"task {n}", (("a", "b", 1.0),) * sum(parts), "0", tuple(parts))
        for n, parts in enumerate(sizes)
    ]
    items = np.random.default_rng(seed).normal(size=(sum(map(sum, sizes)), 2))
    found = SemanticSimilarity(tasks).correlations(items, "spearman")
    values = {metric.name: metric.value() for metric in found}
    together, apart, start = [], [], 0
    for n, parts in enumerate(sizes):
        pieces = np.split(items[start : start + sum(parts)], np.cumsum(parts)[:-1])
        start += sum(parts)
        together.append(stats.spearmanr(np.concatenate(pieces)).statistic)
        apart.append(np.mean([stats.spearmanr(piece).statistic for piece in pieces]))
        assert values[f"task {n}"] == pytest.approx(together[-1])
        if len(parts) > 1:
            assert values[f"task {n}, mean of subsets"] == pytest.approx(apart[-1])
    mean = f"STS mean of {len(tasks)}"
    assert values[mean] == pytest.approx(np.mean(together))
    if f"{mean}, mean of subsets" in values:
        assert values[f"{mean}, mean of subsets"] == pytest.approx(np.mean(apart))


def test_odd_line_breaks_and_quotes_stay_in_their_sentence(tmp_path: Path) -> None:
    place = tmp_path / "SICK" / "SICK_test_annotated.txt"
    place.parent.mkdir()
    rows = [f'{n}\tone "half\u2028and\x0bmore\tother\t{n}\tx\r\n' for n in range(3)]
    place.write_bytes(("head\r\n" + "".join(rows)).encode())
    (task,) = read_tasks(tmp_path, ["SICK-R"])
    assert task.pairs[2] == ('one "half\u2028and\x0bmore', "other", 2.0)


def test_an_unknown_task_gets_a_hint(sts: Path) -> None:
    with pytest.raises(UserError, match=r"no task 'STS17'.*Did you mean"):
        read_tasks(sts, ["STS17"])


def test_weights_that_are_not_finite_are_reported(sts: Path) -> None:
    model = ColourEncoder()
    model.text_tower.weight.data[:] = float("nan")
    with pytest.raises(UserError, match=r"text vectors: .* not finite"):
        SemanticSimilarity(read_tasks(sts)).score(model, None)
