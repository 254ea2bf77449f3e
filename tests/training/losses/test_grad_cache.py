"""Micro-batches of any size give the gradient of one big batch, with dropout and temperature."""

import numpy as np
import pytest
import torch
from gradients import ROWS, VARIANTS, assert_same, gradient, plain_gradient, run_of
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import TinyModel
from training_rows import make_config, make_features, make_triples, weights_of

from paraclip.training.loop import batch_of, train
from paraclip.training.losses.objective import three_losses
from paraclip.training.metrics import read_metrics
from paraclip.training.prepare import TrainingData
from paraclip.training.step import Side, backward, encode_whole, learn_from, mixed


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_every_variant_gives_the_gradient_of_the_losses_written_plainly(tmp_path, variant):
    changes = VARIANTS[variant]
    plain = plain_gradient(tmp_path / "plain", **changes)
    assert ("logit_scale" in plain[1]) and len(plain[1]) > 4
    assert_same(gradient(tmp_path / "kept", **changes), plain, 1e-9)
    assert_same(gradient(tmp_path / "cached", micro_batch=2, **changes), plain, 1e-9)


@settings(max_examples=15)
@given(
    st.sampled_from(list(VARIANTS)), st.integers(2, 24), st.integers(1, 9), st.integers(0, 99),
    st.floats(0, 0.6),
)  # fmt: skip
def test_any_batch_in_any_micro_batches(tmp_path_factory, variant, size, chunk, seed, dropout):
    changes = {**VARIANTS[variant], "chunk": chunk, "dropout": dropout, "seed": seed}
    changes["rows"] = np.random.default_rng(seed).permutation(24)[:size]
    folder = tmp_path_factory.getbasetemp() / "any"
    plain = plain_gradient(folder, **changes)
    cached = gradient(folder, micro_batch=1, **changes)
    assert_same([cached[0]], [plain[0]], 1e-9)
    for name, value in plain[1].items():
        torch.testing.assert_close(cached[1][name], value, rtol=1e-7, atol=1e-9, msg=name)


def test_micro_batches_of_other_sizes_give_the_gradient_of_one_big_batch(tmp_path):
    whole = gradient(tmp_path, chunk=1000, dropout=0.0)
    for chunk in (1, 4, 7):
        assert_same(gradient(tmp_path, 2, chunk=chunk, dropout=0.0), whole)


def test_dropout_is_really_on_and_another_step_drops_others(tmp_path):
    dropped, whole = gradient(tmp_path, 2), gradient(tmp_path, 2, dropout=0.0)
    assert dropped[0]["L3"] != whole[0]["L3"]
    assert len({mixed(0, step, rank) for step in range(50) for rank in range(4)}) == 200


def test_the_batch_has_rows_of_all_kinds(tmp_path):
    batch = batch_of(run_of(tmp_path, negatives="worse"), ROWS)
    assert (
        batch.rows.false_negatives.dense()[:, :17].any()
        and batch.rows.false_negatives.dense()[:, 17:].any()
    )
    assert len(batch.rows.with_image) < 17 and 0 < sum(batch.sizes.negatives) < 17
    assert len({len(chunk) for chunk in batch.chunks}) > 1


def test_a_frozen_temperature_has_no_gradient(tmp_path):
    assert "logit_scale" not in gradient(tmp_path, 2, freeze_temperature=True)[1]


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
    backward([Side(encode, parts, (0,), kept=0)], lambda vectors: (vectors**2).sum())
    assert max(most) == 1 and len(most) == 4 and not alive
    assert torch.equal(weight.grad, 2 * (torch.cat(parts) ** 2).sum(0))


def test_the_loss_without_gradient_is_the_same(tmp_path):
    run = run_of(tmp_path, dropout=0.0)
    batch = batch_of(run, ROWS)
    whole = three_losses(encode_whole(run, batch), run.temperatures, batch.rows, run.objective)
    assert {k: v.item() for k, v in whole.items()} == pytest.approx(
        {k: v.item() for k, v in learn_from(run, batch).items()}
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_with_micro_batches_is_the_run_without(tmp_path, precision):
    triples = make_triples()

    def run(name, **changes):
        config = make_config(epochs=2, precision=precision, dropout=0.0, **changes)
        train(TrainingData(TinyModel(), triples, make_features(triples)), config, tmp_path / name)
        return read_metrics(tmp_path / name / "metrics.jsonl")

    cached, plain = run("cached", micro_batch=5), run("plain")
    tolerance = 1e-4 if precision == "fp32" else 0.02
    for one, other in zip(cached, plain, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=tolerance)
    one, other = (weights_of(tmp_path / name / "last.safetensors") for name in ("cached", "plain"))
    moved = sum(float((one[name] - value).abs().max()) for name, value in other.items())
    assert moved < (1e-4 if precision == "fp32" else 0.2)
