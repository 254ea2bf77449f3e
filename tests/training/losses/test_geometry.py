"""Alignment, uniformity and margin: against plain NumPy loops, by hand, and in a run."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import TinyModel
from training_rows import make_config, make_features, make_triples

from paraclip.training import loop
from paraclip.training.loop import geometry_of, watched_rows
from paraclip.training.losses.objective import ALL_TEXTS
from paraclip.training.metrics import alignment, margin, uniformity
from paraclip.training.prepare import TrainingData


def unit(seed, count, width=4):
    rows = np.random.default_rng(seed).normal(size=(count, width))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def plain_alignment(a, b):
    return np.mean([sum((x - y) ** 2) for x, y in zip(a, b, strict=True)])


def plain_uniformity(x):
    pairs = [(i, j) for i in range(len(x)) for j in range(i)]
    return np.log(np.mean([np.exp(-2 * sum((x[i] - x[j]) ** 2)) for i, j in pairs]))


def plain_margin(images, texts, hidden):
    found = []
    for i, image in enumerate(images):
        others = [image @ t for j, t in enumerate(texts) if j != i and not hidden[i, j]]
        if others:
            found.append(image @ texts[i] - max(others))
    return np.mean(found) if found else math.nan


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(2, 7))
def test_the_figures_are_those_of_plain_loops(seed, count):
    a, b = unit(seed, count), unit(seed + 1, count)
    one, other = torch.from_numpy(a), torch.from_numpy(b)
    assert alignment(one, other) == pytest.approx(plain_alignment(a, b))
    assert uniformity(one) == pytest.approx(plain_uniformity(a))
    hidden = np.random.default_rng(seed).random((count, count)) < 0.4
    np.fill_diagonal(hidden, False)
    expected = plain_margin(a, b, hidden)
    assert margin(one, other, torch.from_numpy(hidden)) == pytest.approx(expected, nan_ok=True)


def test_by_hand():
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert alignment(x, x) == 0.0
    assert alignment(x[:2], x[[1, 0]]) == pytest.approx(2.0)
    # squared distances 2, 4, 2
    assert uniformity(x) == pytest.approx(math.log((2 * math.exp(-4) + math.exp(-8)) / 3))
    assert uniformity(x[[0, 0]]) == pytest.approx(0.0)
    assert margin(x[:2], x[:2]) == pytest.approx(1.0)
    assert margin(x[:2], x[[1, 0]]) == pytest.approx(-1.0)


@pytest.fixture
def made_run(tmp_path, monkeypatch):
    """From options to a run at its first step, on tiny triples, and its texts."""

    def make(**changes):
        runs, triples = [], make_triples()
        monkeypatch.setattr(loop, "run_steps", lambda run, folder: runs.append(run))
        config = make_config(**changes)
        loop.train(TrainingData(TinyModel(), triples, make_features(triples)), config, tmp_path)
        return runs[0], {name: triples[name].to_pylist() for name in ALL_TEXTS}

    return make


def test_a_run_is_measured_on_its_held_out_rows(made_run):
    run, texts = made_run()
    rows = watched_rows(run)
    assert sorted(rows) == sorted(run.held_out)
    model = run.model
    with torch.no_grad():
        a, b, c = (
            model.encode_tokens(model.tokenize([texts[name][row] for row in rows]).ids).numpy()
            for name in ALL_TEXTS
        )
    found = geometry_of(run)
    near = (plain_alignment(a, b) + plain_alignment(b, c)) / 2
    assert found["alignment"] == pytest.approx(near, rel=1e-5)
    assert found["uniformity"] == pytest.approx(plain_uniformity(c), rel=1e-5)
    assert math.isfinite(found["margin"])


def test_without_held_out_rows_learned_ones_are_measured(made_run):
    run, _ = made_run(held_out=0.0)
    assert len(watched_rows(run)) == 24
    assert set(geometry_of(run)) == {"alignment", "uniformity", "margin"}


def test_rows_that_share_a_picture_are_not_rivals(made_run):
    run, texts = made_run(held_out=0.0, image_loss_on=("caption",), weights=(1.0, 0.0, 0.0))
    model, ids = run.model, make_triples()["image_id"].to_pylist()
    shown = [row for row in range(24) if row != 3]  # row 3 has no picture
    with torch.no_grad():
        words = [texts["caption"][row] for row in shown]
        vectors = model.encode_tokens(model.tokenize(words).ids).numpy()
        images = model.project_images(make_features(make_triples())[shown]).numpy()
    hidden = np.array(
        [[i != j and (ids[i] == ids[j] or texts["caption"][i] == texts["caption"][j])
          for j in shown] for i in shown]
    )  # fmt: skip
    assert hidden.any()
    found = geometry_of(run)
    assert found["margin"] == pytest.approx(plain_margin(images, vectors, hidden), rel=1e-4)
    assert "alignment" not in found, "one text a row has no paraphrase"
