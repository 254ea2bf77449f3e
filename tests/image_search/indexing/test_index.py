"""`paraclip index` reads only files that changed."""

import json
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from paraclip.cli import main
from paraclip.data.captions import Problems
from paraclip.errors import UserError
from paraclip.image_search import build
from paraclip.image_search import sources as reading
from paraclip.image_search.build import IndexSummary, build_index
from paraclip.models.features import encode_images
from paraclip.models.loading import load_model
from paraclip.store import Store, picture_id
from tiny import draw, spoil


@pytest.fixture(autouse=True)
def no_towers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command writes no ONNX graphs, which takes seconds."""
    monkeypatch.setattr("paraclip.image_search.towers.prepared_tower", lambda _: None)


def index(source: Path | str, address: str, models: dict[str, str], **options: Any) -> IndexSummary:
    return build_index(str(source), address, models["base"], Problems(1.0), **options)


def paths(address: str) -> list[str]:
    return sorted(Store(address).state()["path"].to_pylist())


def counts(summary: IndexSummary) -> dict[str, int]:
    names = ("added", "changed", "moved", "copied", "removed", "unchanged", "broken", "embedded")
    return {name: getattr(summary, name) for name in names if getattr(summary, name)}


def test_a_second_run_reads_what_changed(
    pictures: Path, address: str, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    index(pictures, address, models)
    (pictures / "disc-red.png").rename(pictures / "more" / "renamed.png")
    (pictures / "disc-green.png").unlink()
    draw(pictures / "disc-blue.png", "square", "black")
    shutil.copy2(pictures / "square-red.png", pictures / "copy.png")
    draw(pictures / "new.png", "square", "yellow")
    (pictures / "broken.png").write_bytes(b"no picture")
    os.utime(pictures / "more" / "square-blue.png", (1, 1))  # touched, not changed
    read = []
    original = reading.open_bytes
    monkeypatch.setattr(
        reading, "open_bytes", lambda reference: read.append(reference) or original(reference)
    )
    summary = index(pictures, address, models)
    assert counts(summary) == {
        "added": 1, "changed": 1, "moved": 1, "copied": 1, "removed": 1, "unchanged": 3,
        "broken": 1, "embedded": 2,
    }  # fmt: skip
    assert sorted(os.path.relpath(one, pictures) for one in read) == [
        "broken.png", "copy.png", "disc-blue.png", "more/renamed.png", "more/square-blue.png",
        "new.png",
    ]  # fmt: skip
    assert paths(address) == [
        "copy.png", "disc-blue.png", "more/renamed.png", "more/square-blue.png",
        "more/square-green.png", "new.png", "square-red.png",
    ]  # fmt: skip
    read.clear()
    (pictures / "broken.png").unlink()
    assert counts(index(pictures, address, models)) == {"unchanged": 7}
    assert read == []


def test_a_changed_caption_is_taken_over_and_nothing_is_embedded(
    pictures: Path, address: str, models: dict[str, str]
) -> None:
    index(pictures, address, models)
    (pictures / "disc-red.txt").write_text("a crimson disc\n")
    assert counts(index(pictures, address, models)) == {"unchanged": 6}
    rows = Store(address).rows([picture_id("disc-red.png")], ("caption", "thumbnail"))
    assert rows["caption"].to_pylist() == ["a crimson disc"]
    assert rows["thumbnail"][0].as_py()[:2] == b"\xff\xd8"


def test_the_recall_of_a_large_index_is_measured(
    pictures: Path, tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "EXACT_BELOW", 1)
    one = Path(draw(tmp_path / "one" / "a.png")).parent  # too few for a query
    for source in (pictures, one):
        assert index(source, f"{source}-index", models).recall == 1


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_pictures_that_exchange_their_names_keep_their_own_vectors(
    tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(build, "ROWS_AT_ONCE", batch)
    monkeypatch.setattr(build, "IMAGES_AT_ONCE", batch)
    folder, address = tmp_path / "many", str(tmp_path / "index")
    folder.mkdir()
    for number in range(6):
        draw(folder / f"{number}.png", "disc", "red", (20 + 7 * number, 30))
    index(folder, address, models)
    for number in reversed(range(6)):
        (folder / f"{number}.png").rename(folder / f"{number + 1}.png")
    draw(folder / "0.png", "square", "blue")
    summary = index(folder, address, models)
    assert (summary.total, summary.removed, summary.broken) == (7, 0, 0)
    rows = Store(address).rows([picture_id(f"{number}.png") for number in range(7)])
    model = load_model(models["base"], "cpu")
    for row in rows.to_pylist():
        expected = encode_images(model, [str(folder / row["path"])]).numpy()[0]
        np.testing.assert_allclose(row["vector"], expected, atol=1e-5)
    assert counts(index(folder, address, models)) == {"unchanged": 7}


def test_a_picture_whose_new_vector_is_not_finite_leaves_the_index(
    pictures: Path, tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = str(tmp_path / "index")
    index(pictures, address, models)
    draw(pictures / "disc-red.png", "square", "black")
    embed = build.pixel_vectors
    monkeypatch.setattr(build, "pixel_vectors", lambda *given: embed(*given) * np.nan)
    assert counts(index(pictures, address, models)) == {"unchanged": 5, "broken": 1}
    assert "disc-red.png" not in paths(address)


def test_equal_pictures_are_counted_one_by_one(
    pictures: Path, tmp_path: Path, models: dict[str, str]
) -> None:
    address = str(tmp_path / "index")
    shutil.copy(pictures / "disc-red.png", pictures / "copy.png")
    index(pictures, address, models)
    for name in ("disc-red.png", "copy.png"):
        os.utime(pictures / name, (1, 1))
    assert counts(index(pictures, address, models)) == {"unchanged": 7}
    for name in ("disc-red.png", "copy.png"):
        (pictures / name).rename(pictures / "more" / name)
    (pictures / "disc-red.txt").rename(pictures / "more" / "disc-red.txt")
    assert counts(index(pictures, address, models)) == {"moved": 2, "unchanged": 5}


def test_the_index_states_models_as_any_working_folder_finds_them(
    pictures: Path, tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(models["base"]).parent)
    address = str(tmp_path / "index")
    index(pictures, address, {"base": "base.safetensors"}, tuned="tuned.safetensors")
    monkeypatch.chdir(tmp_path)
    assert main(["search", "a red disc", "--index", address, "--models", "base,tuned"]) == 0


def test_a_source_that_cannot_be_read_replaces_nothing(
    pictures: Path, address: str, models: dict[str, str]
) -> None:
    index(pictures, address, models)
    shutil.rmtree(pictures)
    pictures.mkdir()
    with pytest.raises(UserError, match="contains no pictures"):
        index(pictures, address, models, rebuild=True)
    table = pictures / "captions.csv"
    table.write_text("image,text\na.png,a disc\n", "utf-8")
    with pytest.raises(UserError, match="caption"):
        index(table, address, models, rebuild=True)
    facts = Store(address).facts()
    assert len(paths(address)) == 6 and facts is not None and facts.source == str(pictures)


def test_another_tower_source_or_precision_needs_rebuild(
    pictures: Path, tmp_path: Path, models: dict[str, str]
) -> None:
    address = str(tmp_path / "index")
    index(pictures, address, models, tuned=models["tuned"])
    other = {"base": models["other"]}
    for source, given, options, what in (
        (pictures, other, {}, "was made with another image encoder"),
        (pictures, models, {"tuned": models["other"]}, "has another image encoder than"),
        (pictures / "more", models, {}, "is the index of"),
        (pictures, models, {"precision": "bf16"}, "was made with --precision fp32"),
    ):
        with pytest.raises(UserError, match=what):
            index(source, address, given, **options)
    (pictures / "disc-red.png").write_bytes(b"no picture any more")
    assert counts(index(pictures, address, models)) == {"unchanged": 5, "broken": 1}
    assert counts(index(pictures, address, other, rebuild=True))["added"] == 5
    facts = Store(address).facts()
    assert facts is not None and facts.models == {"base": models["other"]}


def test_the_facts_of_an_index_hold_no_secret_of_its_source(
    pictures: Path, tmp_path: Path, models: dict[str, str]
) -> None:
    source, address = "memory://me:sesame@host/a.csv", str(tmp_path / "index")
    remote = fsspec.filesystem("memory")
    remote.pipe("/me:sesame@host/p.png", (pictures / "disc-red.png").read_bytes())
    remote.pipe("/me:sesame@host/a.csv", b"image,caption\np.png,a disc\n")
    assert counts(index(source, address, models))["added"] == 1
    facts = Store(address).facts()
    assert facts is not None and facts.source == "memory://host/a.csv"
    Store(address).save_facts(replace(facts, source=source))  # as earlier versions did
    assert counts(index(source, address, models)) == {"unchanged": 1}, "URLs are not read again"
    assert Store(address).facts() == facts


def test_a_pattern_that_fits_another_folder_now_is_called_so(
    pictures: Path, tmp_path: Path, models: dict[str, str]
) -> None:
    address, pattern = str(tmp_path / "index"), str(pictures / "mor*")
    index(pattern, address, models)
    shutil.copytree(pictures / "more", pictures / "more-of-it")
    with pytest.raises(UserError, match=f"with pictures in {pictures / 'more'}"):
        index(pattern, address, models)


def test_captions_files_and_shards(pictures: Path, tmp_path: Path, models: dict[str, str]) -> None:
    table = pictures / "captions.csv"
    table.write_text(
        "image,caption\ndisc-red.png,a disc\ndisc-red.png,red\n../outside.png,no\n", "utf-8"
    )
    draw(tmp_path / "outside.png")
    problems = Problems(1.0)
    build_index(str(table), str(tmp_path / "csv"), models["base"], problems)
    assert paths(str(tmp_path / "csv")) == ["disc-red.png"]
    assert "is outside" in problems.listed[0][1]
    with tarfile.open(tmp_path / "0.tar", "w") as shard:
        for name in ("disc-red.png", "disc-red.txt", "square-red.png"):
            shard.add(pictures / name, name)
    for expected in ({"added": 2, "embedded": 2}, {"unchanged": 2}):
        summary = index(tmp_path / "0.tar", str(tmp_path / "tar"), models)
        assert counts(summary) == expected
    assert paths(str(tmp_path / "tar")) == ["0.tar::disc-red.png", "0.tar::square-red.png"]


def test_thumbnails_are_small_jpegs_without_metadata(
    tmp_path: Path, models: dict[str, str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    Image.new("RGB", (1200, 600), "red").save(folder / "large.jpg", exif=exif)
    index(folder, str(tmp_path / "index"), models)
    (row,) = Store(tmp_path / "index").rows([picture_id("large.jpg")]).to_pylist()
    assert b"secret" not in row["thumbnail"] and len(row["thumbnail"]) < 10_000
    (tmp_path / "t.jpg").write_bytes(row["thumbnail"])
    with Image.open(tmp_path / "t.jpg") as small:
        assert (small.format, small.size) == ("JPEG", (256, 128))


def test_the_commands_print_results_and_broken_pictures(
    pictures: Path, tmp_path: Path, models: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    address = str(tmp_path / "index")
    (pictures / "bad\x1b[31m.png").write_bytes(b"x")
    spoiled = spoil(pictures)
    words = ["index", str(pictures), "--index", address, "--base", models["base"]]
    assert main([*words, "--tuned", models["tuned"]]) == 0
    shown = capsys.readouterr().out
    assert "6 pictures in the index: 6 added, 4 broken." in shown
    assert "\x1b" not in shown and "bad\\x1b[31m.png" in shown
    assert all(name in shown for name in spoiled)

    assert main([*words, "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert (counts["store"], counts["unchanged"], counts["broken"]) == (address, 6, 4)
    broken = counts["problems"][0]
    assert broken["where"].startswith("bad\x1b[31m")
    assert "is not a picture in a known format" in broken["what"]

    search = ["search", "a red disc", "--index", address, "--k", "3"]
    assert main([*search, "--paths"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all(Path(line).is_file() for line in lines)
    assert main([*search, "--models", "base,tuned", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["models"]) == {"base", "tuned"}
    assert found["models"]["base"] != found["models"]["tuned"]
    assert found["overlap"][0]["models"] == ["base", "tuned"]
    sheet = tmp_path / "sheet.png"
    assert main([*search, "--models", "base,tuned", "--sheet", str(sheet)]) == 0
    assert "base and tuned share" in capsys.readouterr().out
    with Image.open(sheet) as drawn:
        assert drawn.width > 400


def test_a_picture_finds_itself_and_arithmetic_moves_the_query(
    pictures: Path, tmp_path: Path, models: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    address = str(tmp_path / "index")
    index(pictures, address, models)
    words = ["search", "--index", address, "--json", "--image", str(pictures / "disc-red.png")]
    assert main(words) == 0
    first = json.loads(capsys.readouterr().out)["models"]["base"]
    assert first[0]["path"] == "disc-red.png" and first[0]["score"] == pytest.approx(1, abs=1e-5)
    assert main([*words, "--plus", "green", "--minus", "paper"]) == 0
    second = json.loads(capsys.readouterr().out)["models"]["base"]
    assert [hit["score"] for hit in first] != [hit["score"] for hit in second]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["search", "x", "--models", "nope"], "the index has no model 'nope'"),
        (["search", "x", "--models", ","], "names no model"),
        (["search", "x", "--models", "tuned="], "--models: 'tuned=' is not LABEL=MODEL"),
        (["search", "x", "--minus", "x"], "its parts cancel each other"),
        (["search", "x", "--image", "nowhere.png"], "there is no such picture"),
    ],
)
def test_what_a_user_can_fix_is_one_line(
    words: list[str], complaint: str, pictures: Path, tmp_path: Path, models: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    address = str(tmp_path / "index")
    index(pictures, address, models)
    assert main([*words, "--index", address]) == 2
    shown = capsys.readouterr().err
    assert complaint in shown and shown.count("\n") == 1
    assert main([*words, "--index", str(tmp_path / "nowhere")]) == 2
    assert "there is no index" in capsys.readouterr().err
