"""The training loop: it learns what it should, leaves the rest alone, and stops at a bad step."""

import errno
import gc
import json
import math
import os
import shutil
import threading
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from training_rows import (
    MEASURED,
    Tuned,
    before_step,
    make_features,
    stopped,
    tune,
    weights_of,
)

from paraclip.errors import UserError
from paraclip.exporting.source import load_source
from paraclip.merging import merge
from paraclip.models.checkpoint import read_header
from paraclip.models.loading import load_model
from paraclip.models.mini import Mini
from paraclip.training import log as logging
from paraclip.training.checkpoint import RunFolder
from paraclip.training.data import TrainingData
from paraclip.training.log import MetricsLog, find_divergence
from paraclip.training.optimizer import learning_rate_share
from tiny import TinyModel, largest_file, make_triples, tiny_clip, word_files


def changed(model, before) -> set[str]:
    """Names of the weights that differ."""
    return {
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }


def test_training_lowers_every_loss(tmp_path):
    steps = tune(tmp_path, epochs=15, learning_rate=1e-2, save_seconds=100).steps
    for name in ("L1", "L2", "L3"):
        start, end = (sum(step[name] for step in part) for part in (steps[:3], steps[-3:]))
        assert end < 0.7 * start, name


def test_the_image_side_stays_bit_for_bit(tuned: Tuned):
    start, model = TinyModel().state_dict(), tuned.model
    moved = changed(model, start)
    assert "text_tower.hidden.weight" in moved and "logit_scale" in moved
    assert not [name for name in moved if name.startswith("image_tower")]
    assert all(value.grad is None for value in model.image_tower.parameters())


def test_a_frozen_weight_that_changes_is_noticed(tmp_path):
    model = TinyModel()

    def meddle():
        model.image_tower["head"].bias.data.add_(1e-3)

    with before_step(2, meddle), pytest.raises(AssertionError, match="frozen weight changed"):
        tune(tmp_path, model)
    assert not (tmp_path / "last.safetensors").exists()


def test_the_checkpoint_is_a_whole_model_with_its_making_inside(tuned: Tuned):
    assert tuned.checkpoint == tuned.out / "last.safetensors"
    last, model = weights_of(tuned.checkpoint), tuned.model
    assert last.keys() == model.state_dict().keys() and not changed(model, last)
    with safe_open(tuned.checkpoint, "pt") as stored:  # strict JSON, without NaN
        header = json.loads(stored.metadata()["paraclip"], parse_constant=pytest.fail)
    made = header["training"]
    assert made["config"]["learning_rate"] == 3e-3 and made["facts"]["generators"] == ["by hand"]
    assert made["step"] == len(tuned.steps) == tuned.summary["steps"]
    assert len(made["identity"]["base"]) == len(made["identity"]["data"]) == 16


def test_a_share_of_it_is_merged_into_a_checkpoint_beside_it_but_not_for_a_control(
    tuned: Tuned, tmp_path
):
    share = tuned.summary["choice"]["share"]
    expected = merge(TinyModel(), tuned.model, share).state_dict()
    found = weights_of(tuned.merged)
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    card = tuned.merged.with_suffix(".md").read_text()
    assert "- generator: by hand" in card and f'"share": {share}' in card
    assert not tune(tmp_path / "control", control=True, epochs=1).merged.exists()
    shutil.copytree(tuned.out, tmp_path / "run")
    other = tune(tmp_path / "other", epochs=1)
    shutil.copy(other.merged, tmp_path / "run")
    assert RunFolder(tuned.out).has_merged() and not RunFolder(tmp_path / "run").has_merged()
    with pytest.raises(UserError, match=r"merged\.safetensors: was not made from"):
        load_model(str(tmp_path / "run" / "merged.safetensors"))


def test_each_loss_and_rate_is_logged_apart(tmp_path):
    run = tune(tmp_path, loss_weights={"L2": 2.0, "L3": 0.5})
    assert [step["step"] for step in run.steps] == list(range(1, 10))
    for step in run.steps:
        assert step["loss"] == pytest.approx(step["L1"] + 2 * step["L2"] + 0.5 * step["L3"])
        assert step["gradient_norm"] > 0 and 0 < step["input_wait"] < 1
        assert {*MEASURED, "epoch", "logit_scale"} <= step.keys()
        assert step["peak_memory_bytes"] > 2**20 and step["triples_per_second"] > 0
    rates = [step["learning_rate"] for step in run.steps]
    assert rates == pytest.approx([3e-3 * learning_rate_share(i, 9) for i in range(9)])
    summary = run.summary
    assert (summary["steps"], summary["rows"], summary["rows_with_image"]) == (9, 24, 23)


