"""What the quickstart passes from stage to stage, with functions of the API that only note it."""

import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

from paraclip import api
from paraclip.cli import parse
from paraclip.commands.quickstart import QuickstartConfig, quickstart_command
from paraclip.errors import UserError
from paraclip.image_search.build import IndexSummary
from paraclip.models.checkpoint import save_model
from paraclip.swapping.checking import Recommendation, SwapReport
from paraclip.training.checkpoint import AnotherRun
from tiny import draw, retuned, spoil, tiny_clip


def test_each_source_has_its_own_default_folder(tmp_path: Path) -> None:
    (tmp_path / "pets.2024").mkdir()
    for source, out, folder in (
        ("pets/cats/", None, "runs/quickstart-cats"),
        ("dogs.csv", None, "runs/quickstart-dogs"), ("dogs.csv", "here", "here"),
        (str(tmp_path / "pets.2024"), None, "runs/quickstart-pets.2024"),
    ):  # fmt: skip
        assert QuickstartConfig(source=source, out=out).folder == Path(folder)


@dataclass
class Noted:
    """The calls of the API in their order, with their options, and what its functions find."""

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    use: str = "merged"  # the recommended model
    other: bool = False  # whether the folder of the model holds another run

    def options(self, name: str) -> list[dict[str, Any]]:
        return [options for called, options in self.calls if called == name]


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Noted:
    """Nothing is learned or checked; pictures are indexed and searched."""
    noted, index = Noted(), api.index

    def indexed(source: str, index_: Path, **options: Any) -> IndexSummary:
        noted.calls.append(("index", options))
        return index(source, index_, **options)

    def train(base: str, triples: str, out: Path, **options: Any) -> None:
        noted.calls.append(("train", {"triples": triples, **options}))
        if noted.other and not options["fresh"]:
            raise AnotherRun(out, "belongs to a run with other settings", "Choose another --out.")
        for name in ("last", "merged"):
            save_model(retuned(tiny_clip()), out / f"{name}.safetensors")
        summary = {"steps": 3, "rows": 4, "texts_cut_to_context": 0}
        (out / "summary.json").write_text(json.dumps(summary))

    def swap_check(index: Path, base: str, tuned: Path, **options: Any) -> SwapReport:
        noted.calls.append(("swap_check", {"tuned": tuned, **options}))
        figures = {label: {"alike": 0.5} for label in ("base", "merged", "tuned")}
        advice = Recommendation(noted.use, "So says the rule.", 500, figures)
        return SwapReport("paraclip", 9, 8, 9, "open_clip", None, advice)

    for name, function in (("index", indexed), ("train", train), ("swap_check", swap_check)):
        monkeypatch.setattr(api, name, function)
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    return noted


def config_of(folder: Path, captions: int = 0, **options: Any) -> QuickstartConfig:
    """Options for nine pictures, some with a caption, and three that nobody can open."""
    for number in range(9):
        draw(folder / "pictures" / f"{number}.png", "disc", ("red", "blue", "green")[number % 3])
        if number < captions:
            (folder / "pictures" / f"{number}.txt").write_text(f"thing {number}")
    spoil(folder / "pictures")
    (folder / "pictures" / "8.txt").write_text("")
    base = str(save_model(tiny_clip(), folder / "base.safetensors"))
    return QuickstartConfig(str(folder / "pictures"), str(folder / "out"), base, **options)


@pytest.mark.parametrize(
    ("use", "captions", "teacher", "taught_by"),
    [
        ("merged", 0, (), ()), ("tuned", 4, ("minilm", "mini=2"), ("base", "minilm", "mini=2")),
        ("base", 1, (), ()),
    ],
)  # fmt: skip
def test_pictures_are_indexed_learned_checked_and_shown(
    use: str, captions: int, teacher: tuple[str, ...], taught_by: tuple[str, ...],
    noted: Noted, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    noted.use, out, served = use, tmp_path / "out", list[Any]()
    monkeypatch.setattr("paraclip.commands.quickstart.serve_command", served.append)
    quickstart_command(config_of(tmp_path, captions, teacher=teacher, seed=5, serve=True))
    assert [config.index for config in served] == [str(out / "index")]
    names = ["index", "train", "swap_check"]
    assert [name for name, _ in noted.calls] == names + ["index"] * (use != "base")
    (train,), (check,) = noted.options("train"), noted.options("swap_check")
    assert train == {
        "triples": "scenes", "bank": str(out / "index"), "teacher": taught_by, "seed": 5,
        "fresh": False,
    }  # fmt: skip
    assert check["tuned"] == out / "tuned"
    asked = out / "data" / "captions.jsonl" if captions else None
    assert check["queries"] == asked
    rows = [json.loads(line) for line in asked.read_text().splitlines()] if asked else []
    assert {row["caption"] for row in rows} == {f"thing {number}" for number in range(captions)}
    assert all(Path(row["image"]).is_file() for row in rows)
    shown = capsys.readouterr().out
    assert "9 pictures in the index: 9 added, 3 broken" in shown and "So says the rule." in shown
    assert all(f"{name}: is " in shown for name in ("cut.jpg", "empty.jpg", "text.jpg"))
    assert check["sheet"] == out / "contact_sheet.png" and str(check["sheet"]) in shown
    assert parse(["serve", *shown.partition(" serve ")[2].split()[:2]]).index == str(out / "index")
    if use == "base":
        assert "Keep your base" in shown and "swap SYSTEM" not in shown
    else:
        chosen = str(out / "tuned" / {"tuned": "last", "merged": "merged"}[use]) + ".safetensors"
        assert noted.options("index")[-1]["tuned"] == chosen
        assert f"Use {use}." in shown and f"--tuned {chosen}" in shown.partition("SYSTEM")[2]


@pytest.mark.slow
def test_other_pictures_are_refused_or_start_from_scratch(
    noted: Noted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noted.other = True
    config = config_of(tmp_path)
    quickstart_command(config)
    assert [options["fresh"] for options in noted.options("train")] == [False, True]
    assert "starts from scratch" in capsys.readouterr().out
    rmtree(tmp_path / "out" / "tuned")  # which no real run wrote
    noted.other = False
    moved = replace(config, source=str((tmp_path / "pictures").rename(tmp_path / "moved")))
    with pytest.raises(UserError, match=r"is the index of .* add --fresh"):
        quickstart_command(moved)
    quickstart_command(replace(moved, fresh=True))


def test_missing_packages_are_noticed_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(UserError, match=r"lancedb: is not installed.*\[search\]"):
        quickstart_command(QuickstartConfig("pictures", str(tmp_path / "out"), serve=True))
    assert not (tmp_path / "out").exists()
