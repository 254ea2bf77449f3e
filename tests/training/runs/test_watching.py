"""Progress reports, validation on held-out rows, early stopping, and steps that fail."""

import json
import math
import os
import sys
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_model import TinyModel
from training_rows import make_config, make_features, make_triples, weights_of

from paraclip.errors import UserError
from paraclip.training import loop
from paraclip.training import step as step_module
from paraclip.training.folder import FORMAT
from paraclip.training.loop import train
from paraclip.training.metrics import (
    MEASURED,
    Course,
    JsonLines,
    Watched,
    Watchers,
    check_trackers,
    is_judged,
    read_metrics,
    trouble,
)
from paraclip.training.prepare import TrainingData

pytestmark = pytest.mark.slow


def tune(out, model=None, **changes):
    """Train a tiny model on tiny triples; returns it, the checkpoint and the summary."""
    triples, model = make_triples(), model or TinyModel()
    path = train(TrainingData(model, triples, make_features(triples)), make_config(**changes), out)
    return model, path, json.loads((out / "summary.json").read_text())


class Recorder(types.ModuleType):
    """A module with the three functions that trackio and wandb share."""

    def __init__(self, name):
        super().__init__(name)
        self.__spec__ = types.SimpleNamespace(name=name)
        self.started, self.told, self.finished = [], [], 0

    def init(self, **options):
        self.started.append(options)

    def log(self, figures, step):
        self.told.append((step, figures))

    def finish(self):
        self.finished += 1


@pytest.fixture(params=["trackio", "wandb"])
def tracker(request, monkeypatch):
    """Both modules in turn, as if installed."""
    module = Recorder(request.param)
    monkeypatch.setitem(sys.modules, request.param, module)
    return module


def test_trackers_receive_what_the_file_contains(tracker, tmp_path):
    tune(tmp_path / "tuned", track=("jsonl", tracker.__name__))
    lines = read_metrics(tmp_path / "tuned" / "metrics.jsonl")
    assert [{"step": step, **figures} for step, figures in tracker.told] == lines
    assert tracker.finished == 1 and not (tmp_path / "tuned" / "tensorboard").exists()
    (options,) = tracker.started
    assert options["project"] == "paraclip" and options["name"].startswith("tuned")
    assert options["config"]["learning_rate"] == 3e-3 and options["resume"] == "allow"


def test_a_run_that_continues_is_the_same_run_to_a_tracker(tracker, tmp_path, monkeypatch):
    whole, step = {"track": (tracker.__name__,)}, loop.take_step

    def killed(run, rows):
        if run.step == 5:
            raise KeyboardInterrupt
        return step(run, rows)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "take_step", killed)
        with pytest.raises(KeyboardInterrupt):
            tune(tmp_path, **whole)
    tune(tmp_path, **whole)
    first, second = tracker.started
    assert {k: v for k, v in first.items() if k != "config"} == {
        k: v for k, v in second.items() if k != "config"
    }
    assert tracker.finished == 2, "closed also where the run was stopped"


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_a_tracker_that_is_not_installed_is_reported_before_anything(name, tmp_path, monkeypatch):
    monkeypatch.setattr("paraclip.training.metrics.find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"--track {name}: it is not installed. pip install"):
        tune(tmp_path / "never", track=("jsonl", name))
    assert not (tmp_path / "never").exists()


def test_an_unknown_tracker_offers_the_nearest():
    with pytest.raises(UserError, match="Did you mean wandb"):
        check_trackers(["wanbd"])


def test_watchers_are_closed_where_a_later_one_cannot_start(tmp_path, monkeypatch):
    closed = []

    def refuse(run):
        raise UserError("second", "cannot start", "Leave it out.")

    first = types.SimpleNamespace(close=lambda: closed.append("first"))
    found = {"first": lambda run: first, "second": refuse}
    monkeypatch.setattr("paraclip.training.metrics.WATCHERS", found)
    with pytest.raises(UserError, match="cannot start"):
        Watchers(("first", "second"), Watched(tmp_path, 0, "key", {}))
    assert closed == ["first"]


@pytest.mark.filterwarnings("default")
def test_real_trackio_keeps_the_figures_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "store"))
    pytest.importorskip("trackio", reason="trackio is not installed")
    tune(tmp_path / "tuned", track=("trackio",), epochs=1)
    assert list((tmp_path / "store").rglob("paraclip*"))


