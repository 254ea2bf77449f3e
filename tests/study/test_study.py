"""The study in a small size: cells, what is run of them, tables, and the sets' disjointness."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from text_sets import write_sugar_crepe_pp

from benchmarks.machine import rendered
from paraclip.data.reading import read_captions
from paraclip.data.triples import read_triples
from paraclip.errors import UserError
from paraclip.evaluation.benchmarks.image_text_retrieval import ImageTextRetrieval, gallery
from paraclip.evaluation.benchmarks.sugar_crepe import SugarCrepePlusPlus, read_subsets
from paraclip.evaluation.pairs import Wording, Wordings
from paraclip.evaluation.pictures import read_names, read_pool
from paraclip.indexes import read_index
from paraclip.models.checkpoint import save_model
from paraclip.models.loading import load_model
from paraclip.starter import STARTER
from paraclip.systems.system import IndexAddress
from paraclip.training.config import TrainOptions
from study import averaged as study_averaged
from study import hubs as study_hubs
from study import items as study_items
from study import run as study
from study import sets as study_sets
from study import triples as study_triples
from study import wordings as study_wordings
from study.banks import BANKS, bank_file, encode_crops, training_pictures
from study.cells import Grid, cells_of, named_in, read_grid
from study.third.queries import KINDS, Query
from study.third.searches import KeptRetrieval, PeoplesCaptions, Reworded, TypedQueries
from tiny import tiny_clip, write_flickr8k

WITHOUT_PICTURES = (
    "scenes", "scenes-17400", "scenes+wordings", "scenes-de-fr+wordings",
    "scenes-30000-de-fr+wordings", "starter", "wordings",
    "wordings-1500", "wordings-3000", "multi30k", "starter-translations", "reworded",
    *(name for name in study_triples.SOURCES if "web " in name),
)  # fmt: skip
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
GRID = """
seeds = [0, 1]
reference = "placebo"
[common]
recipe = "consistent"
triples = "strong"
epochs = 1
batch_size = 6
learning_rate = 1e-2
held_out = 0.0
precision = "fp32"
[variants.placebo]
triples = "placebo"
[variants.people]
triples = "people"
[variants.ours]
[variants.merged]
merge = 0.5
[variants.ranked]
loss_weights = {R = 1.0}
bank = "flickr-train"
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
    (folder / "multi30k").mkdir()
    languages = [
        f'{one.name}\t{split}\t{one.stem}, a page\t"Seite" {one.stem}\tfeuille {one.stem}\tlist'
        for one, split in zip(pictures, ["train", "dev"] * len(pictures), strict=False)
    ]
    text = "\n".join(["image\tsplit\ten\tde\tfr\tcs", *languages])
    (folder / "multi30k" / "flickr8k.tsv").write_text(text)
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
def tiny_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkpoint of a tiny base, with an empty cache."""
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    return save_model(tiny_clip(text_cfg=TEXT), tmp_path / "base.safetensors")


@pytest.fixture
def run(
    data: Path, tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Runs the study on a tiny base and one grid; returns exit code and results by name."""
    base = tiny_base
    grids = tmp_path / "grids" / "report"
    grids.mkdir(parents=True)
    (grids / "main.toml").write_text(GRID)
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


