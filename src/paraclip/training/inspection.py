"""Records of failed steps, and geometry of the vectors of a fixed sample of rows.

Falling losses do not show whether paraphrases move closer (alignment), whether the texts collapse
(uniformity), or whether a picture stays closer to its own text than to any other (margin).
"""

import json
import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paraclip.errors import UserError
from paraclip.files import write_text
from paraclip.models.tensors import hash_tensors
from paraclip.provenance import provenance
from paraclip.training.batches import Batch
from paraclip.training.folder import write_tensors
from paraclip.training.run import Run
from paraclip.training.tokens import Integers
from paraclip.training.towers import sides_of

HINT = "Lower --learning-rate or use --precision fp32; look at {file}."


class StepFailed(Exception):
    """A step with a non-finite value or a diverged loss; it changed no weights.

    Args:
        what: the failure, as a clause.
        figures: values of the step, by name.
    """

    def __init__(self, what: str, figures: Mapping[str, float]) -> None:
        super().__init__(what)
        self.what, self.figures = what, dict(figures)


def keep_for_inspection(run: Run, rows: Integers, folder: Path, failure: StepFailed) -> UserError:
    """Save the batch of a failed step, and return an error that names the file.

    `inspect/step-N.json` holds the rows with their ids and texts, the hash of the weights, the
    values of the step, and the names of non-finite weights and gradients. `step-N.safetensors` in
    the same folder holds the token ids, features and rows.

    Args:
        run: run of the step; its first process writes the files.
        rows: rows of the batch [B].
        folder: folder of the run.
        failure: the failure.
    """
    step = run.step + 1
    path = folder / "inspect" / f"step-{step}.json"
    describe = run.task.describe
    record = {
        "step": step,
        "what": failure.what,
        "figures": {name: repr(value) for name, value in failure.figures.items()},
        "weights": hash_tensors(run.task.model.state_dict()),
        "not_finite": not_finite(run),
        "rows": describe(rows) if describe else [{"row": int(row)} for row in rows],
    }
    if run.processes.first:
        write_tensors(path.with_suffix(".safetensors"), batch_tensors(run, rows), {"step": step})
        facts: dict[str, Any] = provenance(identity=run.identity, inspection=record)
        write_text(path, json.dumps(facts, indent=1, ensure_ascii=False, default=str) + "\n")
    run.processes.wait()  # a process that exits stops the others, even during a write
    return UserError(f"step {step}", failure.what, HINT.format(file=path))


def batch_tensors(run: Run, rows: Integers) -> dict[str, Tensor]:
    """Return all tensors of the batch that are inputs of the towers."""
    batch = run.task.examples.batch(rows)
    chunks = {f"tokens.{index}": chunk for index, chunk in enumerate(batch.chunks)}
    own = {"rows": torch.from_numpy(rows), "restore": batch.restore, "features": batch.features}
    return chunks | own


def not_finite(run: Run) -> dict[str, list[str]]:
    """Return the names of trained weights, and of gradients, that contain NaN or infinity."""
    weights, gradients = [], []
    for name, value in run.task.model.named_parameters():
        if not value.requires_grad:
            continue
        if not bool(torch.isfinite(value).all()):
            weights.append(name)
        if value.grad is not None and not bool(torch.isfinite(value.grad).all()):
            gradients.append(name)
    return {"weights": weights, "gradients": gradients}


MOST_ROWS = 512


def alignment(a: Tensor, b: Tensor) -> float:
    """Return the mean squared distance between texts and paraphrases; 0 for equal vectors.

    mean over i of |a_i - b_i|^2

    Args:
        a: unit vectors [N, D].
        b: unit vectors [N, D]; row i is the positive of row i.

    Source: Wang & Isola 2020, section 4.1, L_align with alpha = 2.
    """
    return float((a - b).square().sum(1).mean())


def uniformity(vectors: Tensor) -> float:
    """Return how uniformly vectors cover the sphere; lower is more uniform, 0 if all are equal.

    log of the mean over pairs i < j of exp(-2 |x_i - x_j|^2)

    Args:
        vectors: unit vectors [N, D], N at least 2.

    Source: Wang & Isola 2020, section 4.1, L_uniform with t = 2.
    """
    squared = torch.pdist(vectors.double()).square()  # [N (N - 1) / 2]
    return float(torch.logsumexp(-2 * squared, 0)) - math.log(len(squared))


def margin(images: Tensor, texts: Tensor, false_negatives: Tensor | None = None) -> float:
    """Return the mean of each picture's similarity to its text minus that to the nearest other.

    Args:
        images: unit vectors [K, D].
        texts: unit vectors [K, D]; row i belongs to picture i.
        false_negatives: bool [K, K], True where a text is not a negative of a picture; False on
            the diagonal.

    Returns:
        The mean margin, positive if pictures are closest to their own text; NaN without other
        texts.
    """
    similarity = images.double() @ texts.double().T  # [K, K]
    own = similarity.diagonal().clone()
    similarity.fill_diagonal_(-torch.inf)
    if false_negatives is not None:
        similarity.masked_fill_(false_negatives, -torch.inf)
    nearest = similarity.max(1).values
    found = torch.isfinite(nearest)
    return float((own - nearest)[found].mean())


def watched_rows(run: Run) -> Integers:
    """Return a fixed sample of held-out rows, or of training rows if none are held out."""
    rows = run.held_out if len(run.held_out) > 1 else run.learn
    chosen = np.random.default_rng([run.task.options.seed, 0x9E0]).permutation(len(rows))
    return rows[np.sort(chosen[:MOST_ROWS])]


@torch.no_grad()
def geometry(run: Run) -> dict[str, float]:
    """Return `alignment`, `uniformity` and `margin` of the watched rows, where defined.

    Alignment is the mean over adjacent texts in (caption, paraphrase_1, paraphrase_2), of those
    that the run uses; uniformity is that of the last one; the margin is that of the texts in L1.
    """
    batch = run.task.examples.batch(watched_rows(run)).to(run.device)
    run.task.model.eval()
    texts, images = (torch.cat(side.first_pass()).float() for side in sides_of(run, batch))
    run.train_mode()
    names = run.task.examples.names
    own = texts.index_select(0, batch.restore)[: len(names) * batch.size]
    every = own.view(len(names), batch.size, -1)  # [T, B, D]
    figures = {"uniformity": uniformity(every[-1])}
    if len(names) > 1:
        near = [alignment(a, b) for a, b in pairwise(every)]
        figures["alignment"] = sum(near) / len(near)
    if run.task.objective.weights[0] and len(images) > 1:
        by_name = dict(zip(names, every, strict=True))
        shown = [by_name[name] for name in run.task.objective.image_loss_on]
        figures["margin"] = mean_margin(images, shown, batch)
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def mean_margin(images: Tensor, shown: list[Tensor], batch: Batch) -> float:
    """Return the mean margin over the texts in L1; rows that share a text or picture are masked."""
    chosen = batch.rows.with_image
    false_negatives = None
    if batch.rows.false_negatives is not None:
        mask = batch.rows.false_negatives.dense()[:, : batch.size].to(images.device)
        false_negatives = mask[chosen][:, chosen]
    found = [margin(images, texts[chosen], false_negatives) for texts in shown]
    return sum(found) / len(found)
