"""Options that are omitted are set by recipe and base; those that are given are kept."""

import json
from dataclasses import asdict, replace

import pytest
from tiny_model import TinyModel
from tiny_models import tiny_clip
from training_rows import make_config, make_features, make_triples

from paraclip.cli import main, parse
from paraclip.errors import UserError
from paraclip.models.checkpoint import read_header
from paraclip.training.config import AlignConfig, TrainConfig, TrainOptions
from paraclip.training.loop import train
from paraclip.training.losses.contrast import LOSSES
from paraclip.training.optimizer import make_optimizer, train_only, trained
from paraclip.training.prepare import TrainingData
from paraclip.training.recipes import check_options, objective_of, resolved
from paraclip.training.task import task_of

MINI, CLIP = TinyModel().architecture, tiny_clip().architecture
SHORT = {"epochs": 2, "batch_size": 8, "precision": "fp32", "track": ("jsonl",)}


def tune(out, **changes):
    """Train a tiny model by the recipes; returns the resulting checkpoint."""
    triples = make_triples()
    config = TrainConfig(triples="triples.parquet", **(SHORT | changes))
    return train(TrainingData(TinyModel(), triples, make_features(triples)), config, out)


def test_the_default_recipe_ties_pictures_to_captions_and_warms_the_text_losses():
    objective = objective_of(TrainConfig(triples="t"))
    assert objective == objective_of(TrainConfig(triples="t", recipe="consistent"))
    assert objective.image_loss_on == ("caption",) and objective.scales == (None, 5, 5)
    assert objective.weights == (1, 1, 1) and not objective.hard_negatives


def test_the_paper_s_recipe_has_one_temperature_and_the_second_paraphrase():
    objective = objective_of(TrainConfig(triples="t", recipe="paper"))
    assert objective.image_loss_on == ("paraphrase_2",)
    assert objective.scales == (None, None, None) and objective.weights == (1, 1, 1)


@pytest.mark.parametrize(
    ("words", "on", "scale"),
    [
        (["--recipe", "paper"], ("paraphrase_2",), None),
        (["--recipe", "paper", "--text-temperature", "0.1"], ("paraphrase_2",), 10),
        (["--image-loss-on", "paraphrase_1", "caption"], ("paraphrase_1", "caption"), 5),
        (["--config", "paper.toml"], ("paraphrase_1",), None),
        (["--config", "paper.toml", "--recipe", "consistent"], ("paraphrase_1",), 5),
    ],
)
def test_given_options_override_the_recipe(tmp_path, monkeypatch, words, on, scale):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "paper.toml").write_text('recipe = "paper"\nimage_loss_on = ["paraphrase_1"]\n')
    objective = objective_of(parse(["train", "triples.parquet", *words]))
    assert objective.image_loss_on == on and objective.scales[1:] == (scale, scale)


@pytest.mark.parametrize("make", [TrainConfig, AlignConfig])
def test_rates_are_those_of_the_kind_of_base_unless_given(make):
    config = make(**{"triples" if make is TrainConfig else "source": "rows"})
    mini, clip = resolved(config, MINI), resolved(config, CLIP)
    assert (mini.learning_rate, mini.weight_decay) == (5e-5, 0.01)
    assert (clip.learning_rate, clip.weight_decay) == (1e-5, 0.1)
    assert mini.warmup == clip.warmup == 0.1
    assert resolved(config, replace(MINI, kind="sentence")) == mini, "MiniLM alone is mini's tower"
    assert resolved(clip, MINI) == clip, "what is decided stays"


def test_the_optimizer_of_an_open_clip_model_is_that_of_published_work():
    triples, model = make_triples(), tiny_clip()
    task = task_of(TrainingData(model, triples, None), TrainConfig(triples="t"))
    train_only(model, task.parts, task.options.freeze_temperature)
    optimizer = make_optimizer(trained(model), task.parts, task.options)
    assert {group["peak"] for group in optimizer.param_groups} == {1e-5}
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.1, 0.0}
    assert {group["betas"] for group in optimizer.param_groups} == {(0.9, 0.98)}


def test_a_run_records_what_was_decided_and_continues_under_it(tmp_path):
    made = read_header(tune(tmp_path))["training"]
    for options in (made["config"], made["identity"]):
        assert options["image_loss_on"] == ["caption"] and options["text_temperature"] == 0.2
        assert options["learning_rate"] == 5e-5 and options["weight_decay"] == 0.01
    before = (tmp_path / "last.safetensors").stat().st_mtime_ns
    tune(tmp_path, recipe="paper", image_loss_on=("caption",), text_temperature=0.2)
    assert (tmp_path / "last.safetensors").stat().st_mtime_ns == before, "it is the same run"
    with pytest.raises(
        UserError, match=r"belongs to a run with other settings: image_loss_on .*text_temperature"
    ):
        tune(tmp_path, recipe="paper")
    again = json.loads(json.dumps(made["config"]))
    lists = {name: tuple(value) for name, value in again.items() if isinstance(value, list)}
    assert asdict(resolved(TrainConfig(**(again | lists)), MINI))["text_temperature"] == 0.2


def test_tuned_and_control_hand_on_checkpoints_of_the_same_step(tmp_path):
    rising = {"learning_rate": 0.5, "held_out": 0.2}  # the lowest held-out loss is an early one
    steps = {}
    for name, control in (("tuned", False), ("control", True)):
        handed_on = tune(tmp_path / name, control=control, **rising)
        steps[name] = read_header(handed_on)["training"]["step"]
        assert json.loads((tmp_path / name / "summary.json").read_text())["steps"] == steps[name]
    assert steps["tuned"] == steps["control"] > 1
    best = [read_header(tmp_path / name / "best.safetensors")["training"] for name in steps]
    assert min(made["step"] for made in best) < steps["tuned"], "else the test shows nothing"


@pytest.mark.parametrize("column", ["caption", "id", "image", "image_id", "paraphrase_1"])
def test_a_column_of_the_triples_is_not_a_hard_negative(column, capsys):
    assert main(["train", "none.parquet", "--negatives", column]) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"paraclip: --negatives: {column} is a column of the triples")
    assert line.count("\n") == 1


def test_l1_on_no_text_is_refused_and_left_out_is_the_recipe_s():
    check_options(TrainConfig(triples="t"))
    with pytest.raises(UserError, match="--image-loss-on: names no text"):
        check_options(TrainConfig(triples="t", image_loss_on=()))


def test_an_image_tower_that_no_loss_trains_is_refused():
    config = make_config(image_learning_rate=1e-5, weights=(0.0, 1.0, 1.0))
    with pytest.raises(UserError, match="--image-learning-rate: is for L1, which has no weight"):
        check_options(config)
    check_options(replace(config, control=True))  # its only loss is L1
    data = TrainingData(tiny_clip(), make_triples(), None)  # without pictures
    with pytest.raises(UserError, match="no row has a picture, and L1 needs some"):
        task_of(data, make_config(image_learning_rate=1e-5))


def test_fp16_is_refused_with_a_hint():
    with pytest.raises(UserError, match=r"--precision: fp16 is no longer supported.*bf16"):
        check_options(TrainOptions(precision="fp16"))


def test_an_unknown_loss_is_refused_and_a_new_one_is_a_line_in_the_table(monkeypatch):
    with pytest.raises(UserError, match=r"--loss: 'info_nec' is unknown.*info_nce"):
        check_options(TrainOptions(loss="info_nec"))
    monkeypatch.setitem(LOSSES, "mine", LOSSES["info_nce"])
    check_options(TrainOptions(loss="mine"))
