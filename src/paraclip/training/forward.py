"""From a batch to its losses and their gradients: towers, gathering, objective."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from paraclip.errors import UserError
from paraclip.models.features import read_pictures
from paraclip.training.batches import Batch, epoch_batches
from paraclip.training.grad_cache import Side, backward, together
from paraclip.training.losses.objective import Vectors, pairs_of, three_losses, weighted_sum
from paraclip.training.processes import ALONE, Processes
from paraclip.training.run import Run
from paraclip.training.tokens import Integers

KEPT_TOKENS = {"cpu": 20_480}
"""Tokens of a step whose graph is kept, unless --micro-batch says otherwise: about 5 GB in the
text tower of ViT-B/32, and 1,280 captions of the usual length."""
KEPT_TOKENS_ELSEWHERE = 131_072
BYTES_A_NUMBER = 2.5
"""Of a kept graph, for each number that goes into or out of a weight matrix: 5 GB for 20,480 tokens
of ViT-B/32 in bf16."""
NO_MATRIX = 20_000  # rows from which on a table is one of embeddings
DAMPINGS = (1.0, 2.0**-6, 2.0**-12)
"""Of fp16: where a gradient overflows in the tower it is taken again, this much smaller."""
PICTURES_AT_ONCE = 32
PLAIN_PICTURES = 256
"""The same for pictures, where the image tower is trained: 5 GB in that of ViT-B/32."""


def learn_from(run: Run, batch: Batch) -> dict[str, Tensor]:
    """Add the gradient of the weighted losses to every weight's `.grad`.

    With several processes each makes its part, and the parts are summed.

    Returns:
        L1, L2, L3 of the whole batch, each a scalar without graph.
    """
    *tries, last = DAMPINGS if run.dtype == torch.float16 else (1.0,)
    for damping in tries:
        found = gradients_of(run, batch, damping)
        gradients = [weight.grad for weight in run.weights.values() if weight.grad is not None]
        if all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
            return found
        run.optimizer.zero_grad()
    return gradients_of(run, batch, last)


def gradients_of(run: Run, batch: Batch, damping: float) -> dict[str, Tensor]:
    """One try of `learn_from`."""
    found: dict[str, Tensor] = {}

    def loss_of(texts: Tensor, images: Tensor) -> Tensor:
        losses = losses_of(run, batch, texts, images, run.processes)
        found.update({name: value.detach() for name, value in losses.items()})
        return weighted_sum(losses, run.task.objective)

    backward(sides_of(run, batch, damping), loss_of)
    # A weight that took no part has a gradient of zero, with one process as with several.
    gradients = [
        torch.zeros_like(weight) if weight.grad is None else weight.grad
        for weight in run.weights.values()
    ]
    run.processes.add_up([*found.values(), *gradients])
    for weight, gradient in zip(run.weights.values(), gradients, strict=True):
        weight.grad = gradient
    return found


@torch.no_grad()
def batch_losses(run: Run, batch: Batch) -> dict[str, Tensor]:
    """L1, L2, L3 of a batch that one process holds whole, each a scalar without graph."""
    texts, images = vectors_of(run, batch)
    return losses_of(run, batch, texts, images, ALONE)


def losses_of(
    run: Run, batch: Batch, texts: Tensor, images: Tensor, processes: Processes
) -> dict[str, Tensor]:
    """This process's share of the losses, with gradients to its own vectors."""
    vectors = gathered(run, batch, texts, images, processes)
    objective = run.task.objective
    return three_losses(vectors, run.temperatures, batch.rows, objective, processes.share)


def gathered(
    run: Run, batch: Batch, texts: Tensor, images: Tensor, processes: Processes
) -> Vectors:
    """The vectors of the whole batch.

    Args:
        run: whose texts they are.
        batch: this process's part.
        texts: its text vectors [T * b + m, D], chunk after chunk.
        images: its image vectors [k, D].
        processes: that hold the other parts.
    """
    names, sizes = run.task.examples.names, batch.sizes
    ordered = texts.index_select(0, batch.restore)
    own = ordered[: len(names) * batch.size].view(len(names), batch.size, -1)  # [T, b, D]
    together = processes.gather(own.transpose(0, 1).flatten(1), sizes.rows)  # [B, T * D]
    by_name = dict(zip(names, together.chunk(len(names), dim=1), strict=True))  # [B, D] each
    negatives = None
    if sum(sizes.negatives):
        negatives = processes.gather(ordered[len(names) * batch.size :], sizes.negatives)  # [M, D]
    return Vectors(processes.gather(images, sizes.images), by_name, negatives)


@torch.no_grad()
def start_biases(run: Run, rows: Integers) -> None:
    """Where the loss has biases, set them by the vectors of the first batch."""
    if not run.temperatures.biases:
        return
    batch = run.task.examples.batch(rows).to(run.device)
    texts, images = vectors_of(run, batch)
    vectors = gathered(run, batch, texts, images, ALONE)
    pairs = pairs_of(vectors, batch.rows, run.task.objective)
    run.temperatures.start_biases(pairs, len(rows))


def vectors_of(run: Run, batch: Batch) -> list[Tensor]:
    """Text vectors and image vectors of a batch, chunk after chunk, in float32 or wider."""
    return [together(side.first_pass()) for side in sides_of(run, batch)]


def sides_of(run: Run, batch: Batch, damping: float = 1.0) -> tuple[Side, Side]:
    """What makes the text vectors and what makes the image vectors of a batch."""
    model, most = run.task.model, run.task.options.micro_batch
    seed = (run.task.options.seed, run.step, run.processes.rank)
    kind = model.device.type
    halved = run.dtype == torch.float16

    def arithmetic() -> AbstractContextManager[None]:
        return of_the_tower(kind, run.dtype)

    text_side = Side(
        model.encode_tokens, batch.chunks, (*seed, 0),
        kept=kept_chunks(
            batch.chunks, most, token_limit(model.text_tower, model.device), model.computed_length
        ),
        arithmetic=arithmetic,
        magnified=list(model.text_tower.parameters()) if halved else (),
        damping=damping,
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
        magnified=list(model.image_tower.parameters()) if halved else (),
        damping=damping,
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
    """Unit image vectors [k, D] of pictures, decoded here and now.

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


def held_out_losses(run: Run) -> dict[str, float]:
    """Mean of each loss over the held-out rows, in the same batches every time, no dropout."""
    options = run.task.options
    batches = epoch_batches(run.held_out, options.batch_size, options.seed, 0)
    run.task.model.eval()
    sums: dict[str, float] = {}
    for rows in batches:
        losses = batch_losses(run, run.task.examples.batch(rows).to(run.device))
        losses["loss"] = weighted_sum(losses, run.task.objective)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value) / len(batches)
    run.train_mode()
    return sums
