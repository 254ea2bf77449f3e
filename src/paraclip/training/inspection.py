"""A step that went wrong is kept for inspection: its rows, its tensors, where the numbers broke."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from paraclip.errors import UserError
from paraclip.files import write_text
from paraclip.models.tensors import hash_tensors
from paraclip.provenance import provenance
from paraclip.training.run import Run
from paraclip.training.state import write_tensors
from paraclip.training.tokens import Integers

HINT = "Lower --learning-rate or use --precision fp32; look at {file}."


class WentWrong(Exception):
    """A step whose figures are no numbers or have run away; no weight has been changed by it.

    Args:
        what: in words.
        figures: of the step.
    """

    def __init__(self, what: str, figures: Mapping[str, float]) -> None:
        super().__init__(what)
        self.what, self.figures = what, dict(figures)


def kept_for_inspection(run: Run, rows: Integers, folder: Path, found: WentWrong) -> UserError:
    """Write the batch of a step that went wrong, and the error that names the file.

    `inspect/step-N.json` holds the rows with their ids and texts, the hash of the weights, the
    figures, and which weights and gradients are not finite; `step-N.safetensors` beside it the
    token ids, features and rows.

    Args:
        run: whose step it is; its first process writes.
        rows: of the batch [B].
        folder: of the run.
        found: what went wrong.
    """
    step = run.step + 1
    path = folder / "inspect" / f"step-{step}.json"
    describe = run.task.describe
    record = {
        "step": step,
        "what": found.what,
        "figures": {name: repr(value) for name, value in found.figures.items()},
        "weights": hash_tensors(run.task.model.state_dict()),
        "not_finite": not_finite(run),
        "rows": describe(rows) if describe else [{"row": int(row)} for row in rows],
    }
    if run.processes.first:
        write_tensors(path.with_suffix(".safetensors"), batch_tensors(run, rows), {"step": step})
        facts: dict[str, Any] = provenance(identity=run.identity, inspection=record)
        write_text(path, json.dumps(facts, indent=1, ensure_ascii=False, default=str) + "\n")
    run.processes.wait()  # the first that ends stops the others, also in the middle of a write
    return UserError(f"step {step}", found.what, HINT.format(file=path))


def batch_tensors(run: Run, rows: Integers) -> dict[str, Tensor]:
    """Everything of the batch that went into the towers."""
    batch = run.task.examples.batch(rows)
    chunks = {f"tokens.{place}": chunk for place, chunk in enumerate(batch.chunks)}
    own = {"rows": torch.from_numpy(rows), "restore": batch.restore, "features": batch.features}
    return chunks | own


def not_finite(run: Run) -> dict[str, list[str]]:
    """Names of trained weights, and of gradients, that hold NaN or infinity."""
    weights, gradients = [], []
    for name, value in run.task.model.named_parameters():
        if not value.requires_grad:
            continue
        if not bool(torch.isfinite(value).all()):
            weights.append(name)
        if value.grad is not None and not bool(torch.isfinite(value.grad).all()):
            gradients.append(name)
    return {"weights": weights, "gradients": gradients}
