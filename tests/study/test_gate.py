"""The gate: mixtures of rankings, scored as if they were queries."""

import numpy as np
import pytest
import torch

from study.gate import Queries, Rankings, compare, passes, table

QUERIES = Queries("T2I", ["a", "b"], np.array([0, 1]), ["0.jpg", "1.jpg", "2.jpg"])


@pytest.fixture
def rankings() -> Rankings:
    """Two models that err differently: each finds one text's picture with certainty.

    For the other text, either prefers a wrong picture by a little.
    """
    made = object.__new__(Rankings)
    axes = torch.eye(3)
    unsure = torch.tensor([[0.0, 0.6, 0.8]])  # prefers picture 2 to picture 1
    other = torch.tensor([[0.6, 0.0, 0.8]])  # prefers picture 2 to picture 0
    made.texts = {
        ("base", "T2I"): torch.cat([axes[:1], unsure]),
        ("b", "T2I"): torch.cat([other, axes[1:2]]),
    }
    made.pictures = {("base", "T2I"): axes, ("b", "T2I"): axes}
    made.scales = {"base": 5.0, "b": 5.0}
    return made


def test_models_that_err_differently_find_more_together(rankings):
    alone = [rankings.hits([(name, 1.0)], QUERIES, False)[:, 0] for name in ("base", "b")]
    assert [one.tolist() for one in alone] == [[True, False], [False, True]]
    both = rankings.hits([("base", 1.0), ("b", 1.0)], QUERIES, False)
    assert both[:, 0].tolist() == [True, True]
    assert rankings.hits([("base", 9.0), ("b", 0.1)], QUERIES, False)[:, 0].tolist() == [
        True,
        False,
    ]


def test_the_average_is_taken_after_the_softmax(rankings):
    """Before it, a sharp model would outvote a blunt one whatever its share."""
    rankings.scales["b"] = 0.01
    found = rankings.hits([("base", 1.0), ("b", 1.0)], QUERIES, False)[:, 0]
    assert found.tolist() == [True, False], "a blunt ranking adds next to nothing"


def figure(value: float, low: float) -> list[dict[str, object]]:
    difference = {"value": value, "low": low, "high": 2 * value}
    return [{"row": "b", "set": "T2I", "figure": "R@10", "difference": difference, "value": 70.0}]


@pytest.mark.parametrize(
    ("value", "low", "wanted"), [(2.0, 0.1, True), (1.9, 0.1, False), (5.0, -0.1, False)]
)
def test_a_mixture_passes_by_two_points_that_are_not_chance(value, low, wanted):
    assert passes(figure(value, low), "b") is wanted


def test_the_table_has_a_row_for_base_and_each_mixture(rankings):
    figures = compare(rankings, ["b", "base=0.5 b"], [QUERIES])
    shown = table({"figures": figures, "scales": rankings.scales})
    rows = [line for line in shown.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[1:]] == ["| base", "| b", "| base=0.5 b"]
    assert rows[1].endswith("| - |"), "base is not judged"
