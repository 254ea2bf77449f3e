"""The training loop: learning, frozen parts, logs, stopping, and refused options."""

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from tiny_model import TinyModel
from training_rows import make_config, make_features, make_triples, weights_of

from paraclip.errors import UserError
from paraclip.models.tensors import hash_tensors
from paraclip.training import loop
from paraclip.training.loop import train
from paraclip.training.losses.objective import Temperatures
from paraclip.training.metrics import read_metrics
from paraclip.training.optimizer import learning_rate_share
from paraclip.training.prepare import TrainingData
from paraclip.training.recipes import objective_of
from paraclip.training.task import task_of

pytestmark = pytest.mark.slow


def tune(out, model=None, features="given", **changes):
    """Train a tiny model on tiny triples; returns it, the checkpoint and the metrics."""
    triples, model = make_triples(), model or TinyModel()
    features = make_features(triples) if isinstance(features, str) else features
    path = train(TrainingData(model, triples, features), make_config(**changes), out)
    return model, path, read_metrics(out / "metrics.jsonl")


def test_training_lowers_every_loss_also_on_held_out_rows(tmp_path):
    _, _, steps = tune(tmp_path, epochs=15, learning_rate=1e-2)
    for name in ("L1", "L2", "L3"):
        start, end = (sum(step[name] for step in part) for part in (steps[:3], steps[-3:]))
        assert end < 0.7 * start, name
    judged = [step["held_out_loss"] for step in steps if "held_out_loss" in step]
    assert len(judged) == 15 and min(judged) < judged[0]


def test_the_image_side_has_no_gradient_and_stays_bit_for_bit(tmp_path):
    model = TinyModel()
    before = hash_tensors(model.image_tower.state_dict())
    text_before = hash_tensors(model.text_tower.state_dict())
    tune(tmp_path, model)
    assert hash_tensors(model.image_tower.state_dict()) == before
    assert hash_tensors(model.text_tower.state_dict()) != text_before
    assert all(not value.requires_grad for value in model.image_tower.parameters())
    assert all(value.grad is None for value in model.image_tower.parameters())


def test_a_frozen_weight_that_changes_is_noticed(tmp_path, monkeypatch):
    model, step = TinyModel(), loop.take_step

    def meddle(run, rows):
        with torch.no_grad():
            model.image_tower["head"].bias.add_(1e-3)
        return step(run, rows)

    monkeypatch.setattr(loop, "take_step", meddle)
    with pytest.raises(AssertionError, match="frozen weight changed"):
        tune(tmp_path, model)
    assert not (tmp_path / "last.safetensors").exists()


def test_the_terms_of_paraphrases_do_not_bind_a_control_which_reads_none():
    settings = {"source": "captions.csv", "licence": "terms"}
    origin = {"sha256": "0", "generator": "an LLM", "licence": "terms", "settings": settings}
    data = TrainingData(TinyModel(), make_triples(), make_features(make_triples()),
                        {"base": "tiny", "triples": origin})  # fmt: skip
    bare = {"sha256": "0", "settings": {"source": "captions.csv"}}
    facts = task_of(data, make_config(control=True)).facts
    assert facts == {"base": "tiny", "generators": [], "triples": bare}
    facts = task_of(data, make_config()).facts
    assert facts["triples"] == origin and facts["generators"] == ["by hand"]


def test_both_checkpoints_are_whole_models_with_their_making_inside(tmp_path):
    from paraclip.models.checkpoint import read_header

    model, path, steps = tune(tmp_path)
    assert path == tmp_path / "last.safetensors"
    last = weights_of(path)
    assert last.keys() == model.state_dict().keys()
    assert all(torch.equal(last[name], value) for name, value in model.state_dict().items())
    made = read_header(tmp_path / "best.safetensors")["training"]
    assert made["config"]["learning_rate"] == 3e-3 and made["facts"]["generators"] == ["by hand"]
    judged = {step["step"]: step["held_out_loss"] for step in steps if "held_out_loss" in step}
    assert made["held_out_loss"] == min(judged.values())
    assert judged[made["step"]] == made["held_out_loss"]
    assert len(made["identity"]["base"]) == len(made["identity"]["data"]) == 16


