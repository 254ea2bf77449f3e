"""With spare memory, the first micro-batches keep their graph; gradients are unchanged."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_models import TINY_CLIP, tiny_clip
from torch.nn.functional import dropout
from training_rows import make_config, make_triples

from paraclip.training import step
from paraclip.training.loop import batch_of
from paraclip.training.prepare import TrainingData
from paraclip.training.processes import ALONE
from paraclip.training.step import Side, backward
from paraclip.training.task import task_of

NOT_CAUSAL = {"no_causal_mask": True, "pool_type": "last"}
"""A text tower that sees its padding, as SigLIP's does."""
PARTS = list(torch.arange(24.0, dtype=torch.float64).view(4, 2, 3) / 24)


def gradient(kept: int) -> tuple[torch.Tensor, int]:
    """Gradient of a loss that couples all rows, with dropout, and the number of passes."""
    weight, passes = torch.ones(3, dtype=torch.float64, requires_grad=True), []

    def encode(rows: torch.Tensor) -> torch.Tensor:
        passes.append(len(rows))
        return dropout(rows * weight, 0.5)

    backward([Side(encode, PARTS, (1, 2), kept)], lambda vectors: (vectors @ vectors.T).exp().sum())
    return weight.grad, len(passes)


@pytest.mark.parametrize("kept", [1, 2, 3, 4])
def test_kept_graphs_save_second_passes_and_give_the_same_gradient(kept):
    wanted, passes = gradient(0)
    assert passes == 8 and wanted.all()
    found, passes = gradient(kept)
    assert passes == 8 - kept
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kept", [0, 2, 4])
def test_weights_that_autocast_has_cast_still_get_their_gradient(kept):
    layer = torch.nn.Linear(3, 3)
    side = Side(layer, [part.float() for part in PARTS], (1, 2), kept, arithmetic=half)
    backward([side], lambda vectors: vectors.sum())
    torch.testing.assert_close(layer.bias.grad, torch.full((3,), 8.0))
    wanted = torch.cat(PARTS).float().sum(0).expand(3, 3)
    torch.testing.assert_close(layer.weight.grad, wanted, rtol=0.01, atol=0.01)


def as_they_are(length: int) -> int:
    """A tower that computes no more tokens than it is given."""
    return length


def half():
    """bf16, as used in training."""
    return step.arithmetic_of_towers("cpu", torch.bfloat16)


def test_graphs_are_kept_up_to_a_number_of_tokens():
    chunks = [torch.ones(10, 5), torch.ones(10, 5), torch.ones(10, 1)]
    assert step.kept_chunks(chunks, None, 100, as_they_are) == 2
    assert step.kept_chunks(chunks[:1] + chunks[2:], None, 100, as_they_are) == 2
    assert step.kept_chunks([torch.ones(2, 77)], None, 100, as_they_are) == 0
    assert step.kept_chunks(chunks, None, 110, as_they_are) == 3


def test_tokens_are_counted_as_a_tower_that_pads_computes_them(monkeypatch):
    triples, model = make_triples(), tiny_clip(text_cfg=TINY_CLIP["text_cfg"] | NOT_CAUSAL)
    task = task_of(TrainingData(model, triples, None), make_config(weights=(0, 1, 1)))
    run = SimpleNamespace(
        **vars(replace(task, examples=replace(task.examples, chunk=8))), step=0, dtype=None,
        processes=ALONE, device=model.device,
    )  # fmt: skip
    batch = batch_of(run, np.arange(24))
    assert len(batch.chunks) > 3 and max(chunk.shape[1] for chunk in batch.chunks) < 12
    seen = []
    model.text_tower.register_forward_pre_hook(lambda tower, ids: seen.append(ids[0].numel()))
    monkeypatch.setitem(step.KEPT_TOKENS, "cpu", 2 * 8 * 12)
    side = step.sides_of(run, batch)[0]
    side.first_pass()
    assert side.kept == 2 and sum(seen[:2]) <= 2 * 8 * 12 < sum(seen[:3])


def test_on_a_gpu_no_more_is_kept_than_half_its_free_memory_holds(monkeypatch):
    tower = torch.nn.Sequential(torch.nn.Embedding(50_000, 4), torch.nn.Linear(4, 16))
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert step.token_limit(tower, cpu) == step.KEPT_TOKENS["cpu"]
    for name, value in (("mem_get_info", (900, 2000)), ("memory_reserved", 500)):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 400)
    assert step.token_limit(tower, gpu) == 1000 / 2 / (2.5 * (4 + 16))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1 << 50, 1 << 50))
    assert step.token_limit(tower, gpu) == step.KEPT_TOKENS_ELSEWHERE


@pytest.mark.parametrize(("micro_batch", "kept"), [(29, 0), (30, 3)])
def test_a_micro_batch_that_is_given_is_all_that_is_kept(micro_batch, kept):
    chunks = [torch.ones(10, 5)] * 3
    assert step.kept_chunks(chunks, micro_batch, 20_480, as_they_are) == kept
