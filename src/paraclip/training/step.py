"""One training step, top to bottom: forward, losses, cached gradients, clipping, AdamW.

A batch has B rows, b of them this process's own, T texts a row, m hard negatives, k rows with a
picture; vectors have width D.

    token chunks --text tower--> texts [T * b + m, D] --+
    cached features [k, F] --projection--> [k, D] ------+--> L1, L2, L3 --> gradients --> AdamW

A contrastive loss couples all rows of a batch, but only through their vectors. So a step needs the
graph of one micro-batch at a time:

    pass 1   micro-batch by micro-batch, no graph     -> vectors [B, D]
    pass 2   micro-batch by micro-batch, with graph   <- gradient of the vectors [B, D]

Where there is memory to spare, the first micro-batches keep the graph of pass 1 and skip pass 2.
Dropout must be the same in both passes: every micro-batch has a seed of its own, made of the run's
seed, the step, the process and its index. So no random state has to be saved.

Source: GradCache, Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory
Limited Setup", section 3.
"""

import math
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
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from paraclip.errors import UserError
from paraclip.models.features import read_pictures
from paraclip.training.examples import Batch
from paraclip.training.losses.contrast import Integers
from paraclip.training.losses.objective import Vectors, pairs_of, three_losses, weighted_sum
from paraclip.training.metrics import trouble
from paraclip.training.optimizer import learning_rate_share, set_learning_rates
from paraclip.training.processes import ALONE, Processes
from paraclip.training.run import Run, StepFailed

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


def take_step(run: Run, batch: Batch) -> dict[str, float]:
    """One batch: losses, gradients, AdamW. Returns the figures to log.

    Raises:
        StepFailed: a figure is not a number, or the loss diverged; no weight is changed then.
    """
    share = learning_rate_share(run.step, run.total_steps, run.options.warmup)
    set_learning_rates(run.optimizer, share)
    losses = learn_from(run, batch)  # scalars; every weight has its gradient now
    weights = run.weights.values()
    norm = get_total_norm([value.grad for value in weights if value.grad is not None])
    figures = {name: float(value) for name, value in losses.items()}
    figures |= {"loss": float(weighted_sum(losses, run.objective)), "gradient_norm": float(norm)}
    figures["learning_rate"] = run.optimizer.defaults["lr"] * share
    chance = sum(run.objective.weights) * math.log(max(len(batch.numbers), 2))
    wrong = trouble(run.course, run.settings.divergence, figures, chance)
    if wrong:
        raise StepFailed(wrong, figures)  # before clipping, which would spread a NaN
    clip_grads_with_norm_(weights, run.options.clip_norm, norm)
    run.optimizer.step()
    run.optimizer.zero_grad()
    run.temperatures.clamp()
    return {**figures, "logit_scale": float(run.model.logit_scale.detach())}


def learn_from(run: Run, batch: Batch) -> dict[str, Tensor]:
    """Add the gradient of the weighted losses to every weight's `.grad`.

    With several processes each computes its share, and the shares are summed.

    Returns:
        L1, L2, L3 of the whole batch, each a scalar without graph.
    """
    values: dict[str, Tensor] = {}

    def loss_of(texts: Tensor, images: Tensor) -> Tensor:  # [T * b + m, D], [k, D]
        vectors = gathered(batch, texts, images, run.examples.names, run.processes)  # [B, D] each
        share = run.processes.share
        losses = three_losses(vectors, run.temperatures, batch.rows, run.objective, share)
        values.update({name: loss.detach() for name, loss in losses.items()})
        return weighted_sum(losses, run.objective)

    backward(sides_of(run, batch), loss_of)
    # A weight that took no part has a gradient of zero, with one process as with several.
    weights = run.weights.values()
    gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
    run.processes.add_up([*values.values(), *gradients])
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient
    return values


@dataclass(frozen=True)
class Side:
    """How the vectors of one side, texts or images, are computed."""

    encode: Callable[[Any], Tensor]  # from a micro-batch to its vectors [n, D]
    micro_batches: Sequence[Any]  # whatever `encode` takes; at least one
    seed: tuple[int, ...]  # numbers that no other side, step or process of the run has together
    # how many of the first micro-batches keep the graph of pass 1, and so need no second forward
    # pass
    kept: int
    trained: bool = True  # whether any weight needs the gradient of these vectors
    # a context in which `encode` computes: its precision
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


