"""Gradients of hard and easy negatives, by hand and against autograd."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from benchmarks.study import gradients as study
from paraclip.ablation.plan import Cell, GridRow
from paraclip.training.config import TrainConfig


def vectors(rows: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    first = normalize(torch.randn(rows, 16).double(), dim=1)
    return first, normalize(first + 0.3 * torch.randn(rows, 16).double(), dim=1)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_the_weights_are_the_gradient_of_info_nce(temperature: float) -> None:
    first, second = (part[:20] for part in vectors())
    cosines = (first @ second.T).requires_grad_()
    cross_entropy(cosines / temperature, torch.arange(20), reduction="sum").backward()
    others, positive = study.weights_of(first, second, temperature)
    own = cosines.grad * temperature
    assert torch.allclose(own.diagonal(), positive - 1)
    off = own[~torch.eye(20, dtype=torch.bool)].view(20, 19).sort(dim=1, descending=True).values
    assert torch.allclose(off, others)


def test_a_cold_loss_sees_the_hardest_negatives_alone_and_a_warm_one_all() -> None:
    cold, warm = (study.figures_at(*vectors(), one) for one in (0.01, 100.0))
    assert cold["hardest_1"] > 80 and cold["effective"] < 4
    assert warm["effective"] == pytest.approx(255, abs=0.1)
    assert warm["hardest_10"] == pytest.approx(100 * 26 / 255, abs=0.1)
    assert warm["pull"] == pytest.approx(255 / 256, abs=1e-3) and cold["pull"] < 0.6


def test_the_geometry_is_that_of_the_last_judged_step(tmp_path: Path) -> None:
    cells = []
    for seed in range(2):
        out = tmp_path / str(seed)
        out.mkdir()
        lines = [{"alignment": 9, "uniformity": 9}, {"alignment": seed, "uniformity": -2}, {"x": 1}]
        (out / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
        options = TrainConfig(triples="t", out=str(out))
        cells.append(Cell(GridRow("0.2", "tuned", options), seed, options, out))
    missing = TrainConfig(triples="t", out=str(tmp_path / "none"))
    cells.append(Cell(GridRow("0.4", "tuned", missing), 0, missing, tmp_path))
    assert study.geometries(cells) == {"0.2": {"alignment": 0.5, "uniformity": -2}}
    table = study.as_table({"0.2": study.figures_at(*vectors(), 0.2)}, study.geometries(cells))
    assert "| 0.2 | 0.500 | -2.000 |" in table and "effective negatives" in table
