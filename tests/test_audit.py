"""The sample for reviewers, the page that shows nothing else, and the rates of their marks."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip.audit import (
    _KEPT,
    _draw_sample,
    _Mark,
    _Pair,
    _render_page,
    _share_out,
    _show_rate,
    read_marks,
    read_sheet,
    report_marks,
    write_sheet,
)
from paraclip.commands.audit import AuditConfig, audit_command
from paraclip.data.triples import write_triples
from paraclip.errors import UserError

NASTY = "</script><img src=x onerror=alert(1)> & \u2028 'quoted'"
KEPT_LOW = "kept, step 1, low similarity"
SHEET = {
    **{f"k{n}": _Pair(f"k{n}", 1, "a dog", "one dog", _KEPT, KEPT_LOW, 20.0) for n in range(4)},
    **{f"r{n}": _Pair(f"r{n}", 2, "a cat", "a dog", "drift", "rejected, drift", 10.0)
       for n in range(2)},
}  # fmt: skip


def write_run(folder: Path, kept: int = 30, rejected: int = 12) -> Path:
    """The output folder of a run."""
    folder.mkdir(exist_ok=True)
    rows = [
        {"id": f"k{n}", "image_id": str(n), "caption": f"a dog {n}", "paraphrase_1": f"one dog {n}",
         "paraphrase_2": NASTY if n == 0 else f"the hound {n}", "similarity_1": n / 40,
         "similarity_2": 1 - n / 40}
        for n in range(kept)
    ]  # fmt: skip
    write_triples(folder / "triples.parquet", rows, {})
    lines = [
        {"id": f"r{n}", "caption": f"a cat {n}", "step": 1 + n % 2, "reason": "copy",
         "candidates": [{"text": f"a cat {n}", "reason": "copy" if n else "drift"},
                        {"text": "", "reason": "empty"}]}
        for n in range(rejected)
    ]  # fmt: skip
    lines.append(lines[-1] | {"id": "k0", "step": 3, "kind": "contrast"})  # no paraphrase
    (folder / "rejected.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_the_sample_is_stratified_and_reproducible(tmp_path: Path) -> None:
    run, out = write_run(tmp_path), tmp_path / "audit"
    pairs = write_sheet(run, out, 24)
    assert len(pairs) == 24 and len({pair.id for pair in pairs}) == 24
    kept = [pair for pair in pairs if pair.verdict == _KEPT]
    strata = {pair.stratum: pair.weight for pair in kept}
    assert len(kept) == 12 and len(strata) == 6 and set(strata.values()) == {10 / 2}
    assert sum(pair.weight for pair in pairs) == pytest.approx(60 + 12)
    assert {pair.stratum for pair in pairs} >= {"rejected, copy", "rejected, drift"}
    assert [pair.verdict for pair in pairs] != sorted(pair.verdict for pair in pairs)
    assert write_sheet(run, out, 24) == pairs  # replaces its own files
    assert read_sheet(out / "sheet.jsonl") == {pair.id: pair for pair in pairs}
    few = write_sheet(write_run(tmp_path / "few", 30, 3), tmp_path / "few" / "audit", 24)
    assert len(few) == 24 and sum(pair.verdict != _KEPT for pair in few) == 3
    assert _draw_sample([], 5) == []


@given(st.lists(st.integers(0, 20), min_size=1, max_size=8), st.integers(0, 100))
def test_shares_are_as_equal_as_strata_allow(sizes: list[int], total: int) -> None:
    taken = _share_out(sizes, total)
    assert sum(taken) == min(total, sum(sizes))
    assert all(count <= size for count, size in zip(taken, sizes, strict=True))
    unfilled = [count for count, size in zip(taken, sizes, strict=True) if count < size]
    assert not unfilled or max(taken) - min(unfilled) <= 1


def test_the_page_hides_the_verdict_and_runs_no_text() -> None:
    pair = _Pair("1/1", 1, "a dog", NASTY, "gender", "rejected, gender")
    page = _render_page([pair], "name")
    assert "gender" not in page and "<img" not in page and "http" not in page.replace("http-eq", "")


def test_folders_that_are_not_a_run_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "audit"
    with pytest.raises(UserError, match=r"triples\.parquet: there is no such file"):
        write_sheet(tmp_path / "nothing", out, 10)
    with pytest.raises(UserError, match=r"triples\.parquet: "):
        write_sheet(write_run(tmp_path, kept=0), out, 10)
    run = write_run(tmp_path)
    (run / "rejected.jsonl").write_text('{"caption": 1}\n')
    with pytest.raises(UserError, match=r"rejected\.jsonl:1: is damaged"):
        write_sheet(run, out, 10)


@pytest.mark.parametrize(
    "content",
    ["{}", "[", '{"id": "a", "step": 1}', "[[" * 10_000]
    + [json.dumps({**asdict(SHEET["k0"]), field: value})
       for field, value in (("weight", "x"), ("weight", 0), ("stratum", ["x"]), ("id", 3),
                            ("step", "1"), ("source", None))],
)  # fmt: skip
def test_what_is_not_a_sheet_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "sheet.jsonl"
    path.write_text(content + "\n")
    with pytest.raises(UserError, match=r"sheet\.jsonl:1: is not a pair"):
        read_sheet(path)
    with path.open("wb") as sheet:
        sheet.truncate(2**26 + 1)  # a hole; takes no space
    with pytest.raises(UserError, match=r"sheet\.jsonl: holds more than 64 MiB"):
        read_sheet(path)


def test_wilson_intervals() -> None:
    assert _show_rate(8, 10, 10) == "80.0 (49.0–94.3) %"  # (0.4902, 0.9433)
    assert _show_rate(16, 20, 10) == "80.0 (49.0–94.3) %", "a second opinion does not narrow it"
    assert _show_rate(0, 3, 3).startswith("0.0 (0.0–")


def test_precision_and_recall() -> None:
    meanings = {"k0": "same", "k1": "same", "k2": "same", "k3": "changed", "r0": "same",
                "r1": "wrong"}  # fmt: skip
    marks = [_Mark(name, meaning, "plain") for name, meaning in meanings.items()]  # type: ignore[arg-type]
    text = report_marks(SHEET, marks)
    # 80 kept pairs, 60 of them good; 20 rejected, 10 of them good
    assert f"recall of the filters: {60 / 70:.1%}" in text
    assert "precision of the filters: 75.0 (30.1–95.4) % of what they keep" in text
    cells = {row.split(" | ")[0]: row.split(" | ")[1:] for row in text.splitlines() if " | " in row}
    assert cells["| kept, step 1"][0] == "4" and cells["| kept, step 1"][2].startswith("25.0")
    assert cells["| rejected, drift"][3].startswith("50.0")
    twice = report_marks(SHEET, marks * 2)
    assert "precision of the filters: 75.0 (30.1–95.4) %" in twice
    assert "recall" not in report_marks(SHEET, marks[-1:])


def write_marks(path: Path, names: str, **further: str) -> Path:
    rows = [{"id": name, "meaning": "same", "style": "plain", **further} for name in names.split()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_command_draws_a_sheet_and_reports_its_marks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path)
    audit_command(AuditConfig(run, sample=10))
    printed = capsys.readouterr().out
    assert "10 pairs to check: open" in printed and "rejected, drift" in printed
    sheet = run / "audit" / "sheet.jsonl"
    kept = [pair.id for pair in read_sheet(sheet).values() if pair.verdict == _KEPT]
    page = (run / "audit" / "audit.html").read_text()
    name = page.partition('{"sheet":"')[2].partition('"')[0]
    ana = write_marks(tmp_path / "ana.jsonl", " ".join(kept), sheet=name, reviewer="\x1b[31mAna")
    ben = write_marks(tmp_path / "ben.jsonl", kept[0], sheet=name)
    audit_command(AuditConfig(run, marks=(ana, ben)))
    printed = capsys.readouterr().out
    assert "| kept | 6 |" in printed and "precision of the filters: 100.0" in printed
    (tmp_path / "link.jsonl").symlink_to(ana)
    with pytest.raises(UserError, match="given twice"):
        audit_command(AuditConfig(run, marks=(ana, tmp_path / "link.jsonl")))
    write_marks(ben, kept[0], sheet="0123456789abcdef")
    with pytest.raises(UserError, match=r"ben\.jsonl:1: belongs to another sheet"):
        audit_command(AuditConfig(run, marks=(ben,)))


def test_the_last_mark_of_a_pair_counts(tmp_path: Path) -> None:
    path = write_marks(tmp_path / "ana.jsonl", "k0 k1 k0")
    with path.open("a") as lines:
        lines.write('{"id": "k1", "meaning": "wrong", "style": "stilted"}\n')
    meanings = {mark.id: mark.meaning for mark in read_marks(path, SHEET)}
    assert meanings == {"k0": "same", "k1": "wrong"}


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("[", "is not a mark"), ("{}", "is not a mark"),
        ('{"id": "k0", "meaning": "same"}', "is not a mark"),
        ('{"id": "k0", "meaning": "so", "style": "plain"}', "is not a mark"),
        ('{"id": "k0", "meaning": ["same"], "style": {}}', "is not a mark"),
        ('{"id": "z", "meaning": "same", "style": "plain"}', "not on the sheet"),
        ("", "has no marks"), ("\n", "has no marks"),  # the page exports "\n" without marks
    ],
)  # fmt: skip
def test_damaged_marks_are_one_line(tmp_path: Path, line: str, match: str) -> None:
    path = tmp_path / "marks.jsonl"
    path.write_text(line)
    with pytest.raises(UserError, match=match):
        read_marks(path, SHEET)
    with pytest.raises(UserError, match="cannot be read"):
        read_marks(tmp_path, SHEET)
