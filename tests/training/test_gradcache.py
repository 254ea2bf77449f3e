"""Micro-batches of any size give the gradient of one big batch, with dropout and temperature."""

from functools import partial

import numpy as np
import pytest
import torch
from gradients import ROWS, VARIANTS, Step, assert_same
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import dropout
from training_rows import planned

from paraclip.training import gradcache
from paraclip.training.data import TrainingData
from paraclip.training.gradcache import count_kept, encode_cached, encode_plain, token_limit
from paraclip.training.train import encode_batch
from tiny import TINY_CLIP, make_triples, tiny_clip

PARTS = list(torch.arange(24.0, dtype=torch.float64).view(4, 2, 3) / 24)
NOT_CAUSAL = {"no_causal_mask": True, "pool_type": "last"}
"""A text tower that sees its padding, as SigLIP's does."""


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_every_variant_gives_the_gradient_of_the_losses_written_plainly(tmp_path, variant):
    changes = VARIANTS[variant]
    plain = Step(tmp_path, **changes).plain_gradient()
    assert "logit_scale" in plain[1] and len(plain[1]) > 4
    for micro_batch in (1000, 2):
        found = Step(tmp_path, micro_batch=micro_batch, **changes).gradient()
        assert_same(found, plain, 1e-9)


@given(
    st.sampled_from(list(VARIANTS)), st.integers(2, 24), st.integers(1, 9), st.integers(0, 99),
    st.floats(0, 0.6),
)  # fmt: skip
@pytest.mark.slow
def test_any_batch_in_any_micro_batches(tmp_path_factory, variant, size, chunk, seed, rate):
    changes = {**VARIANTS[variant], "chunk": chunk, "dropout": rate}
    rows = np.random.default_rng(seed).permutation(24)[:size]
    folder = tmp_path_factory.getbasetemp() / "any"
    plain = Step(folder, **changes).plain_gradient(rows)
    cached = Step(folder, micro_batch=1, **changes).gradient(rows)
    assert_same([cached[0]], [plain[0]], 1e-9)
    for name, value in plain[1].items():
        torch.testing.assert_close(cached[1][name], value, rtol=1e-7, atol=1e-9, msg=name)


def test_the_batch_has_rows_of_all_kinds(tmp_path):
    batch = Step(tmp_path).rows.batch(ROWS)
    assert batch.rows.false_negatives.dense().any() and len(batch.rows.with_image) < 17
    assert len({len(chunk) for chunk in batch.chunks}) > 1


def test_dropout_is_really_on_and_another_step_drops_others(tmp_path):
    dropped = Step(tmp_path, micro_batch=2).gradient()
    whole = Step(tmp_path, micro_batch=2, dropout=0.0).gradient()
    assert dropped[0]["L3"] != whole[0]["L3"]
    assert len({gradcache._mixed(0, step, rank) for step in range(50) for rank in range(4)}) == 200


def test_no_graph_outlives_its_micro_batch():
    weight, alive, most = torch.ones(3, requires_grad=True), [], []

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx, rows, weight):
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
    (encode_cached(encode, parts, (0,), kept=0) ** 2).sum().backward()
    assert max(most) == 1 and len(most) == 4 and not alive
    assert torch.equal(weight.grad, 2 * (torch.cat(parts) ** 2).sum(0))


def coupled_gradient(encode_all) -> tuple[torch.Tensor, int]:
    """Gradient of a loss that couples all rows, with dropout, and the number of passes."""
    weight, passes = torch.ones(3, dtype=torch.float64, requires_grad=True), []

    def encode(rows: torch.Tensor) -> torch.Tensor:
        passes.append(len(rows))
        return dropout(rows * weight, 0.5)

    vectors = encode_all(encode, PARTS, (1, 2))
    (vectors @ vectors.T).exp().sum().backward()
    return weight.grad, len(passes)


@pytest.mark.parametrize("kept", [0, 1, 3, 4])
def test_kept_graphs_save_second_passes_and_give_the_gradient_of_the_reference(kept):
    wanted, passes = coupled_gradient(encode_plain)
    assert passes == 4 and wanted.all()
    found, passes = coupled_gradient(partial(encode_cached, kept=kept))
    assert passes == 8 - kept
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kept", [0, 2, 4])
def test_weights_that_autocast_has_cast_still_get_their_gradient(kept):
    layer, half = torch.nn.Linear(3, 3), partial(torch.autocast, "cpu", torch.bfloat16)
    parts = [part.float() for part in PARTS]
    encode_cached(layer, parts, (1, 2), kept, half).sum().backward()
    torch.testing.assert_close(layer.bias.grad, torch.full((3,), 8.0))
    wanted = torch.cat(parts).sum(0).expand(3, 3)
    torch.testing.assert_close(layer.weight.grad, wanted, rtol=0.01, atol=0.01)


def test_the_loss_without_gradient_is_the_same(tmp_path):
    step = Step(tmp_path, dropout=0.0)
    batch = step.rows.batch(ROWS)
    with torch.no_grad():
        vectors = encode_batch(step.model, batch, step.rows.names)
    whole = step.objective.values(vectors)
    found, _ = step.gradient()
    assert {k: v.item() for k, v in whole.items()} == pytest.approx(
        {k: v.item() for k, v in found.items()}
    )


def as_they_are(length: int) -> int:
    """A tower that computes no more tokens than it is given."""
    return length


@pytest.mark.parametrize(
    ("lengths", "micro_batch", "limit", "kept"),
    [
        ([5, 5, 1], None, 100, 2), ([5, 1], None, 100, 2), ([77], None, 100, 0),
        ([5, 5, 1], None, 110, 3), ([5, 5, 5], 29, 20_480, 0), ([5, 5, 5], 30, 20_480, 3),
    ],
)  # fmt: skip
def test_graphs_are_kept_up_to_a_number_of_tokens_or_texts(lengths, micro_batch, limit, kept):
    chunks = [torch.ones(10, length) for length in lengths]
    assert count_kept(chunks, micro_batch, limit, as_they_are) == kept


def test_tokens_are_counted_as_a_tower_that_pads_computes_them(monkeypatch):
    model = tiny_clip(text_cfg=TINY_CLIP["text_cfg"] | NOT_CAUSAL)
    data = TrainingData(model, make_triples(), None)
    rows, _, _ = planned(data, "open_clip", loss_weights={"L1": 0})
    object.__setattr__(rows, "chunk", 8)
    batch = rows.batch(np.arange(24))
    assert len(batch.chunks) > 3 and max(chunk.shape[1] for chunk in batch.chunks) < 12
    graphs = []
    model.text_tower.register_forward_hook(
        lambda tower, ids, found: graphs.append(found.requires_grad)
    )
    monkeypatch.setitem(gradcache.KEPT_TOKENS, "cpu", 2 * 8 * 12)
    encode_batch(model, batch, rows.names)
    assert sum(graphs) == 2 and graphs[:2] == [True, True]


def test_on_a_gpu_no_more_is_kept_than_half_its_free_memory_holds(monkeypatch):
    tower = torch.nn.Sequential(torch.nn.Embedding(50_000, 4), torch.nn.Linear(4, 16))
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert token_limit(tower, cpu) == gradcache.KEPT_TOKENS["cpu"]
    for name, value in (("mem_get_info", (900, 2000)), ("memory_reserved", 500)):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 400)
    assert token_limit(tower, gpu) == 1000 / 2 / (2.5 * (4 + 16))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1 << 50, 1 << 50))
    assert token_limit(tower, gpu) == gradcache.KEPT_TOKENS_ELSEWHERE
