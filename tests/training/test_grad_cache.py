"""Micro-batches of any size give the gradient of one big batch, dropout and temperature and all."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_model import TinyModel
from training_rows import make_config, make_features, make_triples, weights_of

from paraclip.training.batches import ALL_TEXTS
from paraclip.training.examples import make_examples
from paraclip.training.forward import batch_losses, learn_from
from paraclip.training.grad_cache import Side, backward, mixed, power_of_two
from paraclip.training.loop import train
from paraclip.training.losses import Objective, info_nce
from paraclip.training.metrics_log import read_metrics
from paraclip.training.optimizer import Part, train_only
from paraclip.training.run import Task, start

ROWS = np.random.default_rng(3).permutation(24)[:17]


def gradient(tmp_path, micro_batch, chunk, dropout=0.3, rows=ROWS, freeze=False, missing=(3, 8)):
    """Losses and gradients in float64 of a batch with shared pictures and rows without one."""
    triples, model = make_triples(), TinyModel().double()
    texts = {name: triples[name].to_pylist() for name in ALL_TEXTS}
    if len(missing) > 1:  # a text that two rows share
        texts["paraphrase_2"][4] = texts["caption"][11]
    features = make_features(triples, missing=missing)
    ids = triples["image_id"].to_pylist()
    examples = replace(make_examples(model, texts, ids, features, ALL_TEXTS), chunk=chunk)
    config = make_config(micro_batch=micro_batch, freeze_temperature=freeze)
    parts = (Part(model.text_tower, 1e-3), Part(model.image_head, 1e-3))
    model.text_tower.dropout.p = dropout
    train_only(model, parts, freeze)
    objective = Objective((1.0, 0.5, 2.0), ("caption", "paraphrase_2"))
    run = start(Task(model, examples, objective, parts, config), {"precision": "fp32"}, tmp_path)
    run.train_mode()
    batch = examples.batch(rows, run.processes.share)
    assert (batch.rows.sharing is not None) == (len(missing) > 1)
    losses = learn_from(run, batch)
    named = model.named_parameters()
    return losses, {name: value.grad for name, value in named if value.grad is not None}


def assert_same(one, other, tolerance=1e-5):
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            largest = float(b[name].abs().max())
            assert float((a[name] - b[name]).abs().max()) <= tolerance * largest, name


@pytest.mark.parametrize("chunk", [1, 4, 7, 100])
def test_cached_gradients_are_those_of_the_kept_graph_with_dropout_on(tmp_path, chunk):
    plain = gradient(tmp_path, 1000, chunk)
    assert "logit_scale" in plain[1] and "image_tower.head.weight" in plain[1]
    assert_same(gradient(tmp_path, 2, chunk), plain, 1e-12)


@pytest.mark.parametrize("chunk", [1, 4, 7])
def test_micro_batches_give_the_gradient_of_one_big_batch(tmp_path, chunk):
    whole = gradient(tmp_path, 1000, 1000, dropout=0.0)
    assert_same(gradient(tmp_path, 2, chunk, dropout=0.0), whole)


def test_dropout_is_really_on_and_another_step_drops_others(tmp_path):
    dropped, whole = gradient(tmp_path, 2, 4), gradient(tmp_path, 2, 4, dropout=0.0)
    assert dropped[0]["L3"] != whole[0]["L3"]
    assert len({mixed(0, step, rank) for step in range(50) for rank in range(4)}) == 200


def test_a_frozen_temperature_has_no_gradient(tmp_path):
    assert "logit_scale" not in gradient(tmp_path, 2, 4, freeze=True)[1]


def test_no_graph_outlives_its_micro_batch():
    weight, alive, most = torch.ones(3, requires_grad=True), [], []

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx, rows, weight):
            if torch.is_grad_enabled() or weight.requires_grad:
                ctx.save_for_backward(rows)
            return rows * weight

        @staticmethod
        def backward(ctx, gradient):
            alive.pop()
            return None, (gradient * ctx.saved_tensors[0]).sum(0)

    def encode(rows):
        vectors = Watched.apply(rows, weight)
        if vectors.requires_grad:
            alive.append(1)
            most.append(len(alive))
        return vectors

    parts = list(torch.arange(24.0).view(4, 2, 3))
    backward([Side(encode, parts, (0,), keep_graph=False)], lambda vectors: (vectors**2).sum())
    assert max(most) == 1 and len(most) == 4 and not alive
    assert torch.equal(weight.grad, 2 * (torch.cat(parts) ** 2).sum(0))


def test_the_loss_without_gradient_is_the_same(tmp_path):
    triples, model = make_triples(), TinyModel()
    texts = {name: triples[name].to_pylist() for name in ALL_TEXTS}
    ids = triples["image_id"].to_pylist()
    examples = make_examples(model, texts, ids, make_features(triples), ALL_TEXTS)
    parts = (Part(model.text_tower, 1e-3),)
    train_only(model, parts, freeze_temperature=False)
    task = Task(model, examples, Objective(), parts, make_config())
    run = start(task, {"precision": "fp32"}, tmp_path)
    batch = examples.batch(ROWS)
    assert {k: float(v) for k, v in batch_losses(run, batch).items()} == pytest.approx(
        {k: float(v) for k, v in learn_from(run, batch).items()}
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_with_micro_batches_is_the_run_without(tmp_path, precision):
    triples = make_triples()

    def run(name, **changes):
        config = make_config(epochs=2, precision=precision, dropout=0.0, **changes)
        train(TinyModel(), triples, make_features(triples), config, tmp_path / name)
        return read_metrics(tmp_path / name / "metrics.jsonl")

    cached, plain = run("cached", micro_batch=5), run("plain")
    tolerance = 1e-4 if precision == "fp32" else 0.02
    for one, other in zip(cached, plain, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=tolerance)
    one, other = (weights_of(tmp_path / name / "last.safetensors") for name in ("cached", "plain"))
    moved = sum(float((one[name] - value).abs().max()) for name, value in other.items())
    assert moved < (1e-4 if precision == "fp32" else 0.2)


def test_half_precision_gradients_are_magnified_by_a_power_of_two():
    assert power_of_two(torch.tensor([1e-8, -3e-9])) * 1e-8 == pytest.approx(0.67, abs=0.34)
    assert power_of_two(torch.zeros(2)) == 1.0 and power_of_two(torch.tensor([torch.nan])) == 1.0
    weight = torch.ones(1, requires_grad=True)

    def encode(rows):
        return rows.half() * weight.half()

    side = Side(encode, [torch.ones(3, 1)], (0,), False, magnified=[weight])
    backward([side], lambda vectors: 1e-9 * vectors.sum())
    assert float(weight.grad) == pytest.approx(3e-9, rel=1e-3)


def test_the_gradient_is_that_of_the_losses_written_plainly(tmp_path):
    triples, model = make_triples(), TinyModel().double()
    model.requires_grad_(True)
    texts = {
        name: model.encode_tokens(model.tokenize(triples[name].to_pylist()).ids)
        for name in ALL_TEXTS
    }
    keys = triples["image_id"].to_pylist()
    rows = [row for row in range(24) if keys.index(keys[row]) == row]  # nothing is shared
    seen = [place for place, row in enumerate(rows) if row != 3]  # it has no picture
    images = model.project_images(make_features(triples)[rows][seen].double())
    scale = model.logit_scale.exp()
    caption, first, second = (texts[name][rows] for name in ALL_TEXTS)
    image_losses = [info_nce(images, text[seen], scale) for text in (caption, second)]
    loss = sum(image_losses) / 2 + 0.5 * info_nce(caption, first, scale)
    (loss + 2.0 * info_nce(first, second, scale)).backward()
    named = dict(model.named_parameters())
    wanted = gradient(tmp_path, 2, 4, dropout=0.0, rows=np.array(rows), missing=(3,))[1]
    for name, value in wanted.items():
        torch.testing.assert_close(value, named[name].grad, rtol=1e-7, atol=1e-10, msg=name)
