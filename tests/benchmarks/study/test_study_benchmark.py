"""The study in a small size: cells, what is run of them, tables, and the sets' disjointness."""

import json
import os
import sys
from pathlib import Path

import pytest
from colour_encoder import write_flickr8k
from text_sets import write_sugar_crepe_pp
from tiny_models import tiny_clip

from benchmarks.study import run as study
from benchmarks.study import sets as study_sets
from benchmarks.study import triples as study_triples
from paraclip.ablation.grid import read_grid
from paraclip.data.reading import read_captions
from paraclip.data.triples import read_triples
from paraclip.evaluation.benchmarks.image_text_retrieval import ImageTextRetrieval, gallery
from paraclip.evaluation.benchmarks.sugar_crepe import SugarCrepePlusPlus, read_subsets
from paraclip.models.checkpoint import save_model

DATA = Path(os.environ.get("PARACLIP_DATA") or "PARACLIP_DATA-is-not-set")
WITH_DATA = pytest.mark.skipif(not (DATA / "cxc").is_dir(), reason=f"no data in {DATA}")
GRID = """
seeds = [0, 1]
reference = "placebo"
[common]
triples = "strong"
epochs = 1
batch_size = 6
learning_rate = 1e-2
held_out = 0.0
precision = "fp32"
track = ["jsonl"]
[variants.placebo]
shuffle_paraphrases = true
[variants.people]
triples = "people"
[variants.ours]
[variants.merged]
merge = 0.5
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of drawn pictures with three captions each and triples."""
    folder = tmp_path / "data"
    write_sugar_crepe_pp(folder / "sugar_crepe_pp")
    pictures = write_flickr8k(folder / "flickr8k", shades=3)
    words = ("page", "sheet", "paper", "wall")
    lines = [f"{one.name},{word} of {one.stem}" for one in pictures for word in words]
    (folder / "flickr8k" / "captions.csv").write_text("\n".join(["image,caption", *lines]))
    names = "\n".join(one.name for one in pictures)
    (folder / "flickr8k" / "train_images.txt").write_text(names)
    (folder / "paraphrases").mkdir()
    rows = [
        {
            "index": number, "image_id": one.name, "caption": f"page of {one.stem}",
            "paraphrase_1": f"{one.stem} page", "paraphrase_2": f"leaf in {one.stem}",
        }
        for number, one in enumerate(pictures)
    ]  # fmt: skip
    for name in ("flickr8k_train", "web"):
        text = "\n".join(json.dumps(row) for row in rows)
        (folder / "paraphrases" / f"{name}.jsonl").write_text(text)
    return folder