def test_triples_without_any_picture_feed_the_text_losses(tmp_path):
    steps = tune(tmp_path, features=None, epochs=1).steps
    assert steps[0]["L1"] == 0 and steps[0]["L3"] > 0
    with pytest.raises(UserError, match="no row has a picture"):
        tune(tmp_path / "control", features=None, control=True)
    with pytest.raises(UserError, match="no row has a picture"):
        tune(tmp_path / "both", tiny_clip(), features=None, image_learning_rate=1e-5)


def test_a_batch_of_one_row_has_no_negatives_and_continues(tmp_path):
    run = tune(tmp_path, triples=make_triples(7), batch_size=2, epochs=1)
    assert len(run.steps) == 4 and sum(step["loss"] == 0 for step in run.steps) >= 1
    assert all(step["gradient_norm"] == 0 for step in run.steps if step["loss"] == 0)


@pytest.mark.parametrize("start", [4.6, math.log(117.33)])
def test_the_temperature_is_clamped_to_clips_or_to_its_start(tmp_path, start):
    hot = TinyModel()
    hot.logit_scale.data.fill_(start)  # SigLIP's is above CLIP's limit
    steps = tune(tmp_path, hot, learning_rate=0.5, epochs=1).steps
    assert max(step["logit_scale"] for step in steps) <= max(start, math.log(100)) + 1e-6


def test_dropout_can_be_set(tmp_path):
    run = tune(tmp_path / "with", dropout=0.5, epochs=1)
    assert run.model.text_tower.dropout.p == 0.5
    without = tune(tmp_path / "without", dropout=0.0, epochs=1)
    assert run.steps[0]["L3"] != without.steps[0]["L3"]
    bare = TinyModel()
    bare.text_tower.dropout = torch.nn.Identity()
    with pytest.raises(UserError, match="no dropout"):
        tune(tmp_path / "bare", bare, dropout=0.1)


def test_half_precision_learns_too_and_is_near(tmp_path, tuned: Tuned):
    half = tune(tmp_path, precision="bf16", epochs=1).steps
    assert half[0]["loss"] == pytest.approx(tuned.steps[0]["loss"], rel=0.05)
    assert half[0]["loss"] != tuned.steps[0]["loss"]


