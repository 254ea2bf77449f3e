"""What the third report measures, its kept results, its goals, and a million resamples."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from paraclip.evaluation.benchmark import Arithmetic
from paraclip.evaluation.benchmarks.image_text_retrieval import Gallery
from paraclip.evaluation.pairs import Wording, Wordings
from paraclip.evaluation.pictures import Pool, read_pool
from paraclip.evaluation.statistics import Metric, resample
from paraclip.training.losses import (
    ALL_TEXTS,
    BANK,
    LOSSES,
    RANKING,
    TEACHERS,
    TEACHERS_BANK,
    Objective,
    Ranker,
    Rows,
    Vectors,
)
from study import differences, oracles, tables
from study.cells import Row
from study.differences import Draws, ManyDraws, figures_of
from study.rivals import mean_squares
from study.third import searches
from study.third.queries import Query
from tiny import COLOURS, ColourEncoder, draw_pictures

HOW = Arithmetic("fp32")
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
    wanted = {figure for one, figure in tables.THIRD_LABELS if one == "typed-flickr8k"}
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
    wanted = {figure for one, figure in tables.THIRD_LABELS if one == "people"}
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


def test_an_oracle_and_what_is_lost_come_from_the_kept_results() -> None:
    places = np.arange(4 * 20).reshape(4, 20).astype(np.uint16)
    base = {"first_rank": np.array([0, 0, 7, 30, -1]), "first_places": places[[0, 1, 2, 3, 0]]}
    row = {"first_rank": np.array([3, 12, 60, 2, -1]), "first_places": places[[0, 1, 3, 3, 1]]}
    found = oracles.compare(base, row)
    assert found == {
        "base": 75.0, "tuned": 50.0, "oracle": 100.0, "lost_first": 50.0, "lost_last": 100.0,
        "stayed": 75.0,
    }  # fmt: skip
    record = {"oracles": [{"set": "people", "row": "taught", "seeds": 3, **found}]}
    line = oracles.table(record).splitlines()[2]
    assert (
        line == "| five captions by people, *taught* | 75.0 | 50.0 | 100.0 | 50.0 | 100.0 | 75.0 |"
    )


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


def third_figures(tmp_path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Figures of base and a better row, and the goals of base a."""
    goals = tables.read_goals("a")
    rows = [Row("base", "base", {}), Row("taught", "tuned", {}), Row("starter taught", "tuned", {})]
    draw = np.random.default_rng(0)
    items = {key: draw.random(60) / 2 for key in tables.THIRD_LABELS}

    def cell(lift: float) -> dict[tuple[str, str], Metric]:
        noise = np.random.default_rng(1).normal(0, 0.01, 60)
        return {key: Metric(key[1], one + lift + lift * noise) for key, one in items.items()}

    cells: dict[str, dict[int | None, Any]] = {
        "base": {None: cell(0.0)}, "taught": {0: cell(0.25), 1: cell(0.25)},
        "starter taught": {0: cell(-0.01)},
    }  # fmt: skip
    family = {(one["row"], (one["benchmark"], one["figure"])) for one in goals}
    found = figures_of(rows, cells, list(tables.THIRD_LABELS), ManyDraws(9_000, tmp_path), family)
    return [dict(one) for one in found], goals


def test_the_family_is_the_declared_goals_and_each_is_met_or_missed(tmp_path: Path) -> None:
    figures, goals = third_figures(tmp_path)
    tested = {
        (one["row"], one["benchmark"], one["figure"])
        for one in figures for change in one["against"] if change["adjusted"] is not None
    }  # fmt: skip
    assert tested == {(one["row"], one["benchmark"], one["figure"]) for one in goals}
    record = {"name": "study_a_third_main", "kind": "third", "base": "a", "goals": goals,
              "figures": json.loads(json.dumps(figures))}  # fmt: skip
    made = tables.tables_of(record)
    assert {*made} == {"study_a_third_main" + more
                       for more in ("", "_differences", "_overview", "_goals")}  # fmt: skip
    lines = {line.split(" | ")[0]: line for line in made["study_a_third_main_goals"].splitlines()}
    assert len([line for line in lines if line.startswith("| ")]) > 20
    agreed = lines["| AO@10, LLM, Flickr8k"].split(" | ")
    assert agreed[1] == "+20" and agreed[2].endswith("* met")
    assert agreed[3] == "+10" and agreed[4].removesuffix(" |").endswith("**missed**")
    kept = lines["| text to image R@1"].split(" | ")
    assert kept[1] == "not inferior" and kept[2].endswith("met")
    assert "the declared goals of this base" in made["study_a_third_main_goals"]
    for line in made["study_a_third_main_differences"].splitlines():
        if line.startswith(("| zero-shot", "| COCO-Order", "| effective rank")):
            assert "*" not in line and "≥" not in line
    known = [line for line in made["study_a_third_main_overview"].splitlines() if "knows" in line]
    assert len(known) == 10


@pytest.mark.parametrize("base", ["a", "b"])
def test_every_goal_is_of_a_figure_of_the_tables(base: str) -> None:
    goals = tables.read_goals(base)
    places = [(one["row"], one["benchmark"], one["figure"]) for one in goals]
    assert len(places) == len(set(places)) and len(places) > 30
    for one in goals:
        assert (one["benchmark"], one["figure"]) in tables.THIRD_LABELS
        assert isinstance(one["goal"], float) or one["goal"] in (tables.NOT_INFERIOR, tables.ABOVE)
    assert {one["row"] for one in goals} == {"taught", "starter taught"}


def test_the_squared_distance_is_least_at_the_target() -> None:
    random = torch.Generator().manual_seed(0)
    bank, teachers = (normalize(torch.randn(9, width, generator=random), dim=1) for width in (4, 6))
    text = normalize(torch.randn(5, 6, generator=random), dim=1)
    objective = Objective({RANKING: 1.0}, rankers=(Ranker("other", 1.0, 20.0, 6),))
    target = normalize((20 * text @ teachers.T).softmax(1) @ bank, dim=1)
    known = {BANK: bank, TEACHERS: text, TEACHERS_BANK: teachers}
    nothing = torch.zeros(0, dtype=torch.int64)
    rows, log = Rows(nothing, nothing, nothing), torch.zeros(())

    def loss(vectors: torch.Tensor, share: tuple[int, int] = (0, 1)) -> float:
        seen = Vectors(nothing, dict.fromkeys(ALL_TEXTS, vectors), known)
        return float(LOSSES[RANKING].compute(seen, rows, objective, log, share))

    usual = LOSSES[RANKING]
    with mean_squares():
        assert loss(target) == pytest.approx(0, abs=1e-10) and loss(-target) == pytest.approx(4)
        assert sum(loss(bank[:5], (k, 2)) for k in (0, 1)) == pytest.approx(loss(bank[:5]))
    assert LOSSES[RANKING] is usual
