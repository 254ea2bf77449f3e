"""The log of a run, divergence, and the geometry of vectors against plain NumPy loops."""

import gc
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from training_rows import tune

from paraclip.errors import UserError
from paraclip.training import log as logging
from paraclip.training.log import (
    _alignment,
    _JsonLines,
    _margin,
    _uniformity,
    find_divergence,
    geometry,
    metrics_log,
)
from paraclip.training.losses import L1, L2, FalseNegatives, Objective, Rows, Vectors


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


@given(st.integers(0, 2**32 - 1), st.integers(2, 7))
def test_the_figures_are_those_of_plain_loops(seed, count):
    a, b = unit(seed, count), unit(seed + 1, count)
    one, other = torch.from_numpy(a), torch.from_numpy(b)
    assert _alignment(one, other) == pytest.approx(plain_alignment(a, b))
    assert _uniformity(one) == pytest.approx(plain_uniformity(a))
    hidden = np.random.default_rng(seed).random((count, count)) < 0.4
    np.fill_diagonal(hidden, False)
    expected = plain_margin(a, b, hidden)
    assert _margin(one, other, torch.from_numpy(hidden)) == pytest.approx(expected, nan_ok=True)


def test_rows_that_share_a_picture_are_not_rivals_in_the_geometry():
    texts = dict(zip(("caption", "paraphrase_1"), unit(1, 12).reshape(2, 6, 4), strict=True))
    shown = [0, 1, 3, 4, 5]  # row 2 has no picture
    images = unit(3, 5)
    groups = np.zeros((6, 1), dtype=np.int8)
    groups[[1, 4]] = 1
    hidden = np.zeros((5, 5), dtype=bool)
    hidden[1, 3] = hidden[3, 1] = True
    rows = Rows(
        torch.tensor(shown), torch.arange(6), torch.arange(0),
        FalseNegatives(sparse.csr_array(groups)),
    )  # fmt: skip
    vectors = Vectors(
        torch.from_numpy(images), {name: torch.from_numpy(one) for name, one in texts.items()}
    )
    found = geometry(vectors, rows, ("caption",))
    assert found["margin"] == pytest.approx(plain_margin(images, texts["caption"][shown], hidden))
    assert found["alignment"] == pytest.approx(plain_alignment(*texts.values()))
    assert found["uniformity"] == pytest.approx(plain_uniformity(texts["paraphrase_1"]))
    alone = Vectors(vectors.images, {"caption": vectors.texts["caption"]})
    assert set(geometry(alone, rows, ())) == {"uniformity"}, "one text a row has no paraphrase"


@pytest.mark.parametrize(
    ("first", "figures", "found"),
    [
        (None, {"loss": 500.0}, None),
        (5.0, {"loss": 15.0}, None),
        (5.0, {"loss": 15.01}, "15.01 passes 15"),
        # A base that is good already may well get worse for a while: chance is ln 8 * 2.
        (0.1, {"loss": 12.4}, None),
        (0.1, {"loss": 12.5}, "diverged"),
        (0.1, {"L1": math.nan, "loss": math.inf}, "L1 and loss became"),
    ],
)
def test_a_loss_diverges_beyond_three_times_its_start_or_chance(first, figures, found):
    problem = find_divergence(figures, first, Objective({L1: 1.5, L2: 0.5}), 8)
    assert problem is None if found is None else found in problem


@pytest.mark.parametrize(
    "content",
    [b"\xff\n", b"[" * 100_000 + b"\n", b'{"loss": 1}\n', b'{"step": "x"}\n', b"[1]\n", b"x\n{}\n"],
)
def test_a_damaged_log_is_an_error_and_stays(tmp_path, content):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"metrics\.jsonl"):
        _JsonLines(tmp_path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path)])
def test_a_log_that_is_not_a_file_is_an_error(tmp_path, make):
    make(tmp_path / "metrics.jsonl")
    with pytest.raises(UserError, match=r"metrics\.jsonl"):
        _JsonLines(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
def test_a_full_disk_under_the_log_is_one_line(tmp_path):
    log = _JsonLines(tmp_path)
    log.lines.close()
    with Path("/dev/full").open("a") as log.lines:
        with pytest.raises(UserError, match=r"metrics.jsonl: the disk is full"):
            log.write(1, {"loss": 2.0})
        log.close()


def test_writers_are_closed_where_a_later_one_cannot_start(tmp_path, monkeypatch):
    class Refusing:
        def __init__(self, folder, after):
            raise UserError("second", "cannot start", "Leave it out.")

    monkeypatch.setattr(logging, "find_spec", lambda name: True)
    monkeypatch.setattr(logging, "_TensorBoard", Refusing)
    with pytest.raises(UserError, match="cannot start"), metrics_log(tmp_path, 0):
        pass
    gc.collect()  # an open file would be a warning, and warnings are errors


def test_without_tensorboard_the_log_is_one_of_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(logging, "find_spec", lambda name: None)
    assert len(tune(tmp_path, epochs=1).steps) == 3
    assert not (tmp_path / "tensorboard").exists()


def test_tensorboard_is_written_where_it_is_installed(tuned):
    pytest.importorskip("tensorboard")
    assert [path.suffix for path in (tuned.out / "tensorboard").iterdir()] == [".paraclip"]