def test_the_random_state_of_the_caller_is_left_alone(tmp_path):
    before = torch.get_rng_state()
    tune(tmp_path, epochs=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_terms_of_paraphrases_do_not_bind_a_control_which_reads_none(tmp_path):
    settings = {"source": "captions.csv", "licence": "terms"}
    origin = {"sha256": "0", "generator": "an LLM", "licence": "terms", "settings": settings}
    found = {}
    for control in (False, True):
        data = TrainingData(TinyModel(), make_triples(), make_features(make_triples()),
                            {"base": "tiny", "triples": origin})  # fmt: skip
        run = tune(tmp_path / str(control), data=data, control=control, epochs=1)
        found[control] = read_header(run.checkpoint)["training"]["facts"]
    assert found[False]["triples"] == origin and found[False]["generators"] == ["by hand"]
    bare = {"sha256": "0", "settings": {"source": "captions.csv"}}
    assert found[True] == {"base": "tiny", "generators": [], "triples": bare}


def tiny_mini() -> Mini:
    pytest.importorskip("transformers")
    return Mini(word_files("bert"))


@pytest.mark.parametrize("make", [tiny_clip, tiny_mini])
def test_a_caption_of_ten_thousand_words_is_cut_and_counted(tmp_path, make):
    table = make_triples(12).to_pylist()
    table[2]["caption"] = "red disc on white paper " * 2000
    model, triples = make(), pa.Table.from_pylist(table)
    run = tune(tmp_path, model, triples, features=None, epochs=1)
    cut = model.tokenize([row["caption"] for row in table]).truncated
    assert cut and run.summary["texts_cut_to_context"] >= cut and run.steps[-1]["loss"] > 0


def with_pictures(folder) -> pa.Table:
    """Triples with a drawn picture each, but for the last."""
    triples = make_triples(24, folder).to_pylist()
    return pa.Table.from_pylist([*triples[:-1], triples[-1] | {"image": None}])


def test_the_image_tower_unfrozen_learns_at_its_own_rate(tmp_path):
    triples, model = with_pictures(tmp_path / "pictures"), tiny_clip()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    features = torch.ones(24, model.architecture.embed_dim)
    features[-1] = torch.nan
    options = {
        "features": features, "image_learning_rate": 1e-3, "learning_rate": 1e-3, "epochs": 4,
        "save_seconds": 60,
    }  # fmt: skip
    run = tune(tmp_path / "run", model, triples, **options)
    assert [name for name in changed(model, before) if name.startswith("image_tower")]
    assert run.steps[-1]["L1"] < run.steps[0]["L1"]
    for checkpoint in (run.checkpoint, run.merged):
        with pytest.raises(UserError, match="image encoder was trained"):
            load_source(checkpoint)
    cached = tune(tmp_path / "cached", tiny_clip(), triples, micro_batch=5, **options)
    losses = [[step["loss"] for step in one.steps] for one in (cached, run)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    turned = triples.set_column(
        triples.schema.get_field_index("image"), "image",
        pa.array([*triples["image"].to_pylist()[-2::-1], None]),
    )  # fmt: skip
    with pytest.raises(UserError, match=r"run with other settings: .*pictures \("):
        tune(tmp_path / "run", tiny_clip(), turned, **options)
    (tmp_path / "pictures" / "picture5.png").write_bytes(b"not a picture")
    with pytest.raises(UserError, match=r"picture5\.png"):
        tune(tmp_path / "broken", tiny_clip(), triples, **options)


@pytest.mark.parametrize("broken", ["weight", "gradient"])
def test_a_step_that_is_not_a_number_is_kept_with_its_rows_and_named(tmp_path, broken):
    model = TinyModel()

    def poison():
        if broken == "weight":
            model.text_tower.hidden.weight.data[0, 0] = torch.nan
        else:
            model.text_tower.hidden.bias.register_hook(lambda gradient: gradient * torch.inf)

    with before_step(4, poison), pytest.raises(UserError, match=r"step 5: .*inspect/step-5.json"):
        tune(tmp_path, model)
    assert len(Tuned(model, tmp_path, tmp_path).steps) == 4
    kept = json.loads((tmp_path / "inspect" / "step-5.json").read_text())["inspection"]
    assert kept["figures"]["gradient_norm"] in ("nan", "inf") and len(kept["weights"]) == 16
    if broken == "weight":
        assert kept["not_finite"]["weights"] == ["text_tower.hidden.weight"]
    else:
        assert kept["not_finite"] == {"weights": [], "gradients": ["text_tower.hidden.bias"]}
    table = make_triples().to_pylist()
    assert kept["rows"] and all(row == {**row, **table[row["row"]]} for row in kept["rows"])
    tensors = load_file(tmp_path / "inspect" / "step-5.safetensors")
    assert tensors["rows"].tolist() == [row["row"] for row in kept["rows"]]
    assert sum(len(v) for name, v in tensors.items() if "tokens" in name) == 3 * len(kept["rows"])


def test_a_loss_that_runs_away_stops_before_the_weights_are_touched(tmp_path):
    model, before = TinyModel(), {}

    def blow_up():
        model.logit_scale.data.fill_(math.log(1000.0))
        model.text_tower.projection.weight.data.neg_()
        before.update({name: value.clone() for name, value in model.state_dict().items()})

    with before_step(3, blow_up), pytest.raises(UserError, match="step 4: the loss diverged"):
        tune(tmp_path, model)
    assert not changed(model, before)


def test_the_batches_are_closed_when_a_run_stops(tmp_path):
    import threading

    stopped(tmp_path, 2)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


# --- the log, and divergence ---


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
    problem = find_divergence(figures, first, {"L1": 1.5, "L2": 0.5}, 8)
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
