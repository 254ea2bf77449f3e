"""The log of a run, and divergence."""

import errno
import gc
import math
import os
import threading
from pathlib import Path

import pytest
from training_rows import tune

from paraclip.errors import UserError
from paraclip.training import log as logging
from paraclip.training.log import MetricsLog, find_divergence
from paraclip.training.losses import L1, L2, Objective
from tiny import largest_file


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
    with pytest.raises(UserError, match=r"metrics\.jsonl"), MetricsLog(tmp_path):
        pass
    assert path.read_bytes() == content


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path)])
def test_a_log_that_is_not_a_file_is_an_error(tmp_path, make):
    make(tmp_path / "metrics.jsonl")
    with pytest.raises(UserError, match=r"metrics\.jsonl"), MetricsLog(tmp_path):
        pass


@pytest.mark.parametrize("place", ["metrics.jsonl", "tensorboard"])
def test_a_full_disk_under_the_log_is_one_line(tmp_path, monkeypatch, place):
    monkeypatch.setattr(threading, "excepthook", lambda caught: None)  # of tensorboard's thread
    if place == "tensorboard":
        pytest.importorskip("tensorboard")
        monkeypatch.setattr(logging, "keep_until", lambda path, step: None)
        (tmp_path / "metrics.jsonl").symlink_to(os.devnull)  # has no size
    else:
        monkeypatch.setattr(logging, "find_spec", lambda name: None)
    said = f"{place}: exceeds the largest allowed file size"
    with pytest.raises(UserError, match=said), MetricsLog(tmp_path) as log, largest_file(100):
        for step in range(10_000):
            log.write(step, {"loss": 2.0}, 8)


def test_the_log_is_closed_where_tensorboard_cannot_start(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(pytest.importorskip("torch.utils.tensorboard"), "SummaryWriter", refuse)
    with pytest.raises(UserError, match="tensorboard: the disk is full"), MetricsLog(tmp_path):
        pass
    gc.collect()  # an open file would be a warning, and warnings are errors


def test_without_tensorboard_the_log_is_one_of_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(logging, "find_spec", lambda name: None)
    assert len(tune(tmp_path, epochs=1).steps) == 3
    assert not (tmp_path / "tensorboard").exists()


def test_tensorboard_is_written_where_it_is_installed(tuned):
    pytest.importorskip("tensorboard")
    assert [path.suffix for path in (tuned.out / "tensorboard").iterdir()] == [".paraclip"]