@pytest.mark.filterwarnings("default")
def test_real_wandb_keeps_the_figures_on_this_machine_if_configured(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    pytest.importorskip("wandb", reason="wandb is not installed")
    tune(tmp_path / "tuned", track=("wandb",), epochs=1)
    assert list((tmp_path / "tuned").rglob("*.wandb"))


@pytest.mark.parametrize(
    "content",
    [b"\xff\n", b"[" * 100_000 + b"\n", b'{"loss": 1}\n', b'{"step": "x"}\n', b"[1]\n", b"x\n{}\n"],
)
def test_a_foreign_log_is_an_error_and_stays(tmp_path, content):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"metrics\.jsonl"):
        JsonLines(tmp_path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path)])
def test_a_log_that_is_not_a_file_is_an_error(tmp_path, make):
    make(tmp_path / "metrics.jsonl")
    with pytest.raises(UserError, match=r"metrics\.jsonl"):
        JsonLines(tmp_path)


def test_every_figure_that_is_promised_exists(tmp_path):
    tune(tmp_path, epochs=2)
    steps = read_metrics(tmp_path / "metrics.jsonl")
    always = {"L1", "L2", "L3", "loss", "learning_rate", "gradient_norm", "logit_scale"}
    for step in steps:
        assert always | {*MEASURED, "epoch"} <= step.keys()
        assert 0 < step["input_wait"] < 1
        assert step["peak_memory_bytes"] > 2**20
    looks = {"alignment", "uniformity", "margin", "held_out_loss"}
    assert [looks <= step.keys() for step in steps] == [False, False, True] * 2


def test_held_out_rows_are_looked_at_every_so_many_steps_and_at_the_end(tmp_path):
    config = make_config(eval_every=4)
    looks = [step for step in range(1, 10) if is_judged(config, step, 3, 9)]
    assert looks == [4, 8, 9]
    tune(tmp_path, eval_every=4)
    steps = read_metrics(tmp_path / "metrics.jsonl")
    assert [step["step"] for step in steps if "held_out_loss" in step] == looks


def test_looking_does_not_change_what_is_learned(tmp_path):
    one, _, _ = tune(tmp_path / "often", eval_every=1, choose="last", dropout=0.2)
    other, _, _ = tune(tmp_path / "seldom", eval_every=9, choose="last", dropout=0.2)
    theirs = other.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


RISING = {"epochs": 30, "learning_rate": 1e-6, "warmup": 0.0}


def worsen(monkeypatch, best):
    """Held-out losses that fall until step `best` and rise from there."""
    found = lambda run: {"loss": 1 + abs(run.step - best) / 100}  # noqa: E731
    monkeypatch.setattr(loop, "held_out_losses", found)


def test_a_run_stops_early_and_hands_on_its_best(tmp_path, monkeypatch):
    worsen(monkeypatch, best=6)
    _, path, summary = tune(tmp_path, patience=2, choose="best", **RISING)
    assert summary["steps"] == 12 and summary["stopped_early"]  # looks at 3, 6, 9, 12
    assert summary["best_step"] == 6 and path == tmp_path / "best.safetensors"
    _, _, summary = tune(tmp_path / "all", **(RISING | {"epochs": 3}))
    assert summary["steps"] == 9 and not summary["stopped_early"]


@pytest.mark.parametrize("at", [8, 10])
def test_an_early_stop_comes_at_the_same_step_after_a_kill(tmp_path, monkeypatch, at):
    worsen(monkeypatch, best=6)
    settings = {"patience": 2, "save_every": 2, "choose": "last", **RISING}
    whole = weights_of(tune(tmp_path / "whole", **settings)[1])
    step = loop.take_step

    def killed(run, rows):
        if run.step == at:
            raise KeyboardInterrupt
        return step(run, rows)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "take_step", killed)
        with pytest.raises(KeyboardInterrupt):
            tune(tmp_path / "cut", **settings)
    _, path, summary = tune(tmp_path / "cut", **settings)
    assert summary["steps"] == 12
    assert all(torch.equal(whole[name], value) for name, value in weights_of(path).items())


