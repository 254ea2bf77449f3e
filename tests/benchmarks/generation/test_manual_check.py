"""The manual check: a blind sheet of two models' pairs, and the rates of the marks."""

import json
import random
import sys
from pathlib import Path

import pytest

from benchmarks.generation import manual_check
from paraclip.audit import read_sheet

WORDS = {"caption": "dog", "paraphrase_1": "hound", "paraphrase_2": "pet"}


def triples(writer: str, count: int = 12) -> list[dict[str, str]]:
    """Triples whose texts name their model and step."""
    texts = {name: f"{writer} {word}" for name, word in WORDS.items()}
    return [{"id": str(number), **texts} for number in range(count)]


@pytest.fixture
def sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a sheet of ten pairs of each model."""
    monkeypatch.setattr(manual_check, "built_in_triples", lambda *_: triples("green"))
    monkeypatch.setattr(manual_check, "strong_triples", lambda *_: triples("blue"))
    manual_check.write_sheet(tmp_path, tmp_path / "out", 10)
    return tmp_path / "out"


def test_half_of_each_models_pairs_are_of_each_step(sheet: Path) -> None:
    pairs = read_sheet(sheet / "sheet.jsonl").values()
    counts = {
        name: sum(one.stratum == name for one in pairs) for name in {p.stratum for p in pairs}
    }
    assert set(counts.values()) == {5} and len(counts) == 4
    for one in pairs:
        _, source, answer = manual_check.STEPS[one.step - 1]
        assert WORDS[source] in one.source and WORDS[answer] in one.answer
        assert ("green" in one.source) == (one.verdict == manual_check.BUILT_IN)


def test_what_readers_see_does_not_name_the_writer(sheet: Path) -> None:
    rows = [json.loads(line) for line in (sheet / "to_read.jsonl").read_text().splitlines()]
    assert all(set(row) == {"id", "source", "answer"} for row in rows)
    assert [row["id"] for row in rows] == [str(n) for n in range(20)]
    for text in ((sheet / "to_read.jsonl").read_text(), (sheet / "audit.html").read_text()):
        assert "built-in" not in text and '"strong"' not in text
    writers = ["green" in row["source"] for row in rows]
    assert writers != sorted(writers) and writers != sorted(writers, reverse=True)


def test_rates_of_both_readers_and_their_agreement(
    sheet: Path, tmp_path: Path, monkeypatch
) -> None:
    pairs, marks = read_sheet(sheet / "sheet.jsonl"), []
    for reader in ("one", "two"):
        lines = [
            {
                "id": one.id, "style": "plain", "reviewer": reader,
                "meaning": "same" if one.verdict == manual_check.STRONG else "wrong",
            }
            for one in pairs.values()
        ]  # fmt: skip
        marks.append(tmp_path / f"{reader}.jsonl")
        random.Random(0).shuffle(lines)
        marks[-1].write_text("\n".join(json.dumps(line) for line in lines))
    words = ["manual_check.py", "report", "--out", sheet, "--marks", *marks]
    words += ["--readers", "two of us", "--results", tmp_path]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    manual_check.main()
    table = (tmp_path / "manual_check.md").read_text()
    found = json.loads((tmp_path / "manual_check.json").read_text())
    assert [row[0] for row in found["rows"]][::3] == ["built-in", "strong"]
    assert found["kappas"] == {"one and two": 1.0} and "two of us" in table
    rows = {row[0]: row for row in found["rows"]}
    assert rows["strong"][2].startswith("100.0 (") and rows["built-in"][2].startswith("0.0 (")
    assert rows["strong, step 1"][1] == "5" and rows["strong"][-1] == "67 %"


@pytest.mark.parametrize("step", ["sheet", "report"])
def test_help_names_every_option(step: str, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["manual_check.py", step, "--help"])
    with pytest.raises(SystemExit):
        manual_check.main()
    assert "--out" in capsys.readouterr().out
