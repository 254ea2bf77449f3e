"""Every variant trains the parts it names and no others, and every loss falls."""

import json
import math

import pyarrow as pa
import pytest
import torch
from tiny_model import TinyModel
from tiny_models import draw, tiny_clip, word_files
from training_rows import make_config, make_features, make_triples, weights_of

from paraclip.errors import UserError
from paraclip.models.loading import load_model
from paraclip.models.mini import Mini
from paraclip.training import loop
from paraclip.training.loop import train
from paraclip.training.losses.contrast import LogitScaling
from paraclip.training.losses.objective import (
    Objective,
    Temperatures,
    mean_of_negatives,
)
from paraclip.training.metrics import read_metrics
from paraclip.training.prepare import TrainingData
from paraclip.training.recipes import objective_of
from paraclip.training.step import start_biases

pytestmark = pytest.mark.slow

FAST = {"epochs": 12, "learning_rate": 1e-2, "held_out": 0.0, "dropout": None}


def tune(out, model=None, triples=None, features="given", **changes):
    """Train; returns the model and the metrics."""
    triples, model = triples or make_triples(), model or TinyModel()
    features = make_features(triples) if isinstance(features, str) else features
    train(TrainingData(model, triples, features), make_config(**(FAST | changes)), out)
    return model, read_metrics(out / "metrics.jsonl")


def fell(steps, *names, to=0.8):
    """Whether each loss has fallen to this share of its start."""
    return [
        name
        for name in names
        if sum(step[name] for step in steps[-3:]) < to * sum(step[name] for step in steps[:3])
    ] == list(names)


def changed(model, before):
    return {
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }


