"""The two sides of a batch, texts and pictures: forward to vectors, and backward to the weights.

A contrastive loss couples all rows of a batch, but only through their vectors. So a step needs the
graph of one micro-batch at a time (`step.backward`):

    pass 1   micro-batch by micro-batch, no graph     -> vectors [B, D]
    pass 2   micro-batch by micro-batch, with graph   <- gradient of the vectors [B, D]

Where there is memory to spare, the first micro-batches keep the graph of pass 1 and skip pass 2.
Dropout must be the same in both passes: every micro-batch has a seed of its own, made of the run's
seed, the step, the process and its index. So no random state has to be saved.

Source: GradCache, Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory
Limited Setup", section 3.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from paraclip.errors import UserError
from paraclip.models.features import read_pictures
from paraclip.training.batches import Batch
from paraclip.training.run import Run

KEPT_TOKENS = {"cpu": 20_480}
"""Tokens of a step whose graph is kept, unless --micro-batch says otherwise: about 5 GB in the
text tower of ViT-B/32, and 1,280 captions of the usual length."""
KEPT_TOKENS_ELSEWHERE = 131_072
BYTES_A_NUMBER = 2.5
"""Of a kept graph, for each number that goes into or out of a weight matrix: 5 GB for 20,480 tokens
of ViT-B/32 in bf16."""
NO_MATRIX = 20_000  # rows from which on a table is one of embeddings
PICTURES_AT_ONCE = 32
PLAIN_PICTURES = 256
"""The same for pictures, where the image tower is trained: 5 GB in that of ViT-B/32."""


@dataclass(frozen=True)
class Side:
    """How the vectors of one side, texts or images, are computed.

    Args:
        encode: from a micro-batch to its vectors [n, D].
        micro_batches: whatever `encode` takes; at least one.
        seed: numbers that no other side, step or process of the run has together.
        kept: how many of the first micro-batches keep the graph of pass 1, and so need no second
            forward pass.
        trained: whether any weight needs the gradient of these vectors.
        arithmetic: a context in which `encode` computes: its precision.
    """

    encode: Callable[[Any], Tensor]
    micro_batches: Sequence[Any]
    seed: tuple[int, ...]
    kept: int
    trained: bool = True
    arithmetic: Callable[[], AbstractContextManager[Any]] = nullcontext

    def vectors(self, index: int) -> Tensor:
        """Vectors of a micro-batch; each time with the same dropout."""
        torch.manual_seed(mixed(*self.seed, index))
        return self.encode(self.micro_batches[index])

    def first_pass(self) -> list[Tensor]:
        """Vectors of each micro-batch, with a graph only where it is kept."""
        passed, wanted = [], torch.is_grad_enabled()
        # Those with a graph come first: autocast casts a weight once, with a graph or without.
        with self.arithmetic():
            for index in range(len(self.micro_batches)):
                with torch.set_grad_enabled(wanted and index < self.kept):
                    passed.append(self.vectors(index))
        return passed

    def second_pass(self, first: list[Tensor], gradient: Tensor) -> None:
        """Backpropagate the gradient [all rows, D] of the vectors into the weights."""
        pieces = torch.split(gradient, [len(part) for part in first])
        with self.arithmetic():
            for index, (part, piece) in enumerate(zip(first, pieces, strict=True)):
                vectors = part if index < self.kept else self.vectors(index)
                if vectors.requires_grad:
                    vectors.backward(piece.to(vectors.dtype))  # type: ignore[no-untyped-call]


def sides_of(run: Run, batch: Batch) -> tuple[Side, Side]:
    """The text side and the image side of a batch."""
    model, most = run.task.model, run.task.options.micro_batch
    seed = (run.task.options.seed, run.step, run.processes.rank)
    kind = model.device.type

    def arithmetic() -> AbstractContextManager[None]:
        return of_the_tower(kind, run.dtype)

    text_side = Side(
        model.encode_tokens, batch.chunks, (*seed, 0),
        kept=kept_chunks(
            batch.chunks, most, token_limit(model.text_tower, model.device), model.computed_length
        ),
        arithmetic=arithmetic,
    )  # fmt: skip
    trains_images = any(value.requires_grad for value in model.image_tower.parameters())
    if batch.pictures is None:
        encode = partial(encode_features, run)
        return text_side, Side(encode, [batch.features], (*seed, 1), 1, trains_images)
    at_once = min(PICTURES_AT_ONCE, most or PICTURES_AT_ONCE)
    pictures = [batch.pictures[a : a + at_once] for a in range(0, len(batch.pictures), at_once)]
    whole = len(batch.pictures) <= (most or PLAIN_PICTURES)
    return text_side, Side(
        partial(encode_pictures, run), pictures or [[]], (*seed, 1),
        kept=max(1, len(pictures)) if whole else 0,
        arithmetic=arithmetic,
    )  # fmt: skip


def token_limit(tower: nn.Module, device: torch.device) -> int:
    """Tokens whose graph may be kept: on a GPU what fits into half of its free memory."""
    usual = KEPT_TOKENS.get(device.type, KEPT_TOKENS_ELSEWHERE)
    if device.type != "cuda":
        return usual
    free, _ = torch.cuda.mem_get_info(device)
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    matrices = [value.shape for value in tower.parameters() if value.ndim == 2]
    numbers = sum(sum(shape) for shape in matrices if max(shape) < NO_MATRIX)
    return min(usual, int((free + held) / 2 / (BYTES_A_NUMBER * max(numbers, 1))))


def kept_chunks(
    chunks: Sequence[Tensor], most: int | None, limit: int, computed_length: Callable[[int], int]
) -> int:
    """How many of the first chunks keep their graph.

    Args:
        chunks: token ids [n, length] each.
        most: what --micro-batch says: no more texts than that keep it.
        limit: tokens in all, as the tower computes them.
        computed_length: from the length of a chunk to the tokens of each of its texts in the tower.
    """
    if most is not None:
        return len(chunks) if sum(map(len, chunks)) <= most else 0
    tokens = np.cumsum([len(chunk) * computed_length(chunk.shape[1]) for chunk in chunks])
    return int(np.searchsorted(tokens, limit, side="right"))


def encode_features(run: Run, features: Tensor) -> Tensor:
    """Unit image vectors [k, D] of frozen features [k, F]."""
    model = run.task.model
    if run.task.objective.weights[0] and len(features):
        return model.project_images(features)
    return model.logit_scale.new_zeros(len(features), model.architecture.embed_dim)


def encode_pictures(run: Run, names: list[str]) -> Tensor:
    """Unit image vectors [k, D] of pictures, which are decoded first.

    Raises:
        UserError: a picture is missing or broken.
    """
    model, pixels, began = run.task.model, [], time.perf_counter()
    for _, found in read_pictures(model, names):
        if isinstance(found, UserError):
            raise found
        pixels.append(found)
    run.waited += time.perf_counter() - began
    if not pixels:
        return model.logit_scale.new_zeros(0, model.architecture.embed_dim)
    stacked = torch.stack(pixels).to(model.device, model.logit_scale.dtype)
    return model.project_images(model.embed_pixels(stacked))


@contextmanager
def of_the_tower(kind: str, dtype: torch.dtype | None) -> Iterator[None]:
    """The text tower's arithmetic: half precision where wanted.

    On a processor, attention as plain matrix products. Fused attention saves the
    length-by-length matrix, which is nothing at 15 tokens, and its backward pass took a third of
    the whole step there.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.autocast(kind, dtype, enabled=dtype is not None))
        if kind == "cpu":
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield


def together(parts: Sequence[Tensor]) -> Tensor:
    """Vectors of all micro-batches without graph, in float32 or wider."""
    vectors = torch.cat([part.detach() for part in parts])
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32))


def mixed(*numbers: int) -> int:
    """One seed of several numbers, such that near numbers give unlike seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
