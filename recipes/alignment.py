"""Fit an image head and a text tower to captions with pictures, by the loop of `paraclip train`.

This makes the bases of the study. A user's CLIP is aligned already.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from torch import Tensor, nn
from torch.nn.functional import dropout

from paraclip.data.captions import Caption
from paraclip.models.encoder import DualEncoder
from paraclip.models.mini import Mini
from paraclip.training.config import LoopOptions, TrainOptions, resolved
from paraclip.training.data import TrainingData, make_examples
from paraclip.training.losses import make_objective
from paraclip.training.prepare import prepare
from paraclip.training.sources import RunRows
from paraclip.training.train import Plan, fit

FEATURE_DROPOUT = 0.4
"""On the features of `mini`'s head while it is trained, which overfits without it."""


@dataclass(frozen=True, kw_only=True)
class AlignOptions(LoopOptions):
    """Hyperparameters of alignment; the learning rate is that of the text tower."""

    learning_rate: float
    """Peak learning rate of the text tower."""

    head_learning_rate: float
    """Peak learning rate of the heads (AdamW, per step)."""


def prepare_captions(
    captions: Iterable[Caption],
    model: DualEncoder,
    *,
    cache: Path | None = None,
    facts: Mapping[str, Any] | None = None,
) -> TrainingData:
    """Captions with their pictures' features; those without a picture are omitted."""
    rows = [row for row in captions if row.image]
    names = ("caption", "image_id", "image")
    table = pa.table({name: [getattr(row, name) for row in rows] for name in names})
    return prepare(RunRows(table, {}), model, cache=cache, facts=facts)


def heads_of(model: Mini) -> tuple[nn.Module, nn.Module]:
    """The linear heads of a model of `mini`'s kind; the second may have no weights."""
    return model.image_tower.head, model.text_tower.head


def drop_features(model: Mini) -> None:
    """Drop features of `mini`'s head while it is trained, but not those of its classifier."""

    def drop(head: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        return dropout(inputs[0], FEATURE_DROPOUT, head.training)

    model.image_tower.head.register_forward_pre_hook(drop)


def align(data: TrainingData, heads: Sequence[nn.Module], options: AlignOptions, out: Path) -> Path:
    """Fit heads and text tower; the image tower's backbone is not changed.

    Uses L1 on the captions; captions of the same picture are not negatives of each other.

    Args:
        data: the model and its captions; afterwards, the model has the weights of the last step.
        heads: parts that learn at the rate of the heads.
        options: hyperparameters.
        out: folder of the checkpoint, the log and the states; a stopped run resumes.

    Returns:
        The checkpoint.
    """
    objective = make_objective(resolved(TrainOptions(control=True), data.model.architecture.kind))
    rows = make_examples(data, objective.texts, options)
    parts = [(head, options.head_learning_rate) for head in heads]
    parts.append((data.model.text_tower, options.learning_rate))
    return fit(data, Plan(rows, objective, parts), data.facts, out)