def test_a_kill_between_the_early_stop_and_the_end_trains_no_further(tmp_path, monkeypatch):
    worsen(monkeypatch, best=6)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "finish", lambda run, folder: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tune(tmp_path, patience=2, **RISING)
    assert tune(tmp_path, patience=2, **RISING)[2]["steps"] == 12


def test_patience_without_held_out_rows_is_refused(tmp_path):
    with pytest.raises(UserError, match="--patience: needs held-out rows"):
        tune(tmp_path, patience=2, held_out=0.0)


def test_trouble_by_hand():
    config, course = make_config(divergence=2.0), Course()
    assert trouble(course, config.divergence, {"loss": 5.0}, chance=4.0) is None
    assert trouble(course, config.divergence, {"loss": 10.0}, chance=4.0) is None
    assert "10.01 passes 10" in trouble(course, config.divergence, {"loss": 10.01}, chance=4.0)
    low = Course(first_loss=0.1)  # a base that is good already may well get worse for a while
    assert trouble(low, config.divergence, {"loss": 7.9}, chance=4.0) is None
    assert trouble(low, config.divergence, {"loss": 8.1}, chance=4.0) is not None
    assert "L1 and loss became" in trouble(
        low, config.divergence, {"L1": math.nan, "loss": math.inf}, 4.0
    )


def test_a_step_that_went_wrong_is_kept_with_its_rows_and_named(tmp_path, monkeypatch):
    model, step = TinyModel(), loop.take_step

    def poison(run, rows):
        if run.step == 4:
            model.text_tower.hidden.weight.data[0, 0] = torch.nan
        return step(run, rows)

    monkeypatch.setattr(loop, "take_step", poison)
    with pytest.raises(UserError, match=r"step 5: .*inspect/step-5.json"):
        tune(tmp_path, model)
    kept = json.loads((tmp_path / "inspect" / "step-5.json").read_text())["inspection"]
    assert kept["not_finite"]["weights"] == ["text_tower.hidden.weight"]
    assert kept["figures"]["loss"] == "nan" and len(kept["weights"]) == 16
    table = make_triples().to_pylist()
    assert kept["rows"] and all(
        row == {"row": row["row"], **table[row["row"]]} for row in kept["rows"]
    )
    tensors = load_file(tmp_path / "inspect" / "step-5.safetensors")
    assert tensors["rows"].tolist() == [row["row"] for row in kept["rows"]]
    assert sum(len(v) for name, v in tensors.items() if "tokens" in name) == 3 * len(kept["rows"])


def test_of_the_gradients_those_that_broke_are_named(tmp_path, monkeypatch):
    model, learn = TinyModel(), step_module.learn_from

    def poison(run, batch):
        losses = learn(run, batch)
        model.text_tower.hidden.bias.grad[0] = torch.inf
        return losses

    monkeypatch.setattr(step_module, "learn_from", poison)
    with pytest.raises(UserError, match="step 1: gradient_norm became infinite"):
        tune(tmp_path, model)
    kept = json.loads((tmp_path / "inspect" / "step-1.json").read_text())["inspection"]
    assert kept["not_finite"] == {"weights": [], "gradients": ["text_tower.hidden.bias"]}


def test_a_loss_that_runs_away_stops_before_the_weights_are_touched(tmp_path, monkeypatch):
    model, step = TinyModel(), loop.take_step
    before = {}

    def blow_up(run, rows):
        if run.step == 3:
            model.logit_scale.data.fill_(math.log(100.0))
            model.text_tower.projection.weight.data.neg_()
            before.update({name: value.clone() for name, value in model.state_dict().items()})
        return step(run, rows)

    monkeypatch.setattr(loop, "take_step", blow_up)
    with pytest.raises(UserError, match=r"step 4: the loss diverged: .* passes"):
        tune(tmp_path, model, divergence=1.5)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 3


def test_starting_again_removes_what_was_kept_for_inspection(tmp_path):
    tune(tmp_path)
    (tmp_path / "inspect").mkdir()
    record = json.dumps({"format": FORMAT, "inspection": {}})
    (tmp_path / "inspect" / "step-3.json").write_text(record)
    tune(tmp_path, fresh=True)
    assert not (tmp_path / "inspect").exists()
