"""Tables in the documents: inserted, checked, and missing ones named."""

import sys
from pathlib import Path

import pytest

from benchmarks import tables

MARKED = "# Results\n\n<!-- table: one -->\n{}<!-- end table -->\n\nText.\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one document and one table."""
    for folder in ("docs", "benchmarks/results"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    monkeypatch.setattr(tables, "RESULTS", (tmp_path / "benchmarks" / "results",))
    (tmp_path / "README.md").write_text("# Nothing marked\n")
    (tmp_path / "docs" / "results.md").write_text(MARKED.format("old\n"))
    (tmp_path / "benchmarks" / "results" / "one.md").write_text("| a |\n|---|\n| 1 |\n")
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    """The exit status of the command."""
    monkeypatch.setattr(sys, "argv", ["tables.py", *options])
    return tables.main()


def test_tables_are_checked_inserted_once_and_named_if_they_are_missing(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    document, result = root / "docs" / "results.md", root / "benchmarks" / "results" / "one.md"
    assert run(monkeypatch, "--check") == 1 and "docs/results.md" in capsys.readouterr().out
    assert "old" in document.read_text(), "a check writes nothing"
    assert run(monkeypatch) == 0
    expected = MARKED.format("\n| a |\n|---|\n| 1 |\n\n")
    assert document.read_text() == expected
    assert run(monkeypatch) == run(monkeypatch, "--check") == 0
    result.unlink()
    with pytest.raises(SystemExit, match=r"docs/results\.md marks tables that are missing: .*one"):
        run(monkeypatch)
    assert document.read_text() == expected
