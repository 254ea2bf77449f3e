"""From a batch to its losses: the text tower in chunks, the image projection, the objective."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from paraclip.models.encoder import DualEncoder
from paraclip.training.batches import Batch, epoch_batches
from paraclip.training.losses import three_losses, weighted_sum
from paraclip.training.run import Run


def batch_losses(run: Run, batch: Batch) -> dict[str, Tensor]:
    """L1, L2, L3 of a batch, each a scalar with its graph."""
    task, model = run.task, run.task.model
    texts = text_vectors(model, batch, len(task.examples.names), run.half)  # [T, B, D]
    if task.objective.weights[0] and len(batch.features):
        images = model.project_images(batch.features)  # [K, D]
    else:
        images = texts.new_zeros(0, texts.shape[-1])  # [0, D]
    by_name = dict(zip(task.examples.names, texts, strict=True))  # [B, D] each
    return three_losses(images, by_name, model.logit_scale.exp(), batch.rows, task.objective)


def text_vectors(model: DualEncoder, batch: Batch, names: int, half: bool) -> Tensor:
    """Unit vectors [T, B, D] of all texts of a batch; each chunk is cut to its own longest."""
    kind = model.device.type
    with torch.autocast(kind, torch.bfloat16, enabled=half), attention_for_short_texts(kind):
        vectors = [model.encode_tokens(ids) for ids in batch.chunks]  # [n, D] each
    together = torch.cat(vectors)  # [T * B, D], sorted by length
    wide = together.to(torch.promote_types(together.dtype, torch.float32))
    return wide.index_select(0, batch.restore).view(names, batch.size, -1)


def attention_for_short_texts(kind: str) -> AbstractContextManager[None]:
    """On a processor, attention as plain matrix products.

    Fused attention saves the length-by-length matrix, which is nothing at 15 tokens, and its
    backward pass took a third of the whole step there.
    """
    if kind != "cpu":
        return nullcontext()
    return sdpa_kernel(SDPBackend.MATH)


@torch.no_grad()
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
