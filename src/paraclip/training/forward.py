"""From a batch to its losses and their gradients: towers, gathering, objective."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from paraclip.training.batches import Batch, epoch_batches
from paraclip.training.contrast import Warmth
from paraclip.training.grad_cache import Side, backward
from paraclip.training.losses import Vectors, three_losses, weighted_sum
from paraclip.training.processes import ALONE, Processes
from paraclip.training.run import Run

PLAIN_TEXTS = {"cpu": 1536}
"""Texts of a step whose graph is kept whole, unless --micro-batch says otherwise; with 16 tokens
a text they take about 6 GB in the text tower of ViT-B/32."""
PLAIN_TEXTS_ELSEWHERE = 8192


def learn_from(run: Run, batch: Batch) -> dict[str, Tensor]:
    """Add the gradient of the weighted losses to every weight's `.grad`.

    Returns:
        This process's part of L1, L2, L3, each a scalar without graph; the parts of all
        processes sum up to the losses, and their gradients to the gradient.
    """
    found: dict[str, Tensor] = {}

    def loss_of(texts: Tensor, images: Tensor) -> Tensor:
        losses = losses_of(run, batch, texts, images, run.processes)
        found.update({name: value.detach() for name, value in losses.items()})
        return weighted_sum(losses, run.task.objective)

    backward(sides_of(run, batch), loss_of)
    return found


@torch.no_grad()
def batch_losses(run: Run, batch: Batch) -> dict[str, Tensor]:
    """L1, L2, L3 of a batch that one process holds whole, each a scalar without graph."""
    vectors = [torch.cat(side.first_pass()) for side in sides_of(run, batch)]
    texts, images = (part.to(torch.promote_types(part.dtype, torch.float32)) for part in vectors)
    return losses_of(run, batch, texts, images, ALONE)


def losses_of(
    run: Run, batch: Batch, texts: Tensor, images: Tensor, processes: Processes
) -> dict[str, Tensor]:
    """This process's share of the losses, with gradients to its own vectors.

    Args:
        run: whose objective it is.
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
    pictures = processes.gather(images, sizes.images)  # [K, D]
    vectors = Vectors(pictures, by_name, negatives)
    objective = run.task.objective
    return three_losses(vectors, warmths(run), batch.rows, objective, processes.share)


def warmths(run: Run) -> dict[str, Warmth]:
    """Inverse temperature of each loss."""
    own = run.task.model.logit_scale.exp()
    fixed = run.task.objective.text_scale
    other = own if fixed is None else own.new_tensor(fixed)
    return {"L1": Warmth(own), "L2": Warmth(other), "L3": Warmth(other)}


def sides_of(run: Run, batch: Batch) -> tuple[Side, Side]:
    """What makes the text vectors and what makes the image vectors of a batch."""
    model, seed = run.task.model, (run.task.config.seed, run.step, run.processes.rank)
    kind = model.device.type
    texts = sum(len(chunk) for chunk in batch.chunks)
    micro_batch = run.task.config.micro_batch or PLAIN_TEXTS.get(kind, PLAIN_TEXTS_ELSEWHERE)

    def arithmetic() -> AbstractContextManager[None]:
        return of_the_tower(kind, run.dtype)

    def images(features: Tensor) -> Tensor:
        if run.task.objective.weights[0] and len(features):
            return model.project_images(features)
        return features.new_zeros(len(features), model.architecture.embed_dim)

    keep = texts <= micro_batch
    trains_images = any(value.requires_grad for value in model.image_tower.parameters())
    weights = list(model.text_tower.parameters()) if run.dtype == torch.float16 else []
    return (
        Side(model.encode_tokens, batch.chunks, (*seed, 0), keep, True, arithmetic, weights),
        Side(images, [batch.features], (*seed, 1), True, trains_images),
    )


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
    config = run.task.config
    batches = epoch_batches(run.held_out, config.batch_size, config.seed, 0)
    run.task.model.eval()
    sums: dict[str, float] = {}
    for rows in batches:
        losses = batch_losses(run, run.task.examples.batch(rows).to(run.device))
        losses["loss"] = weighted_sum(losses, run.task.objective)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value) / len(batches)
    run.train_mode()
    return sums
