"""Damaged records of a run are reported in one line, with or without `fresh`."""

from pathlib import Path

import pytest

from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.training.command import report
from paraclip.training.folder import RunFolder, open_run


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """The folder of a finished run."""
    folder = RunFolder(tmp_path)
    open_run(folder, {"seed": 1}, fresh=False)
    for path in (folder.best, folder.last):
        path.touch()
    folder.finish({"steps": 3})
    return folder


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff", b"[" * 100_000])
def test_a_damaged_summary_is_named(run: RunFolder, content: bytes) -> None:
    assert run.finished()["steps"] == 3
    run.summary_file.write_bytes(content)
    with pytest.raises(UserError, match=r"summary\.json: .* or add --fresh to start over"):
        run.finished()


def test_a_folder_in_the_way_of_a_summary_is_named(run: RunFolder) -> None:
    run.summary_file.unlink()
    run.summary_file.mkdir()
    with pytest.raises(UserError, match=r"summary\.json: cannot be read \(Is a directory\)"):
        run.finished()
    run.clear()
    assert run.summary_file.is_dir()


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_in_the_way_of_the_record_is_named(tmp_path: Path, fresh: bool) -> None:
    run = RunFolder(tmp_path)
    run.identity_file.mkdir()
    with pytest.raises(UserError, match=r"run\.json: .*not written by"):
        open_run(run, {"seed": 1}, fresh)


def test_a_summary_without_a_value_is_named(run: RunFolder) -> None:
    """A later version may have another summary."""
    with pytest.raises(UserError, match=r"summary\.json: has no value 'rows'.* add --fresh"):
        report(run.last, Problems())
