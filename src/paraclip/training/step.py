"""One training step, top to bottom: forward, losses, cached gradients, clipping, AdamW.

A batch has B rows, b of them this process's own, T texts a row, m hard negatives, k rows with a
picture; vectors have width D.

    token chunks --text tower--> texts [T * b + m, D] --+
    cached features [k, F] --projection--> [k, D] ------+--> L1, L2, L3 --> gradients --> AdamW
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from paraclip.training.batches import Batch
from paraclip.training.inspection import StepFailed
from paraclip.training.losses.objective import Vectors, pairs_of, three_losses, weighted_sum
from paraclip.training.metrics import trouble
from paraclip.training.optimizer import learning_rate_share, set_learning_rates
from paraclip.training.processes import ALONE, Processes
from paraclip.training.recipes import decided
from paraclip.training.run import Run
from paraclip.training.tokens import Integers
from paraclip.training.towers import Side, sides_of, together


def take_step(run: Run, batch: Batch) -> dict[str, float]:
    """One batch: losses, gradients, AdamW. Returns the figures to log.

    Raises:
        StepFailed: a figure is not a number, or the loss diverged; no weight is changed then.
    """
    task, options = run.task, run.task.options
    share = learning_rate_share(run.step, run.total_steps, options.warmup)
    set_learning_rates(run.optimizer, share)
    losses = learn_from(run, batch)  # scalars; every weight has its gradient now
    loss = weighted_sum(losses, task.objective)
    weights = run.weights.values()
    norm = get_total_norm([value.grad for value in weights if value.grad is not None])
    figures = {name: float(value) for name, value in losses.items()}
    figures |= {"loss": float(loss), "gradient_norm": float(norm)}
    figures["learning_rate"] = decided(options.learning_rate) * share
    chance = sum(task.objective.weights) * math.log(max(len(batch.numbers), 2))
    wrong = trouble(run.course, task.settings.divergence, figures, chance)
    if wrong:
        raise StepFailed(wrong, figures)  # before clipping, which would spread a NaN
    clip_grads_with_norm_(weights, options.clip_norm, norm)
    run.optimizer.step()
    run.optimizer.zero_grad()
    run.temperatures.clamp()
    return {**figures, "logit_scale": float(task.model.logit_scale.detach())}


def learn_from(run: Run, batch: Batch) -> dict[str, Tensor]:
    """Add the gradient of the weighted losses to every weight's `.grad`.

    With several processes each computes its share, and the shares are summed.

    Returns:
        L1, L2, L3 of the whole batch, each a scalar without graph.
    """
    values: dict[str, Tensor] = {}

    def loss_of(texts: Tensor, images: Tensor) -> Tensor:  # [T * b + m, D], [k, D]
        losses = losses_of(run, batch, texts, images, run.processes)
        values.update({name: loss.detach() for name, loss in losses.items()})
        return weighted_sum(losses, run.task.objective)

    backward(sides_of(run, batch), loss_of)
    # A weight that took no part has a gradient of zero, with one process as with several.
    weights = run.weights.values()
    gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
    run.processes.add_up([*values.values(), *gradients])
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient
    return values


def backward(sides: Sequence[Side], loss_of: Callable[..., Tensor]) -> None:
    """Add the gradient of a loss over all vectors to the `.grad` of every weight.

    Memory beyond model and optimizer: the graph of one micro-batch, and O(B D) for the vectors and
    their gradients; B x B similarities never exist at once (`losses/contrast.py`).

    Args:
        sides: the two sides of a batch.
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
    ordered = texts.index_select(0, batch.restore)  # [T * b + m, D]
    own = ordered[: len(names) * batch.size].view(len(names), batch.size, -1)  # [T, b, D]
    together = processes.gather(own.transpose(0, 1).flatten(1), sizes.rows)  # [B, T * D]
    by_name = dict(zip(names, together.chunk(len(names), dim=1), strict=True))  # [B, D] each
    negatives = None
    if sum(sizes.negatives):
        negatives = processes.gather(ordered[len(names) * batch.size :], sizes.negatives)  # [M, D]
    return Vectors(processes.gather(images, sizes.images), by_name, negatives)


@torch.no_grad()
def batch_losses(run: Run, batch: Batch) -> dict[str, Tensor]:
    """L1, L2, L3 of a batch that one process holds whole, each a scalar without graph."""
    texts, images = vectors_of(run, batch)
    return losses_of(run, batch, texts, images, ALONE)


def vectors_of(run: Run, batch: Batch) -> list[Tensor]:
    """Text vectors and image vectors of a batch, chunk after chunk, in float32 or wider."""
    return [together(side.first_pass()) for side in sides_of(run, batch)]


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
