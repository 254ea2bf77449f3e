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


def test_a_check_reports_what_is_out_of_date_and_writes_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--check") == 1
    assert capsys.readouterr().out == "docs/results.md shows other figures than the results\n"
    assert "old" in (root / "docs" / "results.md").read_text()


def test_tables_are_inserted_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch) == 0
    expected = MARKED.format("\n| a |\n|---|\n| 1 |\n\n")
    assert (root / "docs" / "results.md").read_text() == expected
    assert run(monkeypatch) == run(monkeypatch, "--check") == 0
    assert (root / "docs" / "results.md").read_text() == expected


def test_a_table_that_was_not_written_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "benchmarks" / "results" / "one.md").unlink()
    with pytest.raises(SystemExit, match=r"docs/results\.md marks tables that are missing: .*one"):
        run(monkeypatch)
    assert "old" in (root / "docs" / "results.md").read_text()