def test_headers_are_strict_json_also_if_no_rows_are_held_out(tmp_path):
    tune(tmp_path, held_out=0.0, epochs=1)
    for name in ("best", "last"):
        with safe_open(tmp_path / f"{name}.safetensors", "pt") as stored:
            header = json.loads(stored.metadata()["paraclip"], parse_constant=pytest.fail)
        assert header["training"]["held_out_loss"] is None


def test_without_held_out_rows_the_last_is_the_best(tmp_path):
    _, path, steps = tune(tmp_path, held_out=0.0)
    ours, last = weights_of(path), weights_of(tmp_path / "last.safetensors")
    assert all(torch.equal(ours[name], last[name]) for name in ours)
    assert "held_out_loss" not in steps[-1]


def test_the_last_can_be_chosen(tmp_path):
    assert tune(tmp_path, choose="last")[1] == tmp_path / "last.safetensors"


def test_each_loss_and_rate_is_logged_apart(tmp_path):
    _, _, steps = tune(tmp_path, weights=(1.0, 2.0, 0.5))
    assert [step["step"] for step in steps] == list(range(1, 10))
    for step in steps:
        assert step["loss"] == pytest.approx(step["L1"] + 2 * step["L2"] + 0.5 * step["L3"])
        assert step["gradient_norm"] > 0 and step["triples_per_second"] > 0
    rates = [step["learning_rate"] for step in steps]
    assert rates == pytest.approx([3e-3 * learning_rate_share(i, 9, 0.1) for i in range(9)])
    assert list((tmp_path / "tensorboard").iterdir())
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["steps"] == 9 and summary["rows"] == 24 and summary["rows_with_image"] == 23


def test_the_control_takes_as_many_steps_on_the_captions_alone(tmp_path):
    _, _, tuned = tune(tmp_path / "tuned")
    _, _, control = tune(tmp_path / "control", control=True)
    assert len(tuned) == len(control)
    assert "L1" in control[0] and "L2" not in control[0] and "L3" not in control[0]


def test_triples_without_any_picture_feed_the_text_losses(tmp_path):
    _, _, steps = tune(tmp_path, features=None)
    assert steps[0]["L1"] == 0 and steps[0]["L3"] > 0
    with pytest.raises(UserError, match="no row has a picture"):
        tune(tmp_path / "control", features=None, control=True)


def test_the_temperature_is_clamped_or_frozen(tmp_path):
    hot = TinyModel()
    hot.logit_scale.data.fill_(4.6)
    tune(tmp_path / "clamped", hot, learning_rate=0.5)
    assert hot.logit_scale.item() <= math.log(100) + 1e-6
    cold, _, _ = tune(tmp_path / "frozen", freeze_temperature=True)
    assert cold.logit_scale.item() == 2.0
    free, _, _ = tune(tmp_path / "free")
    assert free.logit_scale.item() != 2.0


def test_a_base_above_the_clamp_keeps_its_logit_scale(tmp_path):
    warm = TinyModel()
    warm.logit_scale.data.fill_(math.log(117.33))  # SigLIP's
    _, _, steps = tune(tmp_path, warm, learning_rate=1e-6)
    assert steps[0]["logit_scale"] == pytest.approx(math.log(117.33), abs=1e-3)
    assert max(step["logit_scale"] for step in steps) <= math.log(117.33) + 1e-6


@pytest.mark.parametrize("changes", [{}, {"text_tower": "lora", "lora_rank": 2}])
def test_a_finished_run_gives_the_model_its_last_weights(tmp_path, changes):
    trained, _, _ = tune(tmp_path, **changes)
    again, _, _ = tune(tmp_path, **changes)
    assert hash_tensors(again.state_dict()) == hash_tensors(trained.state_dict())