@pytest.mark.slow
def test_a_part_is_run_and_the_rest_resumes(
    run: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = run("a/main/ours/0", "a/main/base")
    rows = {row["row"]: row["seeds"] for row in found["study_a_main"]["figures"]}
    assert code == 0 and rows == {"base": [], "ours": [0]}
    capsys.readouterr()
    _, again = run("a/main/ours/0")
    assert "a/main/ours/0" not in capsys.readouterr().out, "a finished cell is not repeated"
    assert again["study_a_main"]["figures"] == found["study_a_main"]["figures"]

    code, found = run("*")
    figures = {(row["row"], row["figure"]): row for row in found["study_a_main"]["figures"]}
    assert {name for name, _ in figures} == {
        "base", "control", "placebo", "people", "ours", "merged", "ranked",
    }  # fmt: skip
    ours = figures["ours", "TOT"]
    assert [change["row"] for change in ours["against"]] == ["base", "control", "placebo"]
    assert ours["seeds"] == [0, 1] and figures["base", "TOT"]["seeds"] == []
    text = (tmp_path / "results" / "study_a_main.md").read_text()
    assert text.startswith("|  | base | control | placebo | people | ours | merged | ranked |")
    overview = (tmp_path / "results" / "study_a_main_overview.md").read_text().splitlines()
    merged = figures["merged", "TOT"]["value"]["value"]
    assert overview[2].startswith("| TOT |") and f"{merged:.1f}" in overview[2]
    assert (tmp_path / "images" / "study_a_main.png").read_bytes()[:4] == b"\x89PNG"
    controls = list((tmp_path / "out" / "cells" / "a").glob("control*"))
    assert len(controls) == 2, "people's captions and paraphrases share a control"
    assert run("b/*")[1] == found and run("none")[0] == 0


def tiny_second(data: Path) -> list:
    pool = read_pool(data / "flickr8k" / "images")
    items = [
        Wording(
            Path(path).name, f"page of {Path(path).stem}",
            tuple((kind, f"{kind} {Path(path).stem}") for kind in study_wordings.SECOND_KINDS),
            "a blank", where,
        )
        for where, path in zip(
            study_wordings.new_rows(study_wordings.SECOND), pool.references, strict=False
        )
    ]  # fmt: skip
    made = Wordings("drawn", tuple(items), study_wordings.SECOND_KINDS, "0")
    return [
        study_wordings.ContrastedWordings("wordings-flickr8k", made, pool),
        *(study_wordings.AveragedWordings(name, made, pool) for name in study_averaged.SETS),
    ]


def tiny_fourth(data: Path) -> list:
    pool, how = read_pool(data / "flickr8k" / "images"), study_sets.HOW
    second, *averaged = tiny_second(data)
    names = [Path(path).name for path in pool.references]
    rows = [
        Query(name, KINDS[number % len(KINDS)], "flickr8k", f"page {name}", f"sheet {name}",
              "a blank", "sheet" if number % 2 else "", ((name,),), (name,), names[number - 2:][:1])
        for number, name in enumerate(names)
    ]  # fmt: skip
    captions = read_captions(str(data / "flickr8k" / "captions.csv"))
    shown, changes = gallery(captions, "drawn"), study_wordings.contrast_kinds()
    return [
        TypedQueries("typed-unseen", rows, pool, how),
        PeoplesCaptions("people-unseen", shown, pool, how),
        Reworded("reworded-unseen", second.wordings, pool, changes, {"page", "of"}, how),
        *averaged, KeptRetrieval(shown, how=how),
    ]  # fmt: skip


@pytest.mark.slow
def test_the_fourth_report_with_its_goals_and_seeds_of_a_rival(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = study.GRIDS / "fourth" / "main.toml"
    path.parent.mkdir()
    taught = 'triples = "wordings-1500"\nbank = "flickr-train"\nbatch_size = 500\n'
    taught += "loss_weights = {L1 = 0, L2 = 0, L3 = 0, R = 3}\n"
    grid = GRID[: GRID.index("[variants")].replace('"placebo"', '"ours"')
    path.write_text(
        f'bases = ["a"]\n{grid}[variants.ours]\nseeds = [0]\n[variants.command]\n{taught}'
        f'[variants."mean squares"]\nrival = "mean-squares"\nseeds = [1]\n{taught}'
        '[variants."linear estimate"]\nrival = "linear-estimate"\ngamma = 1.0\nseeds = [0]\n'
        'triples = "wordings-1500"\n'
    )
    monkeypatch.setattr(study, "SETS", {"fourth": tiny_fourth})
    monkeypatch.setattr(study, "RESAMPLES", {"fourth": 200, "second": 50})
    assert run("a/fourth_main/*", "--no-tables") == (0, {})
    code, found = run("a/fourth_main/none")
    record = found["study_a_fourth_main"]
    seeds = {one["row"]: one["seeds"] for one in record["figures"]}
    assert code == 0 and seeds == {
        "base": [], "control": [0], "ours": [0], "command": [0, 1], "mean squares": [1],
        "linear estimate": [0],
    }  # fmt: skip
    goals = (tmp_path / "results" / "study_a_fourth_main_goals.md").read_text()
    assert "| AO@10, people, unseen pictures | +4 |" in goals and "**missed**" in goals
    place = study.Place(tmp_path / "data", tmp_path / "out")
    kept = study_items.keep_items("a/fourth_main", place, tmp_path)
    draws = study.draws_of("fourth_main", "fourth", tmp_path)
    assert kept.parent == tmp_path / "fourth" / "items"
    assert study_items.differing(kept, record, draws) == []
    changed = next(one for one in record["figures"] if one["figure"] == "R@10 both ways")
    changed["value"]["high"] += 1
    assert study_items.differing(kept, record, draws) == [
        f"a_fourth_main: {changed['row']}, {changed['benchmark']}, {changed['figure']}"
    ]
    changed["value"]["high"] -= 1
    assert rendered("study_a_fourth_main", record).keys() == {
        f"study_a_fourth_main{more}" for more in ("", "_differences", "_overview", "_goals")
    }

    words = ["hubs.py", "--rows", "command", "--grid", path, "--data", tmp_path / "data"]
    words += ["--out", tmp_path / "out", "--results", tmp_path / "results"]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    study_hubs.main()
    stored = json.loads((tmp_path / "results" / "study_a_hubs.json").read_text())
    value = {(one["row"], one["benchmark"], one["figure"]): one["value"]["value"]
             for one in stored["figures"]}  # fmt: skip
    scored = {(one["row"], one["benchmark"], one["figure"]): one["value"]["value"]
              for one in record["figures"]}  # fmt: skip
    for place in (("base", "people-unseen", "AO@10"), ("command", "typed-unseen", "AO@10")):
        assert value[place] == pytest.approx(scored[place], abs=1e-4)


@pytest.mark.slow
def test_a_failed_cell_is_told_and_does_not_stop_the_others(
    run: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    path = study.GRIDS / "report" / "main.toml"
    few = GRID[: GRID.index("[variants.merged]")]
    path.write_text(few.replace("[variants.people]", "[variants.people]\nlearning_rate = -1.0"))
    code, found = run("a/main/*/0")
    assert code == 1 and "a/main/people/0" in capsys.readouterr().err
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
    written = file.read_bytes()
    assert file == study_triples.triples_file("strong+web", data, tmp_path / "made")
    assert file.read_bytes() == written, "a run is resumed as long as the rows are the same"
    rows = (data / "paraphrases" / "web.jsonl").read_text().splitlines()
    (data / "paraphrases" / "web.jsonl").write_text("\n".join(rows[1:]))
    study_triples.triples_file("strong+web", data, tmp_path / "made")
    assert file.read_bytes() != written
    circle = study_triples.placebo(data)
    assert [row["caption"] for row in circle] == [row["caption"] for row in strong]
    for name in ("paraphrase_1", "paraphrase_2"):
        assert sorted(row[name] for row in circle) == sorted(row[name] for row in strong)
    owners = {row[name]: row["id"] for row in strong for name in ("paraphrase_1", "paraphrase_2")}
    for row in circle:
        whose = {row["id"], owners[row["paraphrase_1"]], owners[row["paraphrase_2"]]}
        assert len(whose) == 3, "three rows' texts beside each other"
    captions = [
        {row["caption"] for row in study_triples.strong_part(count)(data)} for count in (2, 4, 99)
    ]
    assert [len(one) for one in captions] == [2, 4, len(strong)]
    assert captions[0] < captions[1] < captions[2], "a smaller part is within a larger one"
    half = study_triples.wrong(0.5)(data)
    changed = [a["paraphrase_1"] != b["paraphrase_1"] for a, b in zip(strong, half, strict=True)]
    assert sum(changed) == len(strong) // 2
    names = sorted(row["paraphrase_2"] for row in half)
    assert names == sorted(row["paraphrase_2"] for row in strong)


@pytest.mark.parametrize("kind", study_triples.STARTER_KINDS)
def test_a_kind_of_wording_is_left_out_and_the_others_keep_their_places(kind: str) -> None:
    for row in read_triples("starter").slice(2900, 200).to_pylist():
        before = study_triples.english_wordings(row)
        changed = study_triples.without_wording(row, kind)
        after = [text for _, text in study_triples.english_wordings(changed)]
        assert sorted(after) == sorted(text for name, text in before if name != kind)
        places = {n for n, text in enumerate(after) if before[n][1] != text}
        assert places <= {n for n, (name, _) in enumerate(before) if name == kind}
        assert changed["caption"] == row["caption"]
        foreign = [
            [one for one in some["wordings"] if one["lang"] not in (None, "en")]
            for some in (row, changed)
        ]
        assert foreign[0] == foreign[1]


def test_translations_are_wordings_of_the_training_captions(data: Path, tmp_path: Path) -> None:
    table = read_triples(study_triples.triples_file("multi30k", data, tmp_path))
    pictures = sorted((data / "flickr8k" / "images").iterdir())
    assert len(table) == (len(pictures) + 1) // 2 and table["image"].null_count == len(table)
    first = table.to_pylist()[0]
    assert first["caption"] == first["paraphrase_1"] == first["paraphrase_2"]
    assert [one["lang"] for one in first["wordings"]] == ["de", "fr"]
    assert first["wordings"][0]["text"].startswith('"Seite" ')
    dev = study_sets.translated_pairs(data, "dev", "de")
    assert set(dev.ids).isdisjoint(table["image_id"].to_pylist()) and len(set(dev.ids)) == len(dev)


def grid_of(path: Path, data: Path, folder: Path) -> Grid:
    """A grid of the study over the triples of a data folder."""
    names = named_in(path, "triples")
    assert names <= set(study_triples.SOURCES)
    files = {}
    for name in names:
        # Kinds and rows that are left out, or have faults, change nothing that is read here.
        written = re.split(" without | with | left by |, ", name)[0]
        file = folder / f"{written}.parquet"
        files[name] = file if file.exists() else study_triples.triples_file(written, data, folder)
    banks = {name: folder / f"{name}.parquet" for name in BANKS}
    return read_grid(path, {}, {"triples": files, "bank": banks, "teacher": {}, "texts": {}})


def test_a_student_and_a_teacher_can_share_no_picture(data: Path, tmp_path: Path) -> None:
    place = study.Place(data, tmp_path)
    first, second = (
        set(read_names(study.half_of_the_pictures(place, str(one), first=one)))
        for one in (True, False)
    )
    every = {path.name for path in training_pictures(data)}
    assert first | second == every and not first & second and abs(len(first) - len(second)) <= 1


@pytest.mark.slow
def test_every_grid_of_the_study_is_one(data: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(study_triples, "DRAWN", 20)  # thousands of scenes take seconds
    few = read_triples(STARTER).slice(0, 3_000)  # as many as a source draws
    monkeypatch.setattr(
        study_triples, "read_triples", lambda path: few if path == STARTER else read_triples(path)
    )
    for path in study.grid_files():
        grid = grid_of(path, data, tmp_path)
        assert grid.sets in study_sets.SETS and path.read_text().startswith("# ")
        controls = [row.name for row in grid.rows if row.kind == "control"]
        assert controls[:1] in ([], ["control"])
        for row in grid.rows[1 + len(controls) :]:
            without_pictures = row.options["triples"].stem in WITHOUT_PICTURES
            assert without_pictures == (row.control is None)
            assert "recipe" in row.options, "a new default would change what the row is"
            of_data = {"triples", "bank", "languages", "teacher", "texts", "rival", "gamma", "hubs"}
            names = row.options.keys() - of_data - {"held_out"}
            TrainOptions(**{name: row.options[name] for name in names})


@pytest.mark.parametrize("name", ["base", "control"])
def test_a_variant_with_the_name_of_another_row_is_refused(
    data: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "main.toml"
    path.write_text(GRID.replace("[variants.ours]", f"[variants.{name}]"))
    with pytest.raises(UserError, match=f"two rows named {name}"):
        grid_of(path, data, tmp_path)


def test_a_bank_is_part_of_what_a_cell_is(data: Path, tmp_path: Path, tiny_base: Path) -> None:
    banks = {"flickr-train": bank_file("flickr-train", tiny_base, data, tmp_path / "banks")}
    index = read_index(IndexAddress(str(banks["flickr-train"])))
    pictures = sorted((data / "flickr8k" / "images").iterdir())
    assert index.vectors.shape == (len(pictures), 16)
    assert sorted(index.paths or []) == list(map(str, pictures))
    path = tmp_path / "second" / "banks.toml"
    path.parent.mkdir()
    path.write_text(
        'sets = "quick"\nseeds = [0]\n[common]\ntriples = "strong"\nloss_weights = {R = 3}\n'
        '[variants.rows]\nbank = "pictures"\n[variants.bank]\nbank = "flickr-train"\n'
    )
    files = {"strong": study_triples.triples_file("strong", data, tmp_path)}

    def runs() -> dict[str, tuple[str, str]]:
        grid = read_grid(path, {}, {"triples": files, "bank": banks})
        cells = cells_of(grid, tiny_base, tmp_path / "cells")
        assert (grid.name, grid.sets) == ("second_banks", "quick")
        return {cell.row.name: (cell.run.name, cell.scores.name) for cell in cells}

    first = runs()
    assert len({run for run, _ in first.values()}) == 4 and first["rows"][1] == "scores-quick"
    other = tmp_path / "other.npy"
    np.save(other, index.vectors[:2])
    banks["flickr-train"] = other
    changed = {name for name, now in runs().items() if now != first[name]}
    assert changed == {"bank"}


def test_crops_differ_and_are_as_many_as_wanted(tmp_path: Path, tiny_base: Path) -> None:
    pictures, model = [], load_model(str(tiny_base))
    for number, pixels in enumerate(np.random.default_rng(0).integers(256, size=(3, 9, 9, 3))):
        pictures.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(pixels.astype(np.uint8)).resize((300, 300)).save(pictures[-1])
    vectors = encode_crops(model, pictures, 8).numpy()
    assert vectors.shape == (8, 16) and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert len(np.unique(vectors, axis=0)) == 8
    assert np.array_equal(vectors, encode_crops(model, pictures, 8).numpy())
