"""Measures without labels, and the one rule by which a model is recommended."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from paraclip.evaluation.metrics import average_overlap
from paraclip.evaluation.statistics import Interval
from paraclip.evaluation.unlabelled import (
    ALIKE,
    CONTRAST,
    FIRST,
    HUBS_LOWERED,
    KEPT,
    Reading,
    first_pictures,
    mean_wordings,
    measure_hubs,
    measures_table,
    read_answers,
    recommend,
    scene_queries,
    search_scenes,
)
from paraclip.models.features import encode_texts, encoded_once
from paraclip.starter.scenes import scenes
from tiny import TinyModel, retuned

COUNT = 40
JUDGED = f"{FIRST}base"


@pytest.fixture(scope="module")
def queries():
    return scene_queries(COUNT)


def pictures(count: int, width: int) -> np.ndarray:
    vectors = np.random.default_rng(0).standard_normal((count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.slow
def test_the_scenes_are_always_the_same_and_none_is_learned(queries) -> None:
    assert scene_queries(COUNT) == queries
    learned = {
        text for row in scenes(2000, seed=0) for text in (row["caption"], row["paraphrase_1"])
    }
    pairs = [*zip(queries.texts, queries.rewordings, strict=True)]
    assert not any(learned.issuperset(pair) for pair in pairs)
    for row, text in enumerate(queries.texts):
        assert text != queries.rewordings[row] != queries.contrasts[row]
        assert {text, queries.rewordings[row]} <= {*queries.wordings[row]}
        assert queries.contrasts[row] not in queries.wordings[row]


def test_measures_are_those_of_a_plain_search(queries) -> None:
    base = TinyModel()
    tuned, bank = retuned(base), pictures(50, base.architecture.embed_dim)
    before = search_scenes(partial(encode_texts, base), bank, queries)
    texts, shown, scale = (
        mean_wordings(encoded_once(base, queries.every()), queries),
        torch.from_numpy(bank),
        7.0,
    )
    firsts = {"base": first_pictures(texts, shown, scale)}
    reading = read_answers(
        search_scenes(partial(encode_texts, tuned), bank, queries), before, queries, firsts
    )

    def ranked(model, texts):
        return np.argsort(-(encode_texts(model, texts).numpy() @ bank.T), axis=1)[:, :10]

    own, other, contrast = (
        ranked(tuned, texts) for texts in (queries.texts, queries.rewordings, queries.contrasts)
    )
    means = [normalize(encode_texts(base, worded).sum(0), dim=0) for worded in queries.wordings]
    hubs = HUBS_LOWERED * measure_hubs(texts, shown, scale)
    first = [int((scale * shown @ one - hubs).argmax()) for one in means]
    means = reading.means()
    assert means[ALIKE] == pytest.approx(average_overlap(own, other).mean())
    assert means[CONTRAST] == pytest.approx(average_overlap(own, contrast).mean())
    assert means[KEPT] == pytest.approx(average_overlap(ranked(base, queries.texts), own).mean())
    assert means[JUDGED] == np.mean([one in found for one, found in zip(first, other, strict=True)])
    kind = queries.kinds[0]
    of_kind = [row for row, one in enumerate(queries.kinds) if one == kind]
    mean = average_overlap(own, other)[of_kind].mean()
    assert means[f"{ALIKE}, {kind}"] == pytest.approx(mean)
    assert measures_table({"tuned": means})[1] == [ALIKE, f"{100 * means[ALIKE]:.1f}"]


def reading(alike: float, contrast: float, first: float) -> Reading:
    """What a model finds for 400 scenes, as shares of them."""
    values = {ALIKE: alike, CONTRAST: contrast, JUDGED: first}
    made = {name: (np.arange(400) < 400 * share).astype(float) for name, share in values.items()}
    return Reading(made, ["caption"] * 400)


BASE = reading(0.4, 0.2, 0.5)


@pytest.mark.parametrize(
    ("merged", "tuned", "use", "word"),
    [
        pytest.param((0.5, 0.22, 0.6), (0.6, 0.25, 0.7), "tuned", "agree", id="both fit"),
        pytest.param((0.5, 0.22, 0.7), (0.6, 0.25, 0.6), "merged", "agree", id="finds more"),
        pytest.param((0.5, 0.22, 0.5), (0.6, 0.25, 0.4), "merged", "agree", id="tuned loses"),
        pytest.param((0.5, 0.24, 0.6), (0.7, 0.36, 0.9), "merged", "agree", id="confuses"),
        pytest.param((0.4, 0.2, 0.6), (0.4, 0.1, 0.9), "base", "no more", id="agrees no more"),
        pytest.param((0.5, 0.3, 0.6), (0.6, 0.5, 0.9), "base", "meanings", id="both confuse"),
        pytest.param((0.5, 0.2, 0.4), (0.6, 0.2, 0.4), "base", "first picture", id="both lose"),
    ],
)
def test_the_recommended_model(merged, tuned, use, word) -> None:
    found, reason = recommend({"base": BASE, "merged": reading(*merged), "tuned": reading(*tuned)})
    assert found == use and word in reason


@pytest.mark.parametrize(("low", "use"), [(-0.01, "tuned"), (-0.03, "base")])
def test_captions_decide_what_is_lost(low: float, use: str) -> None:
    right = {"tuned": Interval(0.01, low, 0.04)}
    readings = {"base": BASE, "tuned": reading(0.6, 0.25, 0.3)}
    assert recommend(readings)[0] == "base"
    assert recommend(readings, right)[0] == use


@pytest.mark.parametrize("bounds", [(0.0, 0.0), (math.nan, math.nan)])
def test_captions_too_few_for_an_interval_decide_nothing(bounds: tuple[float, float]) -> None:
    readings = {"base": BASE, "tuned": reading(0.6, 0.25, 0.3)}
    use, reason = recommend(readings, {"tuned": Interval(0.0, *bounds)})
    assert use == "base" and "first picture" in reason