@pytest.fixture
def run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the study on a tiny base and one grid; returns exit code and results by name."""
    text = {"context_length": 12, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
    base = save_model(tiny_clip(text_cfg=text), tmp_path / "base.safetensors")
    grids = tmp_path / "grids" / "report"
    grids.mkdir(parents=True)
    (grids / "main.toml").write_text(GRID)
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(study, "GRIDS", grids.parent)
    monkeypatch.setattr(study, "BASES", {"a": lambda place: base})
    monkeypatch.setattr(study, "RESAMPLES", {"report": 50})
    monkeypatch.setattr(study, "SETS", {"report": tiny_sets})

    def main(*cells: str) -> tuple[int, dict[str, dict]]:
        words = ["study.py", "--data", data, "--out", tmp_path / "out", "--cells", *cells]
        words += ["--results", tmp_path / "results", "--images", tmp_path / "images"]
        monkeypatch.setattr(sys, "argv", list(map(str, words)))
        code = study.main()
        found = sorted((tmp_path / "results").glob("*.json"))
        return code, {path.stem: json.loads(path.read_text()) for path in found}

    return main


def tiny_sets(data: Path) -> list:
    captions = read_captions(str(data / "flickr8k" / "captions.csv"))
    return [
        SugarCrepePlusPlus(read_subsets(data / "sugar_crepe_pp")),
        ImageTextRetrieval(gallery(captions, "drawn")),
    ]


def test_all_cells_make_one_table_with_three_differences(run, tmp_path: Path) -> None:
    code, found = run("*")
    kinds = ("", "_differences", "_gains", "_short")
    assert code == 0 and list(found) == [f"study_a_main{kind}" for kind in kinds]
    rows = {(row["row"], row["figure"]): row for row in found["study_a_main"]["figures"]}
    assert {name for name, _ in rows} == {"base", "control", "placebo", "people", "ours", "merged"}
    ours = rows["ours", "TOT"]
    assert [change["row"] for change in ours["against"]] == ["base", "control", "placebo"]
    assert ours["seeds"] == [0, 1] and rows["base", "TOT"]["seeds"] == []
    text = (tmp_path / "results" / "study_a_main.md").read_text()
    assert text.startswith("|  | base | control | placebo | people | ours | merged |")
    assert "| TOT |" in text
    further = (tmp_path / "results" / "study_a_main_differences.md").read_text()
    assert "**ours**, differences:" in further and "| TOT |" in further
    short = (tmp_path / "results" / "study_a_main_short.md").read_text().splitlines()
    assert short[0] == "|  | base | control | merged | merged − base |"
    merged = next(row["value"]["value"] for row in rows.values() if row["row"] == "merged")
    assert short[2].startswith("| TOT |") and f"{merged:.1f}" in short[2]
    assert (tmp_path / "images" / "study_a_main.png").read_bytes()[:4] == b"\x89PNG"
    controls = list((tmp_path / "out" / "report" / "a" / "cells").glob("control*"))
    assert len(controls) == 2, "people's captions and paraphrases share a control"


def test_a_further_grid_has_an_overview_with_marks(run, tmp_path: Path) -> None:
    (study.GRIDS / "report" / "main.toml").rename(study.GRIDS / "report" / "losses.toml")
    code, found = run("a/losses/*/0")
    kinds = ("", "_differences", "_overview")
    assert code == 0 and list(found) == [f"study_a_losses{kind}" for kind in kinds]
    text = (tmp_path / "results" / "study_a_losses_overview.md").read_text()
    assert "† from *placebo*" in text and "Seeds: control 1, placebo 1" in text
    marks = {
        row["row"]: [change["row"] for change in row["against"] if change["verdict"]]
        for row in found["study_a_losses"]["figures"]
        if row["figure"] == "TOT"
    }
    [line] = [line for line in text.splitlines() if line.startswith("| TOT |")]
    for cell, against in zip(line.split("|")[2:-1], marks.values(), strict=True):
        assert ("*" in cell, "†" in cell) == ("base" in against, "placebo" in against)


def test_a_part_is_run_and_the_rest_resumes(run, tmp_path: Path, capsys) -> None:
    code, found = run("a/main/ours/0", "a/main/base")
    rows = {row["row"]: row["seeds"] for row in found["study_a_main"]["figures"]}
    assert code == 0 and rows == {"base": [], "ours": [0]}
    capsys.readouterr()
    _, again = run("a/main/ours/0")
    assert "a/main/ours/0" not in capsys.readouterr().out, "a finished cell is not repeated"
    assert again["study_a_main"]["figures"] == found["study_a_main"]["figures"]
    _, more = run("a/main/*/0")
    rows = {row["row"]: row["seeds"] for row in more["study_a_main"]["figures"]}
    assert rows["merged"] == rows["people"] == rows["control"] == [0]
    assert run("b/*")[1] == more and run("none")[0] == 0


def test_a_failed_cell_is_told_and_does_not_stop_the_others(run, data: Path, capsys) -> None:
    (study.GRIDS / "report" / "main.toml").write_text(
        GRID.replace("[variants.people]", '[variants.people]\nnegatives = "none"')
    )
    code, found = run("a/main/*/0")
    assert code == 1 and "people, seed 0" in capsys.readouterr().err
    assert {row["row"] for row in found["study_a_main"]["figures"]} >= {"ours", "placebo"}


def test_the_sources_of_triples(data: Path, tmp_path: Path) -> None:
    strong = study_triples.strong(data)
    people = study_triples.people(data)
    assert [row["caption"] for row in people] == [row["caption"] for row in strong]
    for row in people:
        texts = {row["caption"], row["paraphrase_1"], row["paraphrase_2"]}
        assert len(texts) == 3 and all(Path(row["image"]).stem in text for text in texts)
    every = study_triples.SOURCES["everything"](data)
    assert sum(row["image"] is None for row in every) == 3000 + len(strong)
    file = study_triples.triples_file("strong+web", data, tmp_path / "made")
    assert file == study_triples.triples_file("strong+web", data, tmp_path / "made")


def test_wrong_paraphrases_are_those_of_other_rows(data: Path) -> None:
    strong, half = study_triples.strong(data), study_triples.wrong(0.5)(data)
    changed = [a["paraphrase_1"] != b["paraphrase_1"] for a, b in zip(strong, half, strict=True)]
    assert sum(changed) == len(strong) // 2
    names = sorted(row["paraphrase_2"] for row in half)
    assert names == sorted(row["paraphrase_2"] for row in strong)


def test_negatives_are_a_column_of_the_triples(data: Path, tmp_path: Path) -> None:
    path = data / "paraphrases" / "flickr8k_train.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for place, row in enumerate(rows):
        thing = ("dog", "boat", "tree")[place % 3]
        row["caption"] = f"a black {thing} on the left of a man"
        row["paraphrase_1"] = f"there is a black {thing} on the left of a man"
        row["paraphrase_2"] = f"on the left of a man, a black {thing} is seen"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    file = study_triples.triples_file("strong+negatives", data, tmp_path)
    rows = read_triples(file, extra="negative").to_pylist()
    found = [row["negative"] for row in rows if row["negative"]]
    assert found and not set(found) & {row["caption"] for row in rows}


def test_replayed_captions_are_those_of_the_training_pictures(data: Path, tmp_path: Path) -> None:
    training = data / "flickr8k" / "train_images.txt"
    training.write_text("\n".join(training.read_text().split("\n")[:2]))
    (tmp_path / "grid.toml").write_text(GRID + '[variants.replay]\nreplay = "captions"\n')
    grid = study.with_replay(read_grid(tmp_path / "grid.toml"), study.Place(data, tmp_path))
    read = list(read_captions(str(grid.variants["replay"]["replay"])))
    assert {Path(row.image or "").name for row in read} == set(training.read_text().split())
    assert len(read) == 8 and "replay" not in grid.variants["ours"]


def test_a_base_may_be_trained_at_its_own_rates() -> None:
    grid = read_grid(study.GRIDS / "report" / "main.toml")
    assert study.on_base(grid, "a").common == grid.common
    found = study.on_base(grid, "b")
    assert found.common["learning_rate"] < grid.common["learning_rate"]
    assert found.common["triples"] == "strong" and found.variants == grid.variants


@pytest.mark.parametrize("path", study.grid_files(study.GRIDS), ids=lambda path: path.stem)
def test_every_grid_of_the_study_is_one(path: Path) -> None:
    grid = read_grid(path)
    known = {*study_triples.SOURCES, *study_triples.BUILT_IN}
    for variant in grid.variants.values():
        assert {**grid.common, **variant}.get("triples", "strong") in known
    assert study.kind_of(path) in study_sets.SETS
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize("path", study.grid_files(study.GRIDS), ids=lambda path: path.stem)
def test_marks_are_possible_in_every_recorded_table(path: Path) -> None:
    for file in study.RESULTS.glob(f"study_[ab]_{path.stem}.json"):
        figures = json.loads(file.read_text())["figures"]
        differences = sum(len(figure["against"]) for figure in figures)
        assert differences * 2 / (study.resamples_of(path) + 1) < 0.05, f"no marks in {file.name}"


@pytest.mark.shared_data
@WITH_DATA
def test_no_item_is_in_development_and_report() -> None:
    pairs = study_sets.flickr_pairs(DATA)
    halves = [study_sets.half(pairs, first) for first in (True, False)]
    assert set(halves[0].ids).isdisjoint(halves[1].ids) and len(halves[0]) == len(halves[1]) == 250
    sugar = [
        study_sets.sugar_pairs(DATA, subsets)
        for subsets in (study_sets.DEVELOPMENT_SUBSETS, study_sets.REPORT_SUBSETS)
    ]
    assert [len(part) for part in sugar] == [1652, 1033]
    assert set(sugar[0].ids).isdisjoint(sugar[1].ids)
    assert len(study_sets.sts_development(DATA).pairs) == 1500
    for part in (*halves, *sugar):
        assert part.clusters is not None and len(part.clusters) == len(part)
    assert len(set(sugar[1].pictures)) < len(sugar[1]), "rows share pictures"
