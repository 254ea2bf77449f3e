"""Where there is memory to spare, the first micro-batches keep their graph; the rest is alike."""

import pytest
import torch
from torch.nn.functional import dropout

from paraclip.training import forward
from paraclip.training.grad_cache import Side, backward

PARTS = list(torch.arange(24.0, dtype=torch.float64).view(4, 2, 3) / 24)


def gradient(kept: int) -> tuple[torch.Tensor, int]:
    """Gradient of a loss that couples all rows, with dropout, and how many passes it took."""
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


def half():
    """bf16, as `forward` has it."""
    return forward.of_the_tower("cpu", torch.bfloat16)


def test_graphs_are_kept_up_to_a_number_of_tokens(monkeypatch):
    monkeypatch.setattr(forward, "KEPT_TOKENS", {"cpu": 100})
    chunks = [torch.ones(10, 5), torch.ones(10, 5), torch.ones(10, 1)]
    assert forward.kept_chunks(chunks, None, "cpu") == 2
    assert forward.kept_chunks(chunks[:1] + chunks[2:], None, "cpu") == 2
    assert forward.kept_chunks([torch.ones(2, 77)], None, "cpu") == 0
    assert forward.kept_chunks(chunks, None, "cuda") == 3, "a GPU has other limits"


@pytest.mark.parametrize(("micro_batch", "kept"), [(29, 0), (30, 3)])
def test_a_micro_batch_that_is_given_is_all_that_is_kept(micro_batch, kept):
    chunks = [torch.ones(10, 5)] * 3
    assert forward.kept_chunks(chunks, micro_batch, "cpu") == kept