def copied(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("loss", ["info_nce", "one_way", "sigmoid"])
def test_every_loss_falls(tmp_path, loss):
    _, steps = tune(tmp_path, loss=loss)
    assert fell(steps, "L1", "L2", "L3")


def test_the_control_takes_the_chosen_loss_too():
    assert objective_of(make_config(control=True, loss="sigmoid")).kind == "sigmoid"


def test_sigmoid_biases_start_where_a_negative_has_the_odds_of_one_to_the_batch():
    model = TinyModel()
    temperatures = Temperatures(model, Objective(kind="sigmoid"))
    a, b = torch.eye(4)[:3], torch.full((3, 4), 0.5)
    assert float(mean_of_negatives(a, b)) == pytest.approx(0.5)
    from paraclip.training.losses.objective import LossPair

    temperatures.start_biases([LossPair("L2", a, b, torch.arange(3))], 8)
    scaling = temperatures("L2")
    logit = float(scaling.scale.detach()) * 0.5 + float(scaling.bias.detach())
    assert 1 / (1 + math.exp(-logit)) == pytest.approx(1 / 9)
    assert float(temperatures("L1").bias.detach()) == 0.0


@pytest.mark.parametrize("weights", [(1, 0, 0), (1, 1, 1)])
def test_a_bias_starts_from_other_rows_if_the_first_batch_has_no_pairs(tmp_path, weights):
    triples, started = make_triples(40), []
    features = make_features(triples, missing=tuple(row for row in range(40) if row % 10))

    def start_and_keep(run, rows):
        assert run.examples.has_image[rows].sum() < 2
        start_biases(run, rows)
        started.append({name: bias.item() for name, bias in run.temperatures.biases.items()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "start_biases", start_and_keep)
        changes = {"loss": "sigmoid", "batch_size": 4, "epochs": 1, "divergence": 1e9}
        tune(tmp_path, triples=triples, features=features, weights=weights, **changes)
    assert started[0]["L1"] != 0.0 and len(started[0]) == sum(weights)


def test_a_learned_temperature_starts_from_the_given_one_even_below_a_hundredth():
    objective = objective_of(make_config(text_temperature=0.005, learn_text_temperature=True))
    temperatures = Temperatures(TinyModel(), objective)
    with torch.no_grad():
        temperatures.logs["L3"].add_(1.0)
    temperatures.clamp()
    for name in ("L2", "L3"):
        assert temperatures(name).scale.item() == pytest.approx(200)


def test_temperatures_of_the_text_losses_apart_fixed_or_learned(tmp_path):
    fixed = objective_of(make_config(text_temperature=0.05, l3_temperature=0.1))
    assert fixed.scales == (None, 20, 10)
    model = TinyModel()
    temperatures = Temperatures(model, fixed)
    assert float(temperatures("L3").scale.detach()) == pytest.approx(10)
    assert isinstance(temperatures("L1"), LogitScaling) and not list(trained_names(temperatures))
    learned = Temperatures(model, objective_of(make_config(learn_text_temperature=True)))
    assert list(trained_names(learned)) == ["logs.L2", "logs.L3"]
    assert float(learned("L2").scale.detach()) == pytest.approx(math.exp(2.0))
    _, one = tune(tmp_path / "one", learn_text_temperature=True)
    _, other = tune(tmp_path / "other")
    assert one[0]["L3"] == pytest.approx(other[0]["L3"]) and one[-1]["L3"] != other[-1]["L3"]
    assert fell(one, "L1", "L2", "L3")


def trained_names(module):
    return (name for name, value in module.named_parameters() if value.requires_grad)


def test_one_step_data_needs_no_second_paraphrase(tmp_path):
    triples = make_triples()
    place = triples.schema.get_field_index("paraphrase_2")
    empty = triples.set_column(place, "paraphrase_2", triples["paraphrase_1"])
    _, steps = tune(tmp_path, triples=empty, one_step=True)
    assert "L3" not in steps[0] and fell(steps, "L1", "L2")
    objective = objective_of(make_config(one_step=True, image_loss_on=("caption", "paraphrase_2")))
    assert objective.texts == ("caption", "paraphrase_1")
    with pytest.raises(UserError, match="--one-step"):
        tune(tmp_path, one_step=True, weights=(0.0, 0.0, 1.0))


def with_negatives(texts):
    triples = make_triples()
    return triples.append_column("worse", pa.array([*texts, *[None] * (24 - len(texts))]))


def test_hard_negatives_enter_the_denominators_and_are_pushed_away(tmp_path):
    texts = [f"{'blue' if 'red' in text else 'red'} {text.split()[1]}"
             for text in make_triples()["caption"].to_pylist()[:20]]  # fmt: skip
    # Negatives that are not the caption of any row in a batch.
    texts = [f"{text}?" for text in texts]
    triples = with_negatives(texts)
    how = {"triples": triples, "batch_size": 24, "epochs": 40}
    model, steps = tune(tmp_path / "hard", negatives="worse", **how)
    plain, without = tune(tmp_path / "plain", **how)
    for name in ("L1", "L2", "L3"):
        assert steps[0][name] > without[0][name]
    assert fell(steps, "L1", "L2", "L3")

    @torch.no_grad()
    def likeness(tuned):
        own = tuned.encode_tokens(tuned.tokenize(triples["paraphrase_1"].to_pylist()[:20]).ids)
        return float((own * tuned.encode_tokens(tuned.tokenize(texts).ids)).sum(1).mean())

    assert likeness(model) < likeness(plain)


def test_an_empty_hard_negative_is_none_at_all(tmp_path):
    triples = with_negatives(["dog dog", "", "  "])
    _, steps = tune(tmp_path, triples=triples, negatives="worse", batch_size=24, epochs=1)
    _, plain = tune(tmp_path / "plain", triples=triples, batch_size=24, epochs=1)
    assert steps[0]["L2"] != plain[0]["L2"]


@pytest.mark.parametrize("make", [tiny_clip, lambda: Mini(word_files("bert"), embed_dim=8)])
def test_the_last_layers_alone(tmp_path, make):
    model = make()
    before, width = copied(model), model.embed_pixels(torch.zeros(1, 3, *[model.image_size] * 2))
    features = torch.randn(24, width.shape[1], generator=torch.Generator().manual_seed(0))
    _, steps = tune(tmp_path, model, features=features, text_tower="last_layers", last_layers=1)
    names = changed(model, before) - {"logit_scale"}
    assert names and not [name for name in names if "emb" in name or "image" in name]
    assert not [name for name in names if ".0." in name], "the first layer stays"
    assert [name for name in names if ".1." in name] and steps[-1]["loss"] < steps[0]["loss"]


def test_layers_that_a_tower_does_not_have_are_refused(tmp_path):
    with pytest.raises(UserError, match="last_layers: this text tower has no layers"):
        tune(tmp_path, text_tower="last_layers")
    with pytest.raises(UserError, match="at most 2"):
        tune(tmp_path, tiny_clip(), features=None, text_tower="last_layers", last_layers=3)


@pytest.mark.parametrize("make", [tiny_clip, lambda: Mini(word_files("bert"), embed_dim=8)])
def test_lora_leaves_an_ordinary_checkpoint(tmp_path, make):
    model = make()
    before = copied(model)
    _, steps = tune(tmp_path, model, features=None, text_tower="lora", lora_rank=2)
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert (
        model.state_dict().keys()
        == before.keys()
        == weights_of(tmp_path / "last.safetensors").keys()
    )
    names = changed(model, before) - {"logit_scale"}
    assert names and all("weight" in name and "norm" not in name for name in names)
    loaded = load_model(str(tmp_path / "last.safetensors"))
    ids = model.tokenize(["a red disc", "blue"]).ids
    torch.testing.assert_close(loaded.encode_tokens(ids), model.encode_tokens(ids))
    for name in names:
        moved = model.state_dict()[name] - before[name]
        assert torch.linalg.matrix_rank(moved, rtol=1e-3) <= 2, name


def test_lora_without_peft_reports_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match="pip install peft"):
        tune(tmp_path, tiny_clip(), features=None, text_tower="lora")


def with_pictures(folder):
    colours = ("red", "green", "blue", "black")
    names = [
        draw(folder / f"{index}.png", ("disc", "square")[index % 2], colours[index // 2 % 4])
        for index in range(24)
    ]
    triples = make_triples()
    place = triples.schema.get_field_index("image")
    return triples.set_column(place, "image", pa.array([*names[:-1], None]))


def test_the_image_tower_unfrozen_learns_at_its_own_rate(tmp_path):
    triples, model = with_pictures(tmp_path), tiny_clip()
    before = copied(model)
    options = {"image_learning_rate": 1e-3, "learning_rate": 1e-3, "epochs": 4}
    model, steps = tune(tmp_path / "run", model, triples, features=None, **options)
    assert [name for name in changed(model, before) if name.startswith("image_tower")]
    assert steps[-1]["L1"] < steps[0]["L1"]
    cached, again = tune(
        tmp_path / "cached", tiny_clip(), triples, features=None, micro_batch=5, **options
    )
    assert [step["loss"] for step in again] == pytest.approx([s["loss"] for s in steps], rel=1e-3)
    assert cached.image_key() != tiny_clip().image_key()


def test_a_broken_picture_is_named_where_the_image_tower_is_trained(tmp_path):
    triples = with_pictures(tmp_path)
    (tmp_path / "5.png").write_bytes(b"not a picture")
    with pytest.raises(UserError, match=r"5\.png"):
        tune(tmp_path / "run", tiny_clip(), triples, features=None, image_learning_rate=1e-3)


def test_other_pictures_under_the_trained_image_tower_are_another_run(tmp_path):
    triples, options = with_pictures(tmp_path), {"image_learning_rate": 1e-3, "epochs": 1}
    tune(tmp_path / "run", tiny_clip(), triples, features=None, **options)
    names = triples["image"].to_pylist()
    turned = pa.array([*names[-2::-1], None])
    turned = triples.set_column(triples.schema.get_field_index("image"), "image", turned)
    with pytest.raises(UserError, match="belongs to a run with other settings: pictures"):
        tune(tmp_path / "run", tiny_clip(), turned, features=None, **options)


def test_hard_negatives_of_other_rows_are_another_run(tmp_path):
    texts = ["green cat", *[""] * 23]
    for number, column in enumerate((texts, texts[::-1])):
        triples = make_triples().append_column("negative", pa.array(column))
        if number == 0:
            tune(tmp_path, triples=triples, negatives="negative", epochs=1)
            continue
        with pytest.raises(UserError, match="belongs to a run with other settings: data"):
            tune(tmp_path, triples=triples, negatives="negative", epochs=1)


def test_compile_and_tf32_hold_for_the_run_only(tmp_path, monkeypatch):
    asked, seen = [], []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **how: asked.append(how))
    monkeypatch.setattr(torch, "compile", lambda function: function)
    set_precision = torch.set_float32_matmul_precision
    monkeypatch.setattr(
        torch, "set_float32_matmul_precision", lambda name: (seen.append(name), set_precision(name))
    )
    before = torch.get_float32_matmul_precision()
    tune(tmp_path, compile=True, tf32=True, epochs=1)
    assert asked == [{"dynamic": True}] and seen == ["high", before]
    assert torch.get_float32_matmul_precision() == before


def test_where_nothing_compiles_it_is_reported_before_the_first_step(tmp_path, monkeypatch):
    def no_compiler(function):
        raise RuntimeError("InvalidCxxCompiler: no g++\nand a long trace")

    monkeypatch.setattr(torch, "compile", no_compiler)
    before = torch.get_float32_matmul_precision()
    with pytest.raises(UserError, match=r"--compile: .* here \(InvalidCxxCompiler: no g\+\+\)"):
        tune(tmp_path, compile=True, tf32=True)
    assert torch.get_float32_matmul_precision() == before
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_the_columns_of_the_variants_are_read_from_both_kinds_of_files(tmp_path, suffix):
    import pyarrow.parquet as pq

    from paraclip.data.triples import read_triples

    rows = make_triples(3).drop_columns(["paraphrase_2", "image", "generator"])
    rows = rows.append_column("worse", pa.array(["no dog", None, "no boat"]))
    path = tmp_path / f"rows.{suffix}"
    if suffix == "parquet":
        pq.write_table(rows, path)
    else:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows.to_pylist()))
    with pytest.raises(UserError, match="paraphrase_2"):
        read_triples(path)
    found = read_triples(path, one_step=True, extra="worse")
    assert found["worse"].to_pylist() == ["no dog", None, "no boat"]
    assert found["paraphrase_2"].to_pylist() == found["paraphrase_1"].to_pylist()
    with pytest.raises(UserError, match="worst"):
        read_triples(path, one_step=True, extra="worst")
