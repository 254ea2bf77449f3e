"""The search page at the end of a quickstart: its commands, its index, and missing packages."""

import json
import shlex
import sys
from pathlib import Path

import pytest
from stamp_files import write_stamps

from paraclip.cli import parse
from paraclip.commands import quickstart as command
from paraclip.data.captions import Caption
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.image_search.config import IndexConfig
from paraclip.image_search.sources import picture_source
from paraclip.quickstart.config import QuickstartConfig
from paraclip.quickstart.page import Page, _own_program, stamps_file
from paraclip.quickstart.stamps import read_stamps


def test_the_commands_are_paraclips_and_agree(tmp_path: Path) -> None:
    tuned = tmp_path / "out" / "merged" / "last.safetensors"
    page = Page("my pictures", "mini", tmp_path / "out", tuned)
    first, second = (shlex.split(words) for words in page.commands().split("&&"))
    start = len(_own_program())
    index, serve = parse(first[start:]), parse(second[start:])
    assert index == page.index and (index.source, index.tuned) == ("my pictures", str(tuned))
    assert serve.store == index.store
    other = Page("others", "mini", tmp_path / "out", None)
    assert "--tuned" not in other.commands() and other.index.store != index.store


def test_all_captioned_stamps_are_on_the_page(tmp_path: Path) -> None:
    stamps = read_stamps(tmp_path / "stamps", write_stamps(tmp_path))
    captions = stamps.captions()
    assert len(captions) == len({caption.image for caption in captions}) == 150
    without = Caption("a", "no picture", "a", None, "stamps")
    path = stamps_file([*captions, without], tmp_path / "stamps")
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    assert len(rows) == 150 and rows[0]["caption"] == "caption 0 of a thing in colour"
    problems = Problems(0.0)
    found = list(picture_source(path, IndexConfig(path).columns).pictures(problems))
    assert len(found) == 150 and problems.count == 0


def test_serving_brings_the_index_up_to_date_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    class Summary:
        def lines(self) -> str:
            return "3 pictures in the index"

    def build(problems, **arguments):
        done.append(IndexConfig(**arguments))
        problems.add("a.jpg", "is broken")
        return Summary()

    monkeypatch.setattr("paraclip.image_search.build.build_index", build)
    monkeypatch.setattr("paraclip.commands.serve.serve_command", done.append)
    shown = Page("pictures", "mini", tmp_path, tmp_path / "tuned.safetensors")
    command.open_page(shown)
    assert done[0] == shown.index and done[1].store == shown.index.store


def test_missing_packages_are_noticed_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(UserError, match=r"lancedb: is not installed.*\[search\]"):
        command.quickstart_command(QuickstartConfig(out=str(tmp_path / "out"), serve=True))
    assert not (tmp_path / "out").exists()
