"""Tiny matrices: a second thread would only wait for the first."""

import sys
from pathlib import Path

import pytest
import torch
from tiny_grid import CELL_PLOT, World, make_world

# The tiny models are those of the models' own tests, the small benchmarks those of evaluation's.
for room in ("models", "evaluation"):
    sys.path.append(str(Path(__file__).parents[1] / room))
torch.set_num_threads(1)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A tiny base, triples with drawn pictures, benchmarks and a grid of two variants."""
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PARACLIP_QUIET", "1")
    monkeypatch.setattr(CELL_PLOT, lambda report, path: None)
    return make_world(tmp_path)
