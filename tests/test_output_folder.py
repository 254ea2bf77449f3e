"""The record of a folder: what may be replaced, at any point of a kill, and what may not."""

import os
from pathlib import Path

import pytest

from paraclip.errors import UserError
from paraclip.output_folder import RECORD, OutputFolder


@pytest.fixture
def folder(tmp_path: Path) -> OutputFolder:
    return OutputFolder(tmp_path / "out", "audit")


def test_only_listed_files_without_a_change_are_replaced(folder: OutputFolder) -> None:
    path, linked = folder.path / "a.txt", folder.path / "link"
    folder.refuse_foreign(path)
    for content in ("first", "second", "first"):
        folder.write(path, content)
        folder.refuse_foreign(path)
    linked.symlink_to("nowhere")
    (folder.path / "mine").write_text("first")
    for foreign in (linked, folder.path / "mine", folder.path):
        with pytest.raises(UserError, match="exists and was not written by ParaCLIP"):
            folder.refuse_foreign(path, foreign)
    with pytest.raises(UserError, match="exists and was not written by ParaCLIP"):
        OutputFolder(folder.path, "other").refuse_foreign(path)
    path.write_text("edited")
    with pytest.raises(UserError, match="or has changed since"):
        folder.refuse_foreign(path)
    folder.remove(path)
    assert path.read_text() == "edited"


def test_only_listed_files_and_empty_folders_are_removed(folder: OutputFolder) -> None:
    paths = [folder.path / name / "a" for name in ("one", "two")]
    for path in paths:
        folder.write(path, "x")
    mine = folder.path / "two" / "mine"
    mine.write_text("x")
    folder.remove(*paths, mine, folder.path / "missing")
    assert sorted(path.name for path in folder.path.iterdir()) == [RECORD, "two"]
    assert list((folder.path / "two").iterdir()) == [mine]


def test_a_kill_before_or_after_a_replacement_leaves_the_file_known(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder.path / "a.txt"
    folder.write(path, "old")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for owner, name in ((Path, "replace"), (os, "fsync"), (Path, "replace")):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(owner, name, killed)
            folder.write(path, f"new {name}")
        assert path.read_text() == "old" and folder.owns(path)
    path.write_text("new replace")  # as if the kill came after it
    assert folder.owns(path)


def test_a_line_cut_short_loses_no_other(folder: OutputFolder) -> None:
    first, second = folder.path / "a", folder.path / "b"
    folder.write(first, "x")
    for end in (b'{"kind": "audit", "fi', b"[]", b"[" * 100_000, b'{"kind": "audit"}', b"\xff"):
        with (folder.path / RECORD).open("ab") as record:
            record.write(b"\n" + end)
    folder.write(second, "y")
    folder.refuse_foreign(first, second)


def test_a_file_that_grows_is_known_whatever_it_contains(folder: OutputFolder) -> None:
    path, other = folder.path / "log", folder.path / "states" / "a"
    folder.record({path: None, folder.path / "states" / "*": None})
    for grown in (path, other):
        grown.parent.mkdir(exist_ok=True)
        grown.write_text("half a li")
        folder.refuse_foreign(grown)
    (folder.path / "a").write_text("mine")
    assert not folder.owns(folder.path / "a")


def test_a_large_file_is_known_by_its_size_its_ends_and_parts(folder: OutputFolder) -> None:
    path, content = folder.path / "large", bytes(2**25 + 7)
    folder.write(path, content)
    assert folder.owns(path)
    for changed in (b"x" + content[1:], content[1:] + b"x", content + b"\0", content[1:]):
        path.write_bytes(changed)
        assert not folder.owns(path)


def test_a_record_that_cannot_be_read_or_written_is_named(folder: OutputFolder) -> None:
    (folder.path / RECORD).mkdir(parents=True)
    with pytest.raises(UserError, match=RECORD):
        folder.write(folder.path / "a", "x")
    assert not (folder.path / "a").exists()
