"""The search page at the end of a quickstart: its commands, its index, and missing packages."""

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from stamp_files import write_stamps

from paraclip.cli import parse
from paraclip.commands import quickstart as command
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.image_search.build import IndexSummary
from paraclip.image_search.config import IndexConfig
from paraclip.image_search.sources import picture_source
from paraclip.quickstart.config import QuickstartConfig
from paraclip.quickstart.page import Page, stamps_file
from paraclip.quickstart.stamps import read_stamps

PAGE = Page("my pictures", "mini", "out/index-1", "out/merged/last.safetensors")


def test_the_commands_are_paraclips_and_agree() -> None:
    first, second = (shlex.split(words) for words in PAGE.commands().split("&&"))
    index, serve = parse(first[first.index("index") :]), parse(second[second.index("serve") :])
    assert (index.source, index.base, index.tuned, index.index) == (
        PAGE.source, PAGE.base, PAGE.tuned, PAGE.index,
    )  # fmt: skip
    assert serve.index == index.index
    assert "--tuned" not in replace(PAGE, tuned=None).commands()


def test_all_captioned_stamps_are_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_stamps(tmp_path)
    monkeypatch.setattr("paraclip.quickstart.stamps.CAPTIONS", tmp_path / "stamps.jsonl")
    stamps = read_stamps(tmp_path / "stamps")
    path = stamps_file(stamps.captions, tmp_path / "stamps")
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    assert len(rows) == 150 and rows[0]["caption"] == "caption 0 of a thing in colour"
    problems = Problems(0.0)
    found = list(picture_source(path, IndexConfig(path).columns).pictures(problems))
    assert len(found) == 150 and problems.count == 0


def test_serving_brings_the_index_up_to_date_first(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    def index(source: str, index: str, **models: str) -> IndexSummary:
        done.append(Page(source, index=index, **models))
        return IndexSummary()

    monkeypatch.setattr("paraclip.api.index", index)
    monkeypatch.setattr("paraclip.commands.serve.serve_command", done.append)
    command.open_page(PAGE)
    assert done[0] == PAGE and done[1].index == PAGE.index


def test_missing_packages_are_noticed_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(UserError, match=r"lancedb: is not installed.*\[search\]"):
        command.quickstart_command(QuickstartConfig(out=str(tmp_path / "out"), serve=True))
    assert not (tmp_path / "out").exists()
