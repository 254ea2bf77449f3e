"""What the second to the fourth report measure, their kept results, goals, rivals and resamples."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from text_sets import write_sts
from torch.nn.functional import normalize

from paraclip.evaluation.benchmark import Arithmetic
from paraclip.evaluation.benchmarks.image_text_retrieval import Gallery
from paraclip.evaluation.benchmarks.sts import LAYOUTS
from paraclip.evaluation.benchmarks.variations import Variations
from paraclip.evaluation.pairs import Wording, Wordings
from paraclip.evaluation.pictures import Pool, read_pool
from paraclip.evaluation.statistics import Metric, resample
from paraclip.paraphrase.backends import Answer, LLMOptions
from paraclip.paraphrase.config import Limits
from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.judge import Verdict
from paraclip.paraphrase.prompts import Prompt
from paraclip.starter import TEXTS
from paraclip.training.config import TrainOptions
from paraclip.training.data import Rows
from paraclip.training.losses import Vectors
from paraclip.training.ranking import BANK, HUBS, TEACHERS, TEACHERS_BANK, Ranker
from study import chosen, differences, hubs, items, reworded_sts, run, sets, tables, wordings
from study.cells import Row, content_of_grid
from study.differences import Draws, ManyDraws, figures_of, units_of
from study.fourth import measures
from study.rivals import POPULARITY, Lowered, MeanSquares
from study.run import GRIDS
from study.third import searches
from study.third.queries import Query
from study.triples import STARTER_KINDS
from tiny import COLOURS, ColourEncoder, TinyModel, draw_pictures, write_flickr8k

HOW = Arithmetic("fp32")
PLACES = tuple(wordings.new_rows(wordings.SECOND))


@pytest.fixture
def colours(tmp_path: Path) -> tuple[Wordings, Path]:
    """A caption of each of some pictures in four rewordings, and the folder of the pictures."""
    other = dict(zip(COLOURS, reversed(COLOURS), strict=True))
    found = [
        Wording(
            path.name, f"a {colour} page",
            tuple((kind, f"{kind} {colour} thing") for kind in wordings.SECOND_KINDS),
            f"a {other[colour]} page", where,
        )
        for where, path in zip(PLACES, draw_pictures(tmp_path / "pool", shades=4), strict=False)
        for colour in [path.stem.partition("_")[0]]
    ]  # fmt: skip
    return Wordings("made", tuple(found), wordings.SECOND_KINDS, "0"), tmp_path / "pool"


def test_averages_of_one_text_are_the_texts_themselves(colours: tuple[Wordings, Path]) -> None:
    made, folder = colours
    model, pool = ColourEncoder(), read_pool(folder)
    plain = Variations("plain", made, pool, how=HOW).score(model, None)
    found = wordings.AveragedWordings("averaged", made, pool, how=HOW).score(model, None)
    by_name = {metric.name: metric for metric in found.metrics}
    known = {metric.name: metric.value() for metric in plain.metrics}
    recalls = [known["R@10 plain caption"], *(known[f"R@10 {k}"] for k in made.kinds)]
    assert by_name["R@10 of 1"].value() == pytest.approx(np.mean(recalls))
    assert {len(metric.items) for metric in found.metrics} == {len(made)}
    assert "AO@10 of 5" not in by_name and "JS@10 of 3" in by_name
    # Contrasts name other colours than the wordings.
    assert by_name["AO@10 contrast of 5"].value() < by_name["AO@10 of 2"].value()
    # The words that are no colours differ, so that averages agree more than single texts.
    assert by_name["AO@10 of 1"].value() < by_name["AO@10 of 2"].value()
    assert [len(list(wordings.disjoint(
        [g for n in (1, 2, 3) for g in wordings.combinations(range(5), n)], *sizes)))
        for sizes in wordings.COMPARED] == [10, 15, 10]  # fmt: skip


def test_margins_are_reported_by_kind_of_contrast(colours: tuple[Wordings, Path]) -> None:
    made, folder = colours
    scored = wordings.ContrastedWordings("w", made, read_pool(folder), how=HOW).score(
        ColourEncoder(), None
    )
    rows = wordings.new_rows(wordings.SECOND)
    kinds = {rows[one.where]["contrast_kind"] for one in made.items}
    named = {m.name: m for m in scored.metrics if m.name.startswith("AO@10 margin, ")}
    assert {name.removeprefix("AO@10 margin, ") for name in named} == kinds
    whole = next(m for m in scored.metrics if m.name == "AO@10 margin")
    assert sum(len(m.items) for m in named.values()) == len(whole.items)


def test_the_text_test_of_wordings_has_a_subset_for_each_kind(
    colours: tuple[Wordings, Path],
) -> None:
    made, folder = colours
    pictures = [str(path) for path in folder.iterdir()]
    test = wordings.tot_of_wordings({"made": made}, pictures, HOW)
    scored = test.score(ColourEncoder(noise=0.01), None)
    values = {metric.name: metric.value() for metric in scored.metrics}
    assert {"TOT", "ITT", *(f"TOT {kind}" for kind in wordings.SECOND_KINDS)} <= set(values)
    assert values["ITT"] > 0.9


def test_held_out_rows_are_compared_by_kind_and_with_their_contrasts(
    colours: tuple[Wordings, Path],
) -> None:
    pool = read_pool(colours[1])
    found = {kind: sets.held_out_pairs(kind) for kind in STARTER_KINDS}
    assert len(found["plain"]) == len(found["far"]) == 600
    for kind, pairs in found.items():
        assert 0 < len(pairs) <= 600
        texts = zip(pairs.captions, pairs.paraphrases, pairs.negatives, strict=True)
        assert all(len(set(of_row)) == 3 for of_row in texts), kind
    assert len({pairs.paraphrases for pairs in found.values()}) == len(STARTER_KINDS)
    scored = sets.consistency("held-out-short", found["short"], pool).score(ColourEncoder(), None)
    values = {metric.name: metric.value() for metric in scored.metrics}
    wanted = {figure for name, figure in tables.ALL_LABELS if name == "held-out-short"}
    assert {"AO@10", "JS@10", "AO@10 negative", "AO@10 margin"} <= wanted & set(values)
    assert values["AO@10 margin"] == pytest.approx(values["AO@10"] - values["AO@10 negative"])
    assert not [name for name in values if name.startswith(("R@", "MRR"))]


def test_sts_is_without_the_pairs_of_training_captions(tmp_path: Path) -> None:
    write_sts(tmp_path / "sts")
    pictures = write_flickr8k(tmp_path / "flickr8k", shades=2)
    lines = ["image,caption", *(f'{one.name},"A red HAT."' for one in pictures)]
    (tmp_path / "flickr8k" / "captions.csv").write_text("\n".join(lines))
    (tmp_path / "flickr8k" / "train_images.txt").write_text(pictures[0].name)
    left = sets.unseen_sts(tmp_path)
    for task in left.tasks:
        assert all("red hat" not in pair for pair in task.pairs)
        assert sum(task.sizes or (len(task.pairs),)) == len(task.pairs)
    assert left.data["tasks"]["STS-B"]["pairs"] == 4
    pool = sets.unseen(tmp_path, read_pool(tmp_path / "flickr8k" / "images"))
    assert len(pool) == len(pictures) - 1


class Reworder:
    """A backend whose answers begin with another word; it has none for what is white."""

    generator, identity, style, options = "a list", {}, "paper", LLMOptions()
    started = 0

    def __init__(self, options: LLMOptions) -> None: ...

    async def start(self) -> None:
        Reworder.started += 1

    async def answer(self, prompt: Prompt, candidates: int) -> list[Answer]:
        assert prompt.messages is not None
        text = prompt.messages[-1]["content"]
        said = f"some {{}}{text.removeprefix('a')}" * ("white" not in text)
        return [Answer(said.format(number)) for number in range(candidates)]

    async def close(self) -> None: ...


class Accepting:
    """A judge for whom any text is a paraphrase."""

    limits = Limits()

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        return [Verdict(one.answer, None if one.answer else "empty", 1, 1) for one in questions]


def test_captions_are_reworded_once_and_correlations_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = write_flickr8k(tmp_path / "flickr8k", shades=2)
    (tmp_path / "flickr8k" / "train_images.txt").write_text(pictures[0].name)
    table = write_sts(tmp_path / "sts") / LAYOUTS["STS-B"][0]
    table.write_text(table.read_text().replace("g\t", "main-captions\t", 4))  # of five
    models = [("base", None, ColourEncoder()), ("command", 0, ColourEncoder(0.1)),
              ("command", 1, ColourEncoder(0.2))]  # fmt: skip
    for name, value in (
        ("SmolLM2", Reworder), ("Judge", Accepting), ("PAIRS", 4),
        ("finished_models", lambda options, place: models),
    ):  # fmt: skip
        monkeypatch.setattr(reworded_sts, name, value)
    monkeypatch.setattr(run, "RESAMPLES", {"quick": 50})
    words = ["x", "--rows", "command", "--data", tmp_path, "--out", tmp_path, "--results", tmp_path]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    for _ in range(2):
        reworded_sts.main()
    assert Reworder.started == 1, "texts that are kept are not reworded again"
    kept = json.loads(next((tmp_path / "reworded_sts").iterdir()).read_text())
    assert kept[1]["a red hat"] == "some 1 red hat" and "green grass here" not in kept[1]
    assert [len(one) for one in kept] == [6] * 3 and "white snow" not in kept[0]
    record = json.loads((tmp_path / "study_a_reworded_sts.json").read_text())
    assert record["reworded"] == [0.75] * 3 and "red hat" not in json.dumps(record)
    found = {(one["row"], one["figure"]): one["value"] for one in record["figures"]}
    for row in ("base", "command", "command − base"):
        change = found[row, "reworded"] - found[row, "as written"]
        assert found[row, "change"] == pytest.approx(change)
    for name in ("as written", "reworded"):
        difference = found["command", name] - found["base", name]
        assert found["command − base", name] == pytest.approx(difference)
    assert found["base", "spread"] >= 0 and ("command − base", "spread") not in found
    assert "75 %" in reworded_sts.table(record)


def test_the_effective_rank_of_a_collapsed_model_is_small(tmp_path: Path) -> None:
    pictures = write_flickr8k(tmp_path / "flickr8k", shades=4)
    lines = ["image,caption", *(f"{one.name},{one.stem} word{n}" for one in pictures
                                for n in range(3))]  # fmt: skip
    (tmp_path / "flickr8k" / "captions.csv").write_text("\n".join(lines))
    (tmp_path / "flickr8k" / "test_images.txt").write_text("\n".join(p.name for p in pictures))
    measure = sets.EffectiveRank(tmp_path)
    assert len(measure.groups) == 3

    def rank(noise: float) -> float:
        (metric,) = measure.score(ColourEncoder(noise=noise), None).metrics
        return 100 * metric.value()

    assert 1 <= rank(0.01) < rank(2.0) <= 8


def made_up(seed: int, lift: float) -> dict[tuple[str, str], Metric]:
    """Figures of a cell: overlaps and a correlation of made-up items."""
    draw = np.random.default_rng(seed)
    pairs = draw.integers(0, 11, 40) / 10
    gold = np.repeat(np.arange(6.0), 20)
    cosines = gold / 6 + draw.normal(0, 0.3, 120)
    key = ("sts-unseen", "STS mean of 7")
    groups = np.arange(120) % 2
    overlap = ("wordings-coco", "AO@10")
    return {
        key: Metric(key[1], np.stack([cosines, gold], 1), "spearman", groups),
        overlap: Metric(overlap[1], pairs + lift, clusters=np.arange(40) // 4),
    }


def test_kept_items_give_the_figures_again(tmp_path: Path) -> None:
    rows = [Row("base", "base", {}), Row("ours", "tuned", {}, None, None, None)]
    scored = {
        "base": {None: made_up(0, 0.0)},
        "ours": {seed: made_up(seed, 0.1) for seed in (0, 1)},
    }
    path = tmp_path / "a_second_main.npz"
    items.write_items(path, rows, scored)
    draws = Draws(200, tmp_path / "draws")
    figures = [dict(one) for one in figures_of(rows, scored, tables.KEPT["second"], draws)]
    assert {one["row"] for one in figures} == {"base", "ours"} and len(figures) == 4
    overlap = next(one for one in figures if one["row"] == "ours" and one["figure"] == "AO@10")
    shares = overlap["against"][0]
    assert shares["gained"] > shares["lost"] > 0
    record = json.loads(json.dumps({"kind": "second", "figures": figures}))
    assert items.differing(path, record, draws) == []
    overlap["value"] = {**overlap["value"], "low": overlap["value"]["low"] - 1}
    assert len(items.differing(path, {**record, "figures": figures}, draws)) == 1


@pytest.mark.slow
def test_the_kept_items_of_the_repository_are_those_of_its_tables(tmp_path: Path) -> None:
    files = sorted(items.REPORTS.glob("*/items/*.npz"))
    assert len(files) >= 2
    for path in files:
        assert path.stat().st_size <= 3 * 10**6
        record = json.loads((tables.RESULTS / f"study_{path.stem}.json").read_text("utf-8"))
        stored = {(one["row"], one["benchmark"], one["figure"]): one for one in record["figures"]}
        for row, cells in items.read_items(path)[1].items():
            for key in next(iter(cells.values())):
                mean = np.mean([100 * metrics[key].value() for metrics in cells.values()])
                value = stored[row, *key]["value"]["value"]
                assert mean == pytest.approx(value, abs=items.TOLERANCE)


# --- the fourth report ---


OTHER = dict(zip(COLOURS, reversed(COLOURS), strict=True))


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """Five pictures of each colour."""
    draw_pictures(tmp_path / "pool", shades=5)
    return read_pool(tmp_path / "pool")


def scored(one: searches.Searches, noise: float = 0.01) -> tuple[dict[str, Metric], dict[str, Any]]:
    """Figures by name, and arrays, of an encoder that knows colours."""
    found = one.score(ColourEncoder(noise=noise), None)
    names = [metric.name for metric in found.metrics]
    assert len(set(names)) == len(names)
    return dict(zip(names, found.metrics, strict=True)), found.arrays


def names_of(pool: Pool, colour: str) -> list[str]:
    return [Path(one).name for one in pool.references if Path(one).name.startswith(colour)]


def test_doubtful_pictures_are_in_no_ranking_and_several_may_be_right(pool: Pool) -> None:
    rows = [
        Query(colour, kind, "made", f"{colour} page", f"{colour} sheet", f"{OTHER[colour]} page",
              "sheet" if colour == "red" else "", ((colour,),), tuple(names_of(pool, colour)[:3]),
              tuple(names_of(pool, colour)[3:]))
        for colour, kind in zip(COLOURS, ("one_word", "plural", "plural", "question"), strict=True)
    ]  # fmt: skip
    made = searches.TypedQueries("typed-made", rows, pool, HOW)
    figures, arrays = scored(made)
    assert figures["hit@10 both"].value() == figures["R-precision wording"].value() == 1
    assert figures["AO@10"].value() > figures["AO@10 contrast"].value()
    doubtful = {number for number, one in enumerate(pool.references) if Path(one).stem[-1] in "34"}
    for place, row in enumerate(rows):
        left_out = {one for one in doubtful if pool.references[one].find(row.query[:3]) > 0}
        shown = [set(arrays["first_places"][place + n * len(rows)].tolist()) for n in range(3)]
        assert len(left_out) == 2 and all(not found & left_out for found in shown)
    assert arrays["first_places"].shape == arrays["first_scores"].shape == (12, 18)
    assert (np.diff(arrays["first_scores"], axis=1) <= 1e-6).all()
    assert arrays["first_rank"].tolist() == [0] * 8 + [-1] * 4
    wanted = {figure for one, figure in tables.FOURTH_LABELS if one == "typed-unseen"}
    absent = {"two_words", "three_or_four_words", "phrase_without_article"}
    assert wanted - {*figures} == {one for one in wanted if one.rpartition(", ")[2] in absent}
    assert len(figures["AO@10, plural"].items) == 2
    assert len(figures["AO@10, a less common word"].items) == 1


def test_all_captions_of_a_picture_and_its_worst(pool: Pool) -> None:
    owners = [number for number in range(len(pool)) for _ in range(3)]
    texts = [
        f"{word} {Path(pool.references[owner]).stem.partition('_')[0]}"
        for owner, word in zip(owners, ("page", "sheet", "wall") * len(pool), strict=True)
    ]
    texts[1] = "nothing at all"
    shown = Gallery("drawn", pool.references, tuple(texts), tuple(owners))
    figures, arrays = scored(searches.PeoplesCaptions("people", shown, pool, HOW), noise=0.2)
    wanted = {figure for one, figure in tables.FOURTH_LABELS if one == "people-unseen"}
    assert wanted == {*figures}
    counts = {name: len(metric.items) for name, metric in figures.items()}
    assert counts["R@10"] == counts["AO@10"] == 60 and counts["R@10 other captions"] == 40
    assert counts["R@10 all right"] == counts["AO@10 worst"] == 20
    hits = (arrays["first_rank"] < 10).reshape(20, 3)
    assert figures["R@10"].value() == pytest.approx(hits.mean())
    assert figures["R@10 all right"].value() == pytest.approx(hits.all(axis=1).mean())
    change = hits[:, 1:].mean() - hits[:, 0].mean()
    assert figures["R@10 change"].value() == pytest.approx(change)
    for metric in figures.values():
        assert metric.clusters is not None and len(np.unique(metric.clusters)) == 20
    assert figures["AO@10 worst"].value() < figures["AO@10"].value()


def reworded(pool: Pool) -> searches.Reworded:
    """A caption of each picture in two rewordings, one of which has a new word."""
    items = []
    for number, one in enumerate(pool.references):
        colour = Path(one).stem.partition("_")[0]
        texts = ("short", f"{colour} page"), ("plain", f"a {colour} folio")
        items.append(Wording(Path(one).name, f"a page of {colour}", texts,
                             f"a page of {OTHER[colour]}", f"wordings.jsonl:{number}"))  # fmt: skip
    made = Wordings("made", tuple(items), ("short", "plain"), "0")
    changes = {one.where: ("colour", "object")[n % 2] for n, one in enumerate(items)}
    known = {"page", "of", *COLOURS}
    return searches.Reworded("reworded-flickr8k", made, pool, changes, known, HOW)


def test_rewordings_by_kind_and_by_new_words(pool: Pool) -> None:
    figures, arrays = scored(reworded(pool), noise=0.4)
    for figure in ("AO@10", "R@10", "R@10 both ways", "R@10 change", "AO@10 margin"):
        for part, kind in ((searches.KNOWN, "short"), (searches.NEW, "plain")):
            one, other = figures[f"{figure}, {part}"], figures[f"{figure}, {kind}"]
            assert np.array_equal(one.items, other.items) and len(one.items) == 20
        halves = [figures[f"{figure}, {kind}"].value() for kind in ("short", "plain")]
        assert figures[figure].value() == pytest.approx(np.mean(halves))
    hits = arrays["first_rank"] < 10
    caption, pairs = hits[:20], hits[20:60].reshape(20, 2)
    right = caption & pairs.all(axis=1)
    assert figures["R@10 all right"].value() == pytest.approx(right.mean())
    both = (pairs & caption[:, None]).mean()
    assert figures["R@10 both ways"].value() == pytest.approx(both)
    assert figures["AO@10 worst"].value() <= figures["AO@10"].value()
    assert figures["AO@10 margin"].value() == pytest.approx(
        figures["AO@10"].value() - figures["AO@10 contrast"].value()
    )
    assert len(figures["AO@10 margin, change of colour"].items) == 20
    assert (arrays["first_rank"][60:] == -1).all()


def test_hubs_give_their_places_to_the_next_results() -> None:
    places = np.array([[0, *range(1 + 19 * text, 20 + 19 * text)] for text in range(4)])
    found = hubs.find_hubs(places, 100)
    assert np.flatnonzero(found).tolist() == [0], "all texts find it, and any other at most once"
    moved = hubs.move_to_end(places, found)
    assert (moved[:, :19] == places[:, 1:]).all() and (moved[:, 19] == 0).all()


@pytest.mark.parametrize("grouped", [False, True])
def test_many_draws_are_the_bootstrap_of_the_package(tmp_path: Path, grouped: bool) -> None:
    draw = np.random.default_rng(0)
    clusters = draw.integers(0, 30, 90) if grouped else None
    cells = [Metric("m", values, clusters=clusters) for values in draw.random((3, 90)).round(1)]
    found = ManyDraws(9_000, tmp_path, seed=4).of_all(cells)
    for cell, (value, drawn) in zip(cells, found, strict=True):
        assert value == 100 * cell.value()
        np.testing.assert_allclose(drawn, 100 * resample(cell, 9_000, 4), rtol=1e-12)
    assert not list(tmp_path.iterdir())


def test_a_correlation_has_fewer_draws_and_one_item_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(differences, "FEWER", 50)
    items = np.random.default_rng(0).random((40, 2))
    draws = ManyDraws(3_000, tmp_path)
    [(_, drawn)] = draws.of_all([Metric("c", items, "spearman")])
    assert np.array_equal(drawn, Draws(50, tmp_path).of(Metric("c", items, "spearman"))[1])
    [(_, alone)] = draws.of_all([Metric("m", np.ones(1))])
    assert np.isnan(alone).all()


def record_of(tmp_path: Path) -> dict[str, Any]:
    """A record of base a, a better row, and one that hardly differs, with the goals of base a."""
    better, alike = "command", "alone"
    declared, labels = tables.read_goals("fourth", "a"), tables.FOURTH_LABELS
    rows = [Row("base", "base", {}), Row(better, "tuned", {}), Row(alike, "tuned", {})]
    goals = [one for one in declared if one["row"] in (better, alike)]
    draw = np.random.default_rng(0)
    items = {key: draw.random(120) / 2 for key in labels}

    def cell(lift: float) -> dict[tuple[str, str], Metric]:
        noise = np.random.default_rng(1).normal(0, 0.01, 120)
        return {key: Metric(key[1], one + lift + lift * noise) for key, one in items.items()}

    cells: dict[str, dict[int | None, Any]] = {
        "base": {None: cell(0.0)}, better: {0: cell(0.25), 1: cell(0.25)}, alike: {0: cell(-0.01)},
    }  # fmt: skip
    family = {(one["row"], (one["benchmark"], one["figure"])) for one in goals}
    found = figures_of(rows, cells, list(labels), ManyDraws(9_000, tmp_path), family)
    record = {"name": "study_a_fourth_main", "kind": "fourth", "base": "a", "goals": goals,
              "figures": found, "units": units_of(cells["base"][None])}  # fmt: skip
    made: dict[str, Any] = json.loads(json.dumps(record))
    return made


def test_the_family_is_the_declared_goals_and_each_is_met_or_missed(tmp_path: Path) -> None:
    record = record_of(tmp_path)
    tested = {
        (one["row"], one["benchmark"], one["figure"])
        for one in record["figures"]
        for change in one["against"] if change["adjusted"] is not None
    }  # fmt: skip
    assert tested == {(one["row"], one["benchmark"], one["figure"]) for one in record["goals"]}
    made = tables.tables_of(record)
    assert {*made} == {"study_a_fourth_main" + more
                       for more in ("", "_differences", "_overview", "_goals")}  # fmt: skip
    lines = {line.split(" | ")[0]: line for line in made["study_a_fourth_main_goals"].splitlines()}
    assert len([line for line in lines if line.startswith("| ")]) == 1 + len(record["goals"])
    agreed = lines["| AO@10, LLM, unseen pictures"].split(" | ")
    assert agreed[1] == "+12" and agreed[2].removesuffix(" |").endswith("* met")
    kept = lines["| text to image R@1"].split(" | ")
    assert kept[1] == "not inferior" and kept[2].removesuffix(" |").endswith("met")
    assert tables.DECLARED in made["study_a_fourth_main_goals"]
    for line in made["study_a_fourth_main_differences"].splitlines():
        if line.startswith("| effective rank"):
            assert "*" not in line and "≥" not in line
    known = [line for line in made["study_a_fourth_main_overview"].splitlines() if "knows" in line]
    assert len(known) == 10
    untested = tables.tables_of({**record, "goals": []})
    assert "none" in untested["study_a_fourth_main_overview"]
    assert "study_a_fourth_main_goals" not in untested


@pytest.mark.parametrize(
    ("low", "high", "units", "goal", "verdict"),
    [
        (4.0, 6, 100, 4.0, "met"),
        (3.9, 6, 100, 4.0, "met by the mean"),
        (1, 6, 100, 4.0, "**missed**"),
        (0.1, 2, 100, "above base", "met"),
        (-0.1, 2, 100, "above base", "met by the mean"),
        (-0.9, 2, 100, "not inferior", "met"),
        (-0.9, 2, 99, "not inferior", "**missed**"),
    ],
)
def test_a_goal_is_met_by_the_whole_interval_by_the_mean_or_not(
    low: float, high: float, units: int, goal: float | str, verdict: str
) -> None:
    interval = {"value": (low + high) / 2, "low": low, "high": high}
    change = {"difference": interval, "adjusted": 1.0, "units": units}
    held = "≥ " if low > -1 and units > 99 else ""
    assert tables.judged(change, ("people", "R@10"), goal).endswith(f"] {held}{verdict}")


def test_rows_of_several_grids_are_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path)

    def figure(row: str, key: tuple[str, str], low: float) -> dict[str, Any]:
        change = {"row": "base", "difference": {"value": 1.0, "low": low, "high": 2.0}}
        return {
            "row": row, "benchmark": key[0], "figure": key[1], "seeds": [0] * (row != "base"),
            "value": {"value": 20.0 + len(row)}, "against": [{**change, "adjusted": None}],
        }  # fmt: skip

    keys = list(tables.PAPER_COLUMNS.values())
    for grid, row, low in (("one", "ours", 0.5), ("two", "theirs", -0.5)):
        record = {
            "figures": [figure(row, key, low) for key in keys],
            "units": {benchmark: dict.fromkeys((name for _, name in keys), 9)
                      for benchmark, _ in keys},
        }  # fmt: skip
        (tmp_path / f"{grid}.json").write_text(json.dumps(record))
    named = [["first", "one", "ours"], ["second", "two", "theirs"], ["not run", "two", "ours"],
             ["no grid", "three", "ours"]]  # fmt: skip
    lines = tables.rows_table({"rows": named}).splitlines()
    assert lines[2] == "| first |" + " 24.0 \\* |" * 5 + " 1 |"
    assert lines[3] == "| second |" + " 26.0 |" * 5 + " 1 |"
    assert len([line for line in lines if line.startswith("|")]) == 4


def test_every_row_of_the_papers_tables_is_one_of_its_grid() -> None:
    for _, stored, row in (*tables.PAPER_FRONT, *tables.PAPER_ROWS):
        _, _, folder, name = stored.split("_", 3)
        content = content_of_grid(GRIDS / folder / f"{name}.toml")
        known = {"base", "control", *content["variants"]}
        assert row.removeprefix("control of ") in known


NAMED_GOALS = (tables.NOT_INFERIOR, tables.ABOVE, tables.NOT_ABOVE)


@pytest.mark.parametrize("base", ["a", "b"])
@pytest.mark.parametrize("report", tables.REPORT_LABELS)
def test_every_goal_is_of_a_row_and_a_figure_of_the_tables(report: str, base: str) -> None:
    goals = tables.read_goals(report, base)
    places = [(one["row"], one["benchmark"], one["figure"]) for one in goals]
    assert len(places) == len(set(places)) and goals
    rows = {row for path in (GRIDS / report).glob("*.toml") if path.name != tables.GOALS
            for row in content_of_grid(path)["variants"]}  # fmt: skip
    for one in goals:
        assert (one["benchmark"], one["figure"]) in tables.REPORT_LABELS[report]
        assert isinstance(one["goal"], float) or one["goal"] in NAMED_GOALS
        assert one["row"] in rows


# --- the fourth report ---


def test_a_text_agrees_with_itself_as_it_is_typed_and_a_slip_keeps_its_letters(pool: Pool) -> None:
    queries = [f"{colour} sheets" for colour in COLOURS]
    slips = [measures.exchange_letters(text) for text in queries]
    for text, slip in zip(queries, slips, strict=True):
        assert slip != text and sorted(slip) == sorted(text)
        assert slip == measures.exchange_letters(text)
    made = measures.Slips("slips", queries, pool, HOW)
    figures = {one.name: one for one in made.score(ColourEncoder(noise=0.0), None).metrics}
    assert {*figures} == {figure for one, figure in tables.FOURTH_LABELS if one == "slips"}
    assert figures["AO@10 full stop"].value() == 1 and len(figures["AO@10 capitals"].items) == 4


def test_a_picture_is_nearer_to_what_is_true(colours: tuple[Wordings, Path]) -> None:
    found, folder = colours
    made = measures.HalfTruths("half-truths-unseen", found.items, read_pool(folder), HOW)
    scores = made.score(ColourEncoder(noise=0.0), None)
    wanted = {figure for one, figure in tables.FOURTH_LABELS if one == made.name}
    assert {one.name: one.value() for one in scores.metrics} == dict.fromkeys(wanted, 1.0)
    wrong = [replace(one, contrast=one.caption, caption=one.contrast) for one in found.items]
    swapped = measures.HalfTruths("half-truths-unseen", wrong, read_pool(folder), HOW)
    assert swapped.score(ColourEncoder(noise=0.0), None).metrics[0].value() == 0


def test_relations_hold_one_way_and_were_judged_true(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "pool", shades=1)
    for path in (tmp_path / "pool").iterdir():
        path.rename(path.with_name(f"{path.stem.partition('_')[0]}_1.png"))
    head = "ImageID,SentenceNo,Entity1,Relation,Entity2,Answer\n"
    (tmp_path / "testSplit_AMT.csv").write_text(
        head + "red,0,A red&#44; red page,on,a table,1\nred,1,A page,next to,a table,1\n"
        "blue,0,A blue page,on,a table,0\nnobody,0,A page,on,a table,1\n"
    )
    (tmp_path / "valSplit_AMT.csv").write_text(head + "red,0,A page,on,a page,1\n" * 2)
    pool = read_pool(tmp_path / "pool")
    (found,) = measures.read_relations(tmp_path, pool)
    assert (found.first, found.relation, found.second) == ("A red, red page", "on", "a table")
    assert Path(found.picture).name == "red_1.png"
    (figure,) = measures.Relations([found], HOW).score(ColourEncoder(noise=0.1), None).metrics
    assert figure.name == "true order" and figure.clusters.tolist() == [0]


@pytest.mark.parametrize("how", POPULARITY)
def test_a_hub_loses_more_than_other_pictures(how: str) -> None:
    texts = torch.randn(400, 6, generator=torch.Generator().manual_seed(0))
    texts[:, 0] += 3  # all texts like the first direction
    texts = normalize(texts, dim=1)
    pictures = normalize(torch.cat([torch.eye(6), -torch.eye(6)]), dim=1)
    lost = POPULARITY[how](texts, texts, torch.cat([pictures, texts]), 20.0, pictures)
    assert lost.shape == (12,) and lost.argmax() == 0


def test_lowered_pictures_keep_their_order_but_for_what_they_lose(pool: Pool) -> None:
    base = ColourEncoder(noise=0.0)
    queries = [f"{colour} sheets by the wall" for colour in COLOURS]
    plain, lowered = (
        measures.Slips("slips", queries, pool, HOW).score(model, None)
        for model in (base, Lowered(base, lambda vectors: torch.zeros(len(vectors)), "nothing"))
    )
    for one, other in zip(plain.metrics, lowered.metrics, strict=True):
        assert (one.items == other.items).all()


def test_a_choice_is_near_or_not(tmp_path: Path) -> None:
    def model(rate: float, share: float, right: float, agreement: float) -> dict[str, float]:
        figures = {chosen.RIGHT: right, **dict.fromkeys(chosen.AGREEMENT, agreement)}
        return {"rate": rate, "share": share, **figures}

    grid = [model(0.0, 0.0, 50, 20), model(1e-4, 0.5, 54.6, 30), model(3e-4, 1.0, 55, 30.5),
            model(**chosen.ALWAYS, right=54.4, agreement=31)]  # fmt: skip
    pair = {"student": "a", "teacher": "c", "grid": grid}
    near = {**pair, "chosen": {"rate": 1e-4, "share": 0.5}}
    far = {**pair, "chosen": {"rate": 0.0, "share": 0.0}}
    assert [chosen.verdict(grid, one["chosen"])[2] for one in (near, far)] == [True, False]
    lines = chosen.table_of({"pairs": [near, far]}).splitlines()
    assert "54.6 (55.0)" in lines[2] and "| base |" in lines[3]
    assert [line.split("|")[-3:-1] for line in lines[2:4]] == [
        [" yes ", " **no** "], [" **no** ", " **no** "],
    ]  # fmt: skip


def test_the_squared_distance_is_least_at_the_target() -> None:
    random = torch.Generator().manual_seed(0)
    bank, teachers = (normalize(torch.randn(9, width, generator=random), dim=1) for width in (4, 6))
    text = normalize(torch.randn(5, 6, generator=random), dim=1)
    loss = MeanSquares(TrainOptions())
    loss.rankers = [Ranker("other", 1.0, 20.0, TinyModel(), teachers, torch.zeros(9))]
    target = normalize((20 * text @ teachers.T).softmax(1) @ bank, dim=1)
    known = {BANK: bank, TEACHERS: text, TEACHERS_BANK: teachers, HUBS: torch.zeros(1, 9)}
    nothing = torch.zeros(0, dtype=torch.int64)

    def value(vectors: torch.Tensor, share: tuple[int, int] = (0, 1)) -> float:
        texts = dict.fromkeys(TEXTS, vectors)
        seen = Vectors(nothing, texts, Rows(nothing, {}), torch.zeros(()), known)
        return float(loss.value(seen, share))

    assert value(target) == pytest.approx(0, abs=1e-10) and value(-target) == pytest.approx(4)
    assert sum(value(bank[:5], (k, 2)) for k in (0, 1)) == pytest.approx(value(bank[:5]))
