"""The second report's own measures, its kept items, and the rival without training."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from text_sets import write_sts

from paraclip.evaluation.benchmark import Arithmetic
from paraclip.evaluation.benchmarks.variations import Variations
from paraclip.evaluation.pairs import Wording, Wordings
from paraclip.evaluation.pictures import read_pool
from paraclip.evaluation.statistics import Metric
from study import items, sets, tables, wordings
from study.cells import Row
from study.differences import Draws, figures_of
from study.triples import STARTER_KINDS
from tiny import COLOURS, ColourEncoder, draw_pictures, write_flickr8k

DATA = Path(os.environ.get("PARACLIP_DATA") or "PARACLIP_DATA-is-not-set")
WITH_DATA = pytest.mark.skipif(not (DATA / "cxc").is_dir(), reason=f"no data in {DATA}")
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
    figures = [dict(one) for one in figures_of(rows, scored, tables.KEPT, draws)]
    assert {one["row"] for one in figures} == {"base", "ours"} and len(figures) == 4
    overlap = next(one for one in figures if one["row"] == "ours" and one["figure"] == "AO@10")
    shares = overlap["against"][0]
    assert shares["gained"] > shares["lost"] > 0
    record = json.loads(json.dumps({"figures": figures}))
    assert items.differing(path, record, draws) == []
    overlap["value"] = {**overlap["value"], "low": overlap["value"]["low"] - 1}
    assert len(items.differing(path, {"figures": figures}, draws)) == 1


def test_the_kept_items_of_the_repository_are_those_of_its_tables(tmp_path: Path) -> None:
    files = sorted(items.ITEMS.glob("*.npz"))
    assert sum(path.stat().st_size for path in files) <= 2 * 10**6
    for path in files:
        record = json.loads((tables.RESULTS / f"study_{path.stem}.json").read_text("utf-8"))
        stored = {(one["row"], one["benchmark"], one["figure"]): one for one in record["figures"]}
        for row, cells in items.read_items(path)[1].items():
            for key in next(iter(cells.values())):
                mean = np.mean([100 * metrics[key].value() for metrics in cells.values()])
                value = stored[row, *key]["value"]["value"]
                assert mean == pytest.approx(value, abs=items.TOLERANCE)


@pytest.mark.slow
@pytest.mark.shared_data
@WITH_DATA
def test_every_figure_of_the_second_tables_is_scored() -> None:
    made = {one.name: one for one in sets.second_sets(DATA)}
    assert {key[0] for key in tables.SECOND_OVERVIEW} <= set(made)
    quick = ("wordings-coco", "averaged-coco", "effective-rank", "sts-unseen")
    for name in quick:
        scored = {metric.name for metric in made[name].score(ColourEncoder(), None).metrics}
        wanted = {key[1] for key in tables.LABELS if key[0] == name}
        assert wanted <= scored
    assert {f"held-out-{kind}" for kind in STARTER_KINDS} < {
        one.name for one in sets.kinds_sets(DATA)
    }
    shares = {task.name: len(task.pairs) for task in made["sts-unseen"].tasks}
    assert shares["STS13"] == 1500 and shares["STS15"] < 2400