def backward(sides: Sequence[Side], loss_of: Callable[..., Tensor]) -> None:
    """Add the gradient of a loss over all vectors to the `.grad` of every weight.

    Memory beyond model and optimizer: the graph of one micro-batch, and O(B D) for the vectors and
    their gradients; B x B similarities never exist at once (`losses/contrast.py`).

    Args:
        loss_of: from each side's vectors [its rows, D], in the order of its micro-batches, to a
            scalar. What it holds itself (the temperature) gets its gradient as well.
    """
    first = [side.first_pass() for side in sides]  # micro-batches [n, D], without graph
    leaves = [
        together(parts).requires_grad_(side.trained)  # [its rows, D]
        for side, parts in zip(sides, first, strict=True)
    ]
    loss_of(*leaves).backward()  # type: ignore[no-untyped-call]
    for side, parts, leaf in zip(sides, first, leaves, strict=True):
        if leaf.grad is not None:  # [its rows, D]
            side.second_pass(parts, leaf.grad)


def gathered(
    batch: Batch,  # this process's part
    texts: Tensor,  # its text vectors [T * b + m, D], chunk after chunk
    images: Tensor,  # its image vectors [k, D]
    names: Sequence[str],  # names of the T texts
    processes: Processes,  # that hold the other parts
) -> Vectors:
    """The vectors of the whole batch, from those of every process's part."""
    kinds, sizes = len(names), batch.sizes
    ordered = texts.index_select(0, batch.restore)  # [T * b + m, D]
    own = ordered[: kinds * batch.size].view(kinds, batch.size, -1)  # [T, b, D]
    every = processes.gather(own.transpose(0, 1).flatten(1), sizes.rows)  # [B, T * D]
    by_name = dict(zip(names, every.chunk(kinds, dim=1), strict=True))  # [B, D] each
    negatives = None
    if sum(sizes.negatives):
        negatives = processes.gather(ordered[kinds * batch.size :], sizes.negatives)  # [M, D]
    return Vectors(processes.gather(images, sizes.images), by_name, negatives, batch.base)


@torch.no_grad()
def encode_whole(run: Run, batch: Batch) -> Vectors:
    """Vectors without graph of a batch that one process holds whole."""
    texts, images = (together(side.first_pass()) for side in sides_of(run, batch))
    return gathered(batch, texts, images, run.examples.names, ALONE)


@torch.no_grad()
def start_biases(run: Run, rows: Integers) -> None:
    """Where the loss has biases, set them by the vectors of the first batch."""
    if run.temperatures.biases:
        batch = run.examples.batch(rows).to(run.device)
        pairs = pairs_of(encode_whole(run, batch), batch.rows, run.objective)
        run.temperatures.start_biases(pairs, len(rows))


def sides_of(run: Run, batch: Batch) -> tuple[Side, Side]:
    """The text side and the image side of a batch."""
    model, most = run.model, run.options.micro_batch
    seed = (run.options.seed, run.step, run.processes.rank)
    arithmetic = partial(arithmetic_of_towers, model.device.type, run.dtype)
    limit = token_limit(model.text_tower, model.device)
    kept = kept_chunks(batch.chunks, most, limit, model.computed_length)
    texts = Side(model.encode_tokens, batch.chunks, (*seed, 0), kept, arithmetic=arithmetic)
    if batch.pictures is None:
        trained = any(value.requires_grad for value in model.image_tower.parameters())
        encode = partial(encode_features, run)
        return texts, Side(encode, [batch.features], (*seed, 1), 1, trained)
    at_once = min(PICTURES_AT_ONCE, most or PICTURES_AT_ONCE)
    pictures = [batch.pictures[a : a + at_once] for a in range(0, len(batch.pictures), at_once)]
    kept = max(1, len(pictures)) if len(batch.pictures) <= (most or PLAIN_PICTURES) else 0
    encode = partial(encode_pictures, run)
    return texts, Side(encode, pictures or [[]], (*seed, 1), kept, arithmetic=arithmetic)


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
    if run.objective.weights[0] and len(features):
        return run.model.project_images(features)
    return run.model.logit_scale.new_zeros(len(features), run.model.architecture.embed_dim)


def encode_pictures(run: Run, names: list[str]) -> Tensor:
    """Unit image vectors [k, D] of pictures, which are decoded first."""
    model, pixels, began = run.model, [], time.perf_counter()
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
def arithmetic_of_towers(kind: str, dtype: torch.dtype | None) -> Iterator[None]:
    """Half precision where wanted.

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
