"""Cached gradients (GradCache): vectors of any number of texts in the memory of a few.

A contrastive loss couples all rows of a batch, but only through their vectors. The graph of one
micro-batch at a time is therefore enough:

    forward     micro-batch by micro-batch, no graph     -> vectors [n, D]
    backward    micro-batch by micro-batch, with graph   <- gradient of the vectors [n, D]

If memory allows, the first micro-batches keep the graph of the forward pass and need no second one.
Dropout must be equal in both passes: every micro-batch has its own seed, so no random state has to
be saved, neither here nor in the states from which a run resumes.

Source: Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup",
section 3.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Encode = Callable[[Any], Tensor]
"""Maps a micro-batch to its vectors [n, D]."""
Context = Callable[[], AbstractContextManager[Any]]
"""Makes the context in which the towers compute: their precision."""

KEPT_TOKENS = {"cpu": 20_480}
"""Maximum number of tokens in a step whose graph is kept, unless --micro-batch limits it: about
5 GB in the text tower of ViT-B/32, and 1,280 captions of the usual length."""
KEPT_TOKENS_ELSEWHERE = 131_072  # where memory allows: see `token_limit`
BYTES_A_NUMBER = 2.5
"""Bytes of a kept graph per input or output of a weight matrix: 5 GB for 20,480 tokens of ViT-B/32
in bf16."""
NO_MATRIX = 20_000  # minimum number of rows at which a table counts as embeddings


def encode_plain(
    encode: Encode, parts: Sequence[Any], seed: tuple[int, ...] = (), context: Context = nullcontext
) -> Tensor:
    """The vectors of all micro-batches with one graph: the reference of `encode_cached`.

    Arguments and result are those of `encode_cached`.
    """
    with context():
        return _joined([_seeded(encode, part, (*seed, at)) for at, part in enumerate(parts)])


def encode_cached(
    encode: Encode,
    parts: Sequence[Any],
    seed: tuple[int, ...],
    kept: int,
    context: Context = nullcontext,
) -> Tensor:
    """The vectors [all rows, D], in float32 or wider, of all micro-batches in their order; their
    backward pass encodes each one again. The first `kept` ones keep the graph of the forward pass.

    Memory in addition to the kept graphs: the graph of one micro-batch, and O(n D).

    Args:
        seed: numbers that are unique to this call in the run: seed of the run, step, process.
        context: makes the context in which `encode` computes.
    """
    if not torch.is_grad_enabled():
        return encode_plain(encode, parts, seed, context)
    anchor = torch.zeros((), requires_grad=True)  # the weights are no inputs of the function
    vectors: Tensor = _Cached.apply(  # type: ignore[no-untyped-call]
        anchor, encode, parts, seed, kept, context
    )
    return vectors


class _Cached(torch.autograd.Function):
    """Vectors whose backward pass goes through one micro-batch at a time."""

    @staticmethod
    def forward(
        ctx: Any,
        anchor: Tensor,
        encode: Encode,
        parts: Sequence[Any],
        seed: tuple[int, ...],
        kept: int,
        context: Context,
    ) -> Tensor:
        """Vectors [all rows, D]."""
        ctx.call = encode, parts, seed, kept, context
        ctx.first = []
        # Those with a graph come first: autocast casts a weight once, with or without a graph.
        with context():
            for at, part in enumerate(parts):
                with torch.set_grad_enabled(at < kept):
                    ctx.first.append(_seeded(encode, part, (*seed, at)))
        return _joined(ctx.first)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Propagate the gradient [all rows, D] of the vectors into the weights."""
        encode, parts, seed, kept, context = ctx.call
        pieces = torch.split(gradients[0], [len(vectors) for vectors in ctx.first])
        with context(), torch.enable_grad():
            for at, (vectors, piece) in enumerate(zip(ctx.first, pieces, strict=True)):
                if at >= kept:
                    vectors = _seeded(encode, parts[at], (*seed, at))
                if vectors.requires_grad:  # an empty one has no graph
                    vectors.backward(piece.to(vectors.dtype))
        return None, None, None, None, None, None  # the weights have their gradients by now


def _seeded(encode: Encode, part: Any, numbers: tuple[int, ...]) -> Tensor:
    """The vectors of a micro-batch, with the same dropout at every call with the same numbers."""
    torch.manual_seed(_mixed(*numbers))
    return encode(part)


def _joined(vectors: Sequence[Tensor]) -> Tensor:
    """All rows, in float32 or wider."""
    whole = torch.cat(list(vectors))
    return whole.to(torch.promote_types(whole.dtype, torch.float32))


def _mixed(*numbers: int) -> int:
    """One seed from several numbers; similar numbers give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def count_kept(
    chunks: Sequence[Tensor],
    micro_batch: int | None,
    limit: int,
    computed_length: Callable[[int], int],
) -> int:
    """Number of first chunks, token ids [n, length], that keep their graph: of at most
    `micro_batch` texts, or of at most `limit` tokens, as computed by the tower for a chunk's
    length."""
    if micro_batch is not None:
        return len(chunks) if sum(map(len, chunks)) <= micro_batch else 0
    tokens = np.cumsum([len(chunk) * computed_length(chunk.shape[1]) for chunk in chunks])
    return int(np.searchsorted(tokens, limit, side="right"))


def token_limit(tower: nn.Module, device: torch.device) -> int:
    """Maximum number of tokens whose graph is kept: on a GPU, what fits half of its free memory."""
    usual = KEPT_TOKENS.get(device.type, KEPT_TOKENS_ELSEWHERE)
    if device.type != "cuda":
        return usual
    free, _ = torch.cuda.mem_get_info(device)
    # What torch keeps for itself and does not use at present is free as well.
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    matrices = [value.shape for value in tower.parameters() if value.ndim == 2]
    numbers = sum(sum(shape) for shape in matrices if max(shape) < NO_MATRIX)
    return min(usual, int((free + held) / 2 / (BYTES_A_NUMBER * max(numbers, 1))))
