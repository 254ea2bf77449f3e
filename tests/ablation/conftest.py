"""One thread: the matrices are too small for a second to help."""

from pathlib import Path

import pytest
import torch
from tiny_grid import CELL_PLOT, World, make_world

torch.set_num_threads(1)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A tiny base, triples with drawn pictures, benchmarks and a grid of two variants."""
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PARACLIP_QUIET", "1")
    monkeypatch.setattr(CELL_PLOT, lambda report, path: None)
    return make_world(tmp_path)
