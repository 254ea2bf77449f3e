"""Every table of every document is rendered from stored figures, and a changed digit is seen."""

import json
import random
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import tables
from benchmarks.machine import from_cells, keep, rendered

MARKED = "# Results\n\n<!-- table: one -->\n{}<!-- end table -->\n\nText.\n"
TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)
DIGIT = re.compile(r"\d")
DATE = re.compile(r"\n\nMeasured on \d+ \w+ 20\d\d\.\n$")
CODE = re.compile(r"`[^`]*`|\]\([^)]*\)")
OF_WORDS = {
    ("docs/guide/generate.md", "file"),
    ("docs/guide/generate.md", "reason"),
    ("docs/guide/install.md", "place"),
    ("docs/guide/install.md", "wheel"),
    ("docs/guide/search.md", "path"),
    ("docs/guide/security.md", "attack or fault"),
    ("docs/guide/security.md", "promise"),
    ("docs/guide/train.md", "`--recipe`"),
    ("docs/guide/train.md", "base"),
    ("docs/guide/train.md", "file in `--out`"),
    ("docs/guide/train.md", "option"),
    ("docs/guide/train.md", "to …"),
    ("recipes/demo/README.md", "rows"),
    ("docs/method.md", "name"),
    ("docs/method.md", "part"),
    ("docs/python.md", "function"),
    ("recipes/clip_small/README.md", "part"),
    ("recipes/real_clip/README.md", "stage"),
    ("recipes/real_clip/README.md", "what"),
    ("recipes/reproduce/README.md", "stage"),
    ("src/paraclip/starter/README.md", "file"),
    ("src/paraclip/starter/README.md", "rows"),
}
"""First heads of tables of words: options, limits, sizes of sets, others' published figures, and
nothing that was measured here."""


@pytest.fixture(scope="module")
def shown() -> dict[Path, str]:
    """All tables, as they are made of the stored figures."""
    return tables.all_tables()


def test_every_file_shows_the_stored_figures(shown: dict[Path, str]) -> None:
    assert not [path.name for path in tables.outdated(shown)]
    listed = {path for name in tables.RESULTS for path in (tables.ROOT / name).glob("*.md")}
    assert listed == {*shown}, "each table has its JSON"


def test_every_table_has_the_date_of_its_figures(shown: dict[Path, str]) -> None:
    undated = [path.stem for path, text in shown.items() if not DATE.search(text)]
    assert undated == ["real_clip"], "nothing has been measured"


def test_a_digit_that_is_changed_in_any_table_is_seen(shown: dict[Path, str]) -> None:
    by_name = {path.stem: text for path, text in shown.items()}
    chance, changed = random.Random(0), 0
    for document in tables.documents():
        text = document.read_text(encoding="utf-8")
        for table in tables.MARK.finditer(text):
            digits = [*DIGIT.finditer(text, table.end(1), table.start(3))]
            for digit in chance.sample(digits, min(3, len(digits))):
                place, other = digit.start(), str((int(digit[0]) + 1) % 10)
                wrong = text[:place] + other + text[place + 1 :]
                assert tables.filled(wrong, document, by_name) == text != wrong
                changed += 1
    assert changed > 30


def test_a_table_that_is_not_rendered_holds_words_and_no_figures(shown: dict[Path, str]) -> None:
    bare = {
        (document.relative_to(tables.ROOT).as_posix(), table.split("|")[1].strip())
        for document in tables.documents()
        for table in TABLE.findall(tables.MARK.sub("", document.read_text(encoding="utf-8")))
        if DIGIT.search(CODE.sub("", table))
    }
    assert not {one for one in bare if one not in OF_WORDS}


def test_a_figure_that_is_changed_in_a_result_is_seen_in_its_table() -> None:
    path = tables.ROOT / "study" / "results" / "study_a_fourth_main.json"
    record = json.loads(path.read_text())
    before = rendered(path.stem, record)
    record["figures"][0]["value"]["value"] += 1
    after = rendered(path.stem, record)
    assert {name for name in before if before[name] != after[name]} >= {path.stem}


def cells(figure: str) -> list[Any]:
    """A table of one figure, and a text."""
    return [{"heads": ["a"], "rows": [[figure]]}, "Below."]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one document and one table."""
    for folder in ("docs", "benchmarks/results"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text("# Nothing marked\n")
    (tmp_path / "docs" / "results.md").write_text(MARKED.format("old\n"))
    time = "2026-11-05T10:00:00+00:00"
    keep("one", tmp_path / "benchmarks" / "results", from_cells, cells=cells("1"), time=time)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    """The exit status of the command."""
    monkeypatch.setattr(sys, "argv", ["tables.py", *options])
    return tables.main()


def test_tables_are_checked_inserted_once_and_named_if_they_are_missing(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    document, result = root / "docs" / "results.md", root / "benchmarks" / "results" / "one.json"
    assert run(monkeypatch, "--check") == 1 and "docs/results.md" in capsys.readouterr().out
    assert "old" in document.read_text(), "a check writes nothing"
    assert run(monkeypatch) == 0
    table = "| a |\n|---|\n| 1 |\n\nBelow.\n\nMeasured on 5 November 2026.\n"
    assert document.read_text() == MARKED.format(f"\n{table}\n")
    assert run(monkeypatch) == run(monkeypatch, "--check") == 0
    # The table alone, and what it is made of.
    result.with_suffix(".md").write_text(table.replace("1 |", "2 |"))
    assert run(monkeypatch, "--check") == 1 and "one.md" in capsys.readouterr().out
    record = json.loads(result.read_text())
    result.write_text(json.dumps({**record, "cells": cells("2")}))
    assert run(monkeypatch, "--check") == 1 and "docs/results.md" in capsys.readouterr().out
    result.unlink()
    with pytest.raises(SystemExit, match=r"docs/results\.md marks tables that are missing: .*one"):
        run(monkeypatch)
