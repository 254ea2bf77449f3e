"""One training step, from top to bottom: forward, losses, cached gradients, clipping, AdamW.

A batch has B rows, b of which belong to this process, T texts per row, m hard negatives, and k rows
with a picture; vectors have width D.

    token chunks --text tower--> texts [T * b + m, D] --+
    cached features [k, F] --projection--> [k, D] ------+--> L1, L2, L3 --> gradients --> AdamW

A contrastive loss couples all rows of a batch, but only through their vectors. A step therefore
needs the graph of only one micro-batch at a time:

    pass 1   micro-batch by micro-batch, no graph     -> vectors [B, D]
    pass 2   micro-batch by micro-batch, with graph   <- gradient of the vectors [B, D]

If memory allows, the first micro-batches keep the graph of pass 1 and skip pass 2. Dropout must be
equal in both passes: every micro-batch has its own seed, derived from the run's seed, the step, the
process and its index. No random state has to be saved.

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
"""Maximum number of tokens in a step whose graph is kept, unless --micro-batch limits it: about
5 GB in the text tower of ViT-B/32, and 1,280 captions of the usual length."""
KEPT_TOKENS_ELSEWHERE = 131_072
BYTES_A_NUMBER = 2.5
"""Bytes of a kept graph per input or output of a weight matrix: 5 GB for 20,480 tokens of ViT-B/32
in bf16."""
NO_MATRIX = 20_000  # minimum number of rows at which a table counts as embeddings
PICTURES_AT_ONCE = 32
PLAIN_PICTURES = 256
"""The same for pictures, if the image tower is trained: 5 GB in that of ViT-B/32."""


def take_step(run: Run, batch: Batch) -> dict[str, float]:
    """Process one batch: losses, gradients, AdamW. Returns the figures to log.

    Raises:
        StepFailed: a figure is not a number, or the loss diverged; no weight has changed.
    """
    share = learning_rate_share(run.step, run.total_steps, run.options.warmup)
    set_learning_rates(run.optimizer, share)
    losses = learn_from(run, batch)  # scalars; every weight now has its gradient
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

    With several processes, each computes its share, and the shares are summed.

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
    # A weight that was not used has a gradient of zero, with one process as with several.
    weights = run.weights.values()
    gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
    run.processes.add_up([*values.values(), *gradients])
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient
    return values


@dataclass(frozen=True)
class Side:
    """Computation of the vectors of one side, texts or images."""

    encode: Callable[[Any], Tensor]  # maps a micro-batch to its vectors [n, D]
    micro_batches: Sequence[Any]  # inputs of `encode`; at least one
    seed: tuple[int, ...]  # numbers that are unique to this side, step and process of the run
    # number of first micro-batches that keep the graph of pass 1 and therefore skip the second
    # forward pass
    kept: int
    trained: bool = True  # whether any weight needs the gradient of these vectors
    # context in which `encode` computes (its precision)
    arithmetic: Callable[[], AbstractContextManager[Any]] = nullcontext

    def vectors(self, index: int) -> Tensor:
        """Vectors of a micro-batch, with the same dropout at every call."""
        torch.manual_seed(mixed(*self.seed, index))
        return self.encode(self.micro_batches[index])

    def first_pass(self) -> list[Tensor]:
        """Vectors of each micro-batch, with a graph only for those that keep it."""
        passed, wanted = [], torch.is_grad_enabled()
        # Those with a graph come first: autocast casts a weight once, with or without a graph.
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

    Memory in addition to model and optimizer: the graph of one micro-batch, and O(B D) for the
    vectors and their gradients; there is no B x B matrix (`losses/contrast.py`).

    Args:
        loss_of: maps each side's vectors [its rows, D], in the order of its micro-batches, to a
            scalar. Parameters that it uses itself (the temperature) also get their gradients.
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
    batch: Batch,  # part of this process
    texts: Tensor,  # its text vectors [T * b + m, D], chunk by chunk
    images: Tensor,  # its image vectors [k, D]
    names: Sequence[str],  # names of the T texts
    processes: Processes,  # processes with the other parts
) -> Vectors:
    """The vectors of the whole batch, gathered from all processes."""
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
    """Vectors, without graph, of a batch that one process holds completely."""
    texts, images = (together(side.first_pass()) for side in sides_of(run, batch))
    return gathered(batch, texts, images, run.examples.names, ALONE)


@torch.no_grad()
def start_biases(run: Run, rows: Integers) -> None:
    """If the loss has biases, initialise them from the vectors of the first batch.

    A loss that has fewer than two pairs in this batch starts from the first pairs of all rows.
    """
    if not run.temperatures.biases:
        return
    for some in (*rows_with_pairs(run, len(rows)), rows):  # the first batch overrides the others
        batch = run.examples.batch(some).to(run.device)
        pairs = pairs_of(encode_whole(run, batch), batch.rows, run.objective)
        run.temperatures.start_biases(pairs, len(rows))


def rows_with_pairs(run: Run, most: int) -> list[Integers]:
    """The first training rows, at most `most`, that take part in L1, in L2 and in L3."""
    caption, paraphrase_1, paraphrase_2 = run.examples.text_keys[:, run.learn]  # [rows] each
    has_image = run.examples.has_image[run.learn]
    parts = (has_image, caption != paraphrase_1, paraphrase_1 != paraphrase_2)
    return [run.learn[chosen][:most] for chosen in parts if chosen.any()]


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
    """Maximum number of tokens whose graph is kept: on a GPU, what fits half of its free memory."""
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
    """Number of first chunks that keep their graph.

    Args:
        chunks: token ids [n, length] of each chunk.
        most: maximum number of texts that keep it, from --micro-batch.
        limit: maximum total number of tokens, as computed by the tower.
        computed_length: maps the length of a chunk to the tokens per text in the tower.
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
    """Unit image vectors [k, D] of pictures, which are first decoded."""
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
    """Use half precision if selected.

    On a processor, compute attention as plain matrix products. Fused attention saves memory for the
    length-by-length matrix, which is small at 15 tokens, and its backward pass took a third of the
    whole step there.
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
    """One seed from several numbers; similar numbers give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
