"""The sample for reviewers, the page that shows nothing else, and the rates of their marks."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from chromium import CHROMIUM, OPTIONS, needs_chromium, needs_playwright
from paraclip.commands.audit import (
    AuditConfig,
    audit_command,
    read_marks,
    read_sheet,
    report_marks,
    write_audit,
)
from paraclip.errors import UserError
from paraclip.files import text_hash
from paraclip.starter import TEXTS
from tiny import write_triples

NASTY = "</script><img src=x onerror=alert(1)> & \u2028 'quoted'"
KEPT = {"id": "k0", "step": 1, "source": "a dog", "answer": "one dog", "verdict": "kept",
        "stratum": "kept, step 1, low similarity", "weight": 20.0}  # fmt: skip
REJECTED = KEPT | {"step": 2, "verdict": "drift", "stratum": "rejected, drift", "weight": 10.0}


@pytest.fixture
def sheet(tmp_path: Path) -> dict[str, Any]:
    """Four kept pairs and two rejected ones, by id."""
    rows = [KEPT | {"id": f"k{n}"} for n in range(4)]
    rows += [REJECTED | {"id": f"r{n}"} for n in range(2)]
    path = tmp_path / "sheet.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {**read_sheet(path)}


def write_run(folder: Path, kept: int = 30, rejected: int = 12) -> Path:
    """The output folder of a run."""
    folder.mkdir(exist_ok=True)
    rows = [
        {"id": f"k{n}", "image_id": str(n), "caption": f"a dog {n}", "paraphrase_1": f"one dog {n}",
         "paraphrase_2": NASTY if n == 0 else f"the hound {n}", "similarity_1": n / 40,
         "similarity_2": 1 - n / 40}
        for n in range(kept)
    ]  # fmt: skip
    write_triples(folder / "triples.parquet", rows)
    lines = [
        {"id": f"r{n}", "caption": f"a cat {n}", "step": 1 + n % 2, "reason": "copy",
         "candidates": [{"text": f"a cat {n}", "reason": "copy" if n else "drift"},
                        {"text": "", "reason": "empty"}],
         **({"paraphrase_1": f"one cat {n}"} if n % 2 else {})}
        for n in range(rejected)
    ]  # fmt: skip
    lines.append(lines[-1] | {"id": "k0", "step": 3, "kind": "contrast"})  # no paraphrase
    (folder / "rejected.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_the_sample_is_stratified_and_reproducible(tmp_path: Path) -> None:
    run, out = write_run(tmp_path), tmp_path / "audit"
    pairs = write_audit(run, out, 24)
    assert len(pairs) == 24 and len({pair.id for pair in pairs}) == 24
    kept = [pair for pair in pairs if pair.verdict == "kept"]
    strata = {pair.stratum: pair.weight for pair in kept}
    assert len(kept) == 12 and len(strata) == 6 and set(strata.values()) == {10 / 2}
    assert sum(pair.weight for pair in pairs) == pytest.approx(60 + 12)
    refused = [pair for pair in pairs if pair.verdict != "kept"]
    assert {pair.stratum for pair in refused} == {"rejected, copy", "rejected, drift"}
    assert {(pair.step, pair.source[:5]) for pair in refused} == {(1, "a cat"), (2, "one c")}
    assert [pair.verdict for pair in pairs] != sorted(pair.verdict for pair in pairs)
    assert write_audit(run, out, 24) == pairs  # replaces its own files
    assert read_sheet(out / "sheet.jsonl") == {pair.id: pair for pair in pairs}
    few = write_audit(write_run(tmp_path / "few", 30, 3), tmp_path / "few" / "audit", 24)
    assert len(few) == 24 and sum(pair.verdict != "kept" for pair in few) == 3


def test_shares_are_as_equal_as_strata_allow(tmp_path: Path) -> None:
    drawn = write_audit(write_run(tmp_path), tmp_path / "audit", 16)
    counts = Counter(pair.stratum for pair in drawn)
    assert (counts.pop("rejected, drift"), counts.pop("rejected, copy")) == (1, 7)
    assert sorted(counts.values()) == [1, 1, 1, 1, 2, 2]


def test_the_page_hides_the_verdict_and_runs_no_text(tmp_path: Path) -> None:
    write_audit(write_run(tmp_path), tmp_path / "audit", 100)
    page = (tmp_path / "audit" / "audit.html").read_text()
    assert "onerror" in page and "drift" not in page
    assert "<img" not in page and "http" not in page.replace("http-eq", "")


def test_folders_that_are_not_a_run_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "audit"
    with pytest.raises(UserError, match=r"triples\.parquet: there is no such file"):
        write_audit(tmp_path / "nothing", out, 10)
    with pytest.raises(UserError, match=r"triples\.parquet: "):
        write_audit(write_run(tmp_path, kept=0), out, 10)
    run = write_run(tmp_path)
    (run / "rejected.jsonl").write_text('{"caption": 1}\n')
    with pytest.raises(UserError, match=r"rejected\.jsonl:1: is damaged"):
        write_audit(run, out, 10)


@pytest.mark.parametrize(
    "content",
    ["{}", "[", '{"id": "a", "step": 1}', "[[" * 10_000]
    + [json.dumps({**KEPT, field: value})
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


def test_precision_and_recall_with_wilson_intervals(sheet: dict[str, Any], tmp_path: Path) -> None:
    path = write_marks(tmp_path / "ana.jsonl", "k0 k1 k2 r0")
    with path.open("a") as lines:
        lines.write('{"id": "k3", "meaning": "changed", "style": "plain"}\n')
        lines.write('{"id": "r1", "meaning": "wrong", "style": "plain"}\n')
    marks = read_marks(path, sheet)
    text = report_marks(sheet, marks)
    # 80 kept pairs, 60 of them good; 20 rejected, 10 of them good
    assert f"recall of the filters: {60 / 70:.1%}" in text
    assert "precision of the filters: 75.0 (30.1–95.4) % of what they keep" in text
    cells = {row.split(" | ")[0]: row.split(" | ")[1:] for row in text.splitlines() if " | " in row}
    assert cells["| kept, step 1"][0] == "4" and cells["| kept, step 1"][2].startswith("25.0")
    assert cells["| kept, step 1"][3].startswith("0.0 (0.0–")
    assert cells["| rejected, drift"][3].startswith("50.0")
    twice = report_marks(sheet, marks * 2)
    assert "precision of the filters: 75.0 (30.1–95.4) %" in twice, "a second opinion narrows none"
    kept = [mark for mark in marks if mark.id.startswith("k")]
    for some, missing in ((marks[-1:], "kept, step 1"), (kept, "rejected, drift")):
        assert f"recall of the filters: not known without marks of {missing}" in report_marks(
            sheet, some
        )


def write_marks(path: Path, names: str, **further: str) -> Path:
    rows = [{"id": name, "meaning": "same", "style": "plain", **further} for name in names.split()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_command_draws_a_sheet_and_reports_its_marks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path)
    audit_command(AuditConfig(str(run), sample=10))
    printed = capsys.readouterr().out
    assert "10 pairs to check: open" in printed and "rejected, drift" in printed
    sheet = run / "audit" / "sheet.jsonl"
    kept = [pair.id for pair in read_sheet(sheet).values() if pair.verdict == "kept"]
    page = (run / "audit" / "audit.html").read_text()
    name = page.partition('{"sheet":"')[2].partition('"')[0]
    ana = write_marks(tmp_path / "ana.jsonl", " ".join(kept), sheet=name, reviewer="\x1b[31mAna")
    ben = write_marks(tmp_path / "ben.jsonl", kept[0], sheet=name)
    audit_command(AuditConfig(str(run), marks=(str(ana), str(ben))))
    printed = capsys.readouterr().out
    assert "| kept | 6 |" in printed and "precision of the filters: 100.0" in printed
    (tmp_path / "link.jsonl").symlink_to(ana)
    with pytest.raises(UserError, match="given twice"):
        audit_command(AuditConfig(str(run), marks=(str(ana), str(tmp_path / "link.jsonl"))))
    write_marks(ben, kept[0], sheet="0123456789abcdef")
    with pytest.raises(UserError, match=r"ben\.jsonl:1: belongs to another sheet"):
        audit_command(AuditConfig(str(run), marks=(str(ben),)))


def test_the_last_mark_of_a_pair_counts(sheet: dict[str, Any], tmp_path: Path) -> None:
    path = write_marks(tmp_path / "ana.jsonl", "k0 k1 k0")
    with path.open("a") as lines:
        lines.write('{"id": "k1", "meaning": "wrong", "style": "stilted"}\n')
    meanings = {mark.id: mark.meaning for mark in read_marks(path, sheet)}
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
def test_damaged_marks_are_one_line(
    sheet: dict[str, Any], tmp_path: Path, line: str, match: str
) -> None:
    path = tmp_path / "marks.jsonl"
    path.write_text(line)
    with pytest.raises(UserError, match=match):
        read_marks(path, sheet)
    with pytest.raises(UserError, match="cannot be read"):
        read_marks(tmp_path, sheet)


# --- the page in a browser ---


def mark(page: Any) -> None:
    """Mark the first two of four pairs, with keys and with a button."""
    page.fill("#reviewer", "Ana 1")
    page.press("#reviewer", "1")  # typed into the name, not a mark
    page.locator("h1").click()
    page.keyboard.press("1")
    page.keyboard.press("4")  # both marks: the next pair comes
    assert page.text_content("#count") == "2 of 4, 1 marked"
    page.keyboard.press("2")
    page.click("button[data-value=stilted]")


@pytest.mark.slow
@needs_chromium
@needs_playwright
def test_marks_survive_a_reload_and_are_exported(tmp_path: Path) -> None:
    from playwright import sync_api

    triples = [{"id": name, "image_id": name} | dict.fromkeys(TEXTS, NASTY + name) for name in "ab"]
    write_triples(tmp_path / "triples.parquet", triples)
    first, second, *_ = write_audit(tmp_path, tmp_path, 4)
    with sync_api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path / "profile"), executable_path=CHROMIUM, args=[*OPTIONS], headless=True,
            accept_downloads=True,
        )  # fmt: skip
        page = context.pages[0]
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto((tmp_path / "audit.html").as_uri())
        assert page.text_content("#answer") == first.answer and page.query_selector("img") is None
        for _ in range(4):
            mark(page)
            page.reload()
            # Just after its start, Chromium may drop what a page of a file has stored.
            if page.text_content("#count") != "1 of 4, 0 marked":
                break
        assert page.text_content("#count") == "3 of 4, 2 marked"
        assert page.input_value("#reviewer") == "Ana 11"
        page.keyboard.press("ArrowLeft")
        pressed = "button[aria-pressed=true]"
        assert page.eval_on_selector_all(pressed, "all => all.map(one => one.dataset.value)") == [
            "changed",
            "stilted",
        ]
        with page.expect_download() as download:
            page.keyboard.press("e")
        assert download.value.suggested_filename == "marks-Ana_11.jsonl"
        download.value.save_as(tmp_path / "marks.jsonl")
        context.close()
    rows = [json.loads(line) for line in (tmp_path / "marks.jsonl").read_text().splitlines()]
    assert [(row["id"], row["meaning"], row["style"]) for row in rows] == [
        (first.id, "same", "plain"),
        (second.id, "changed", "stilted"),
    ]
    name = text_hash((tmp_path / "sheet.jsonl").read_text())
    marks = read_marks(tmp_path / "marks.jsonl", read_sheet(tmp_path / "sheet.jsonl"), name)
    assert [mark.reviewer for mark in marks] == ["Ana 11"] * 2
    assert all(url.startswith(("file:", "blob:")) for url in requests)