def test_a_temperature_that_is_not_learned_is_not_clamped(tmp_path):
    hot = TinyModel()
    hot.logit_scale.data.fill_(5.0)  # as some SigLIP models have it
    tune(tmp_path / "frozen", hot, freeze_temperature=True)
    assert hot.logit_scale.item() == 5.0
    objective = objective_of(make_config(text_temperature=0.005))
    for learned in (False, True):  # a learned one is limited to 100, or to where it starts
        given = Temperatures(TinyModel(), replace(objective, learn_scales=learned))
        given.clamp()
        assert given("L2").scale.item() == pytest.approx(200)


def test_dropout_can_be_set(tmp_path):
    model, _, with_dropout = tune(tmp_path / "with", dropout=0.5)
    assert model.text_tower.dropout.p == 0.5
    _, _, without = tune(tmp_path / "without", dropout=0.0)
    assert with_dropout[0]["L3"] != without[0]["L3"]
    bare = TinyModel()
    bare.text_tower.dropout = torch.nn.Identity()
    with pytest.raises(UserError, match="no dropout"):
        tune(tmp_path / "bare", bare, dropout=0.1)


def test_half_precision_learns_too_and_is_near(tmp_path):
    _, _, full = tune(tmp_path / "full")
    _, _, half = tune(tmp_path / "half", precision="bf16")
    assert half[0]["loss"] == pytest.approx(full[0]["loss"], rel=0.05)
    assert half[0]["loss"] != full[0]["loss"]


@pytest.mark.parametrize("broken", ["weight", "gradient"])
def test_a_loss_that_is_not_a_number_stops_the_run_and_names_the_step(
    tmp_path, monkeypatch, broken
):
    model, step = TinyModel(), loop.take_step

    def poison(run, rows):
        if run.step == 2 and broken == "weight":
            model.text_tower.hidden.weight.data.fill_(torch.nan)
        if run.step == 2 and broken == "gradient":
            model.logit_scale.register_hook(lambda gradient: gradient * torch.inf)
        return step(run, rows)

    monkeypatch.setattr(loop, "take_step", poison)
    with pytest.raises(UserError, match=r"step 3: .*not a number"):
        tune(tmp_path, model)
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 2


def test_weights_equal_texts_and_step_batches_are_checked_before_the_first_step(tmp_path):
    for changes, complaint in (
        ({"weights": (0.0, 0.0, 0.0)}, "--weights"),
        ({"weights": (1.0, -1.0, 0.0)}, "--weights"),
        ({"image_loss_on": ()}, "--image-loss-on"),
        ({"text_temperature": 0.0}, "--text-temperature"),
        ({"batch_size": 1}, "--batch-size"),
        ({"epochs": 0}, "--epochs"),
        ({"held_out": 0.9}, "--held-out"),
        ({"warmup": 1.5}, "--warmup"),
        ({"learning_rate": 0.0}, "--learning-rate"),
    ):
        with pytest.raises(UserError, match=complaint):
            tune(tmp_path, **changes)
    assert not (tmp_path / "run.json").exists()


def test_the_random_state_of_the_caller_is_left_alone(tmp_path):
    before = torch.get_rng_state()
    tune(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_learning_rate_rises_then_falls():
    shares = [learning_rate_share(step, 100, 0.1) for step in range(100)]
    assert shares[:10] == sorted(shares[:10]) and shares[10] == 1
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert 0 < shares[-1] < 0.01 and shares[0] > 0
    assert learning_rate_share(0, 1, 0.1) > 0
    assert learning_rate_share(0, 9, 0.0) == 1


def test_configuration_round_trip_through_json():
    from dataclasses import asdict

    from paraclip.training.config import TrainConfig, hyperparameters

    config = make_config(image_loss_on=("caption", "paraphrase_2"), text_temperature=0.05)
    again = json.loads(json.dumps(asdict(config)))
    lists = {name: tuple(value) for name, value in again.items() if isinstance(value, list)}
    assert TrainConfig(**(again | lists)) == config
    assert hyperparameters(replace(config, out="elsewhere")) == hyperparameters(config)
    assert hyperparameters(replace(config, seed=1)) != hyperparameters(config)
