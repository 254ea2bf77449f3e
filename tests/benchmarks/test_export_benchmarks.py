"""The benchmarks of exports and of the index: their rows, and the Python of an environment."""

import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_models import tiny_clip

from benchmarks.export.loaders import environments
from benchmarks.search import index_speed
from paraclip.models.checkpoint import save_model

pytestmark = pytest.mark.slow


def test_a_python_that_leads_nowhere_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, lines in (
        ("python3.97", "exit 127"),
        ("python3.98", f'exec "{sys.executable}" "$@"'),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(environments, "LATEST", 99)
    assert environments.python_for((3, 97)) == str(tmp_path / "python3.98")
    assert environments.python_for((3, 99)) is None
    assert environments.python_for((3, 11)) == sys.executable


def test_the_index_is_held_against_its_tower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PARACLIP_QUIET", "1")
    torch.set_num_threads(1)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (40 + number, 30), "red").save(folder / f"{number}.png")
    model = save_model(tiny_clip(), tmp_path / "tiny.safetensors")
    label, tower, index, share, reading = index_speed.measured("tiny", str(model), str(folder))
    assert label == "tiny" and share.endswith(" %")
    assert float(tower) > 0 and float(index) > 0 and float(reading) >= 0
