"""Cells of an ablation: their folders, damaged records, and what is removed."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip.ablation import cells
from paraclip.ablation.cells import RECORD, clear, seconds_of
from paraclip.ablation.plan import Cell, Folders, GridRow
from paraclip.training.config import TrainConfig

KEY, OTHER = "0123456789abcdef", "fedcba9876543210"


def cell_in(folder: Path) -> Cell:
    """A trained and scored cell in a folder."""
    for name in ("best.safetensors", "last.safetensors", "metrics.jsonl", "run.json"):
        (folder / name).write_text("{}")
    (folder / "scores").mkdir()
    for name in ("report.json", "notes.txt"):
        (folder / "scores" / name).write_text("{}")
    options = TrainConfig(triples="t.parquet", out=str(folder))
    return Cell(GridRow("all", "tuned", options), 0, options, folder)


def names(folder: Path) -> list[str]:
    """Files below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


@given(st.text(max_size=30))
def test_any_name_becomes_a_folder_of_its_own(name: str) -> None:
    folder = Folders(Path("/nowhere")).of(name, KEY)
    readable, dot, key = folder.name.rpartition(".")
    assert folder.parent == Path("/nowhere") and (dot, key) == (".", KEY)
    assert readable.isascii() and set(readable) <= set(name) | {"-"}
    assert readable == readable.strip("-")


def test_a_folder_is_found_again_by_its_key_under_any_name(tmp_path: Path) -> None:
    (tmp_path / f"L1-alone-seed-0.{KEY}").mkdir()
    folders = Folders(tmp_path)
    assert folders.of("renamed", KEY) == tmp_path / f"L1-alone-seed-0.{KEY}"
    assert folders.of("L1 alone, α 0.5", OTHER) == tmp_path / f"L1-alone-0-5.{OTHER}"
    assert folders.of("second use", OTHER).name == f"L1-alone-0-5.{OTHER}"


@pytest.mark.parametrize("text", ["", "[", "[]", "{}", '{"seconds": null}', '{"seconds": "long"}'])
def test_a_damaged_record_has_no_duration(tmp_path: Path, text: str) -> None:
    assert seconds_of(tmp_path) == 0
    (tmp_path / RECORD).write_text(text)
    assert seconds_of(tmp_path) == 0


def test_training_reads_image_features_from_the_folder_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: dict[str, Any] = {}
    monkeypatch.setattr(cells, "prepare", lambda *_, **options: used.update(options))
    monkeypatch.setattr(cells, "train", lambda *_: None)
    cells.train_cell(TrainConfig(triples="t.parquet", device="cpu"), tmp_path)
    assert used["cache"] == tmp_path


def test_a_cleared_cell_keeps_files_that_no_run_wrote(tmp_path: Path) -> None:
    cell = cell_in(tmp_path)
    (tmp_path / "my.txt").write_text("mine")
    clear(cell)
    assert names(tmp_path) == ["my.txt", "scores/notes.txt"]
    clear(Cell(cell.row, None, None, tmp_path))  # a base has no run
