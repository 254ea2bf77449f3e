"""Options check themselves; those that are omitted are set by recipe and base."""

import json
from dataclasses import asdict, replace

import pytest
from training_rows import Tuned, make_options, tune

from paraclip.errors import UserError
from paraclip.models.checkpoint import read_header
from paraclip.training.config import (
    L1,
    L2,
    L3,
    LEARNING_RATE,
    RANKING,
    RECIPES,
    SENTENCES,
    RunOptions,
    TrainOptions,
    hyperparameters,
    resolved,
)
from paraclip.training.data import TrainingData
from paraclip.training.losses import make_objective
from paraclip.training.optimizer import learning_rate_share, make_optimizer, train_only
from paraclip.training.train import plan_training
from tiny import make_triples, tiny_clip


@pytest.mark.parametrize(
    ("changes", "on", "temperature"),
    [
        ({"recipe": "consistent"}, ("caption",), 0.2),
        ({"recipe": "paper"}, ("paraphrase_2",), None),
        ({"recipe": "paper", "text_temperature": 0.1}, ("paraphrase_2",), 0.1),
        (
            {"recipe": "consistent", "image_loss_on": ("paraphrase_1", "caption")},
            ("paraphrase_1", "caption"),
            0.2,
        ),
    ],
)
def test_given_options_override_the_recipe(changes, on, temperature):
    options = resolved(TrainOptions(**changes), "mini")
    assert options.image_loss_on == on and options.text_temperature == temperature
    assert options.losses == {L1: 1, L2: 1, L3: 1}
    assert make_objective(options).losses[L1].texts == on


def losses_of(kind: str = "mini", **changes) -> dict[str, float]:
    """The losses with a weight."""
    return resolved(RunOptions(**changes), kind).losses


def test_the_default_recipe_adds_both_teachers():
    assert [*losses_of()] == [L1, L2, L3, RANKING, SENTENCES]
    assert losses_of(loss_weights={RANKING: 0, L2: 0.5}) == {L1: 1, L2: 0.5, L3: 1, SENTENCES: 1}
    assert RANKING not in losses_of(image_learning_rate=1e-6)
    assert losses_of(image_learning_rate=1e-6, control=True) == {L1: 1}


def test_a_run_of_r_finds_its_rate_and_others_have_a_small_one():
    config = RunOptions()
    assert resolved(config, "mini").learning_rate is None
    alone = resolved(config, "sentence")
    assert [*alone.losses] == [RANKING, SENTENCES]
    for changes in ({"recipe": "paper"}, {"control": True}):
        given = resolved(replace(config, **changes), "open_clip")
        assert given.learning_rate == LEARNING_RATE and resolved(given, "mini") == given
    assert resolved(replace(config, learning_rate=2e-4), "mini").learning_rate == 2e-4


def test_a_bank_is_learned_from_with_r_and_s_alone():
    assert RunOptions(bank="index").preset == RECIPES["taught"]
    assert RunOptions().preset == RECIPES["ranked"]


def test_a_teacher_is_learned_from_with_r_and_s_alone_unless_a_recipe_is_named():
    taught = resolved(RunOptions(bank="bank", teacher=("base", "c")), "open_clip")
    assert [*taught.losses] == [RANKING, SENTENCES]
    assert [*losses_of(teacher=("c",), recipe="ranked")] == [L1, L2, L3, RANKING, SENTENCES]
    assert resolved(taught, "mini") == taught, "what is decided stays"


def test_the_optimizer_of_an_open_clip_model_is_that_of_published_work():
    model, options = tiny_clip(), resolved(TrainOptions(recipe="consistent"), "open_clip")
    _, _, parts = plan_training(TrainingData(model, make_triples(), None), options)
    optimizer = make_optimizer(train_only(model, parts), parts, options.learning_rate, 0.1)
    groups = optimizer.param_groups
    assert {group["peak"] for group in groups} == {1e-5}
    assert {group["weight_decay"] for group in groups} == {0.1, 0.0}
    assert all(value.ndim < 2 for g in groups if not g["weight_decay"] for value in g["params"])


def test_the_only_loss_of_a_control_is_l1():
    changes = {"loss_weights": {"L1": 0.0}, "control": True}
    RunOptions(image_learning_rate=1e-5, **changes)


def test_a_run_records_what_was_decided_and_continues_under_it(tmp_path):
    short = {"epochs": 1, "recipe": "consistent", "learning_rate": None}
    made = read_header(tune(tmp_path, **short).checkpoint)["training"]
    for options in (made["config"], made["identity"]):
        assert options["image_loss_on"] == ["caption"] and options["text_temperature"] == 0.2
        assert options["learning_rate"] == LEARNING_RATE
    before = (tmp_path / "last.safetensors").stat().st_mtime_ns
    same = {"recipe": "paper", "image_loss_on": ("caption",), "text_temperature": 0.2}
    tune(tmp_path, **(short | same))
    assert (tmp_path / "last.safetensors").stat().st_mtime_ns == before, "it is the same run"
    with pytest.raises(UserError, match=r"other settings: image_loss_on .*text_temperature"):
        tune(tmp_path, **(short | {"recipe": "paper"}))


def test_options_survive_json_and_decide_the_run(tuned: Tuned):
    options = make_options(image_loss_on=("caption", "paraphrase_2"), text_temperature=0.05)
    again = json.loads(json.dumps(asdict(options)))
    lists = {name: tuple(value) for name, value in again.items() if isinstance(value, list)}
    assert TrainOptions(**(again | lists)) == options
    config = RunOptions(**asdict(options))
    assert hyperparameters(replace(config, out="elsewhere")) == hyperparameters(options)
    assert hyperparameters(replace(options, seed=1)) != hyperparameters(options)
    recorded = read_header(tuned.checkpoint)["training"]["identity"]
    assert hyperparameters(options).keys() <= recorded.keys()


def test_the_learning_rate_rises_then_falls():
    shares = [learning_rate_share(step, 100, 0.1) for step in range(100)]
    assert shares[:10] == sorted(shares[:10]) and shares[10] == 1
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert 0 < shares[-1] < 0.01 and shares[0] > 0
    assert learning_rate_share(0, 1, 0.1) > 0 and learning_rate_share(0, 9, 0.0) == 1
