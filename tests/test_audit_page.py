"""The page in a real browser: marks survive a reload and can be exported."""

import json
from pathlib import Path

import pytest

from chromium import CHROMIUM, OPTIONS, needs_chromium
from paraclip.audit import read_marks, read_sheet, write_sheet
from paraclip.data.triples import TEXTS
from paraclip.files import text_hash
from tiny import write_triples

sync_api = pytest.importorskip("playwright.sync_api")

NASTY = "</script><img src=x onerror=alert(1)> \u2028 & 'quoted'"


def mark(page: sync_api.Page) -> None:
    """Mark the first two of four pairs, with keys and with a button."""
    page.fill("#reviewer", "Ana 1")
    page.press("#reviewer", "1")  # typed into the name, not a mark
    page.locator("h1").click()
    page.keyboard.press("1")
    page.keyboard.press("4")  # both marks: the next pair comes
    assert page.text_content("#count") == "2 of 4, 1 marked"
    page.keyboard.press("2")
    page.click("button[data-value=stilted]")


@needs_chromium
def test_marks_survive_a_reload_and_are_exported(tmp_path: Path) -> None:
    triples = [{"id": name, "image_id": name} | dict.fromkeys(TEXTS, NASTY + name) for name in "ab"]
    write_triples(tmp_path / "triples.parquet", triples)
    first, second, *_ = write_sheet(tmp_path, tmp_path, 4)
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
