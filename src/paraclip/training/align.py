"""Alignment: both heads and the text tower of `mini`, fitted to pictures of one's own.

The same loop as tuning, with L1 on the captions and the image head among the trained parts.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from paraclip.errors import UserError
from paraclip.models.mini import Mini
from paraclip.training.checks import check_options
from paraclip.training.config import AlignConfig
from paraclip.training.examples import make_examples
from paraclip.training.loop import fit
from paraclip.training.losses import CAPTION, CAPTIONS_ONLY
from paraclip.training.optimizer import Part
from paraclip.training.recipes import decided, resolved
from paraclip.training.run import Task
from paraclip.training.tokens import Integers


def align(
    model: Mini,
    captions: Sequence[str],
    features: Tensor,
    image_ids: Sequence[str],
    config: AlignConfig,
    out: Path,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Fit the heads and the text tower to captions and pictures; the backbone stays as it is.

    Args:
        model: changed in place.
        captions: N texts.
        features: `embed_pixels` rows float32 [N, F], the picture of each caption; a row of NaN
            means that the picture is broken.
        image_ids: N; captions of the same picture are no negatives of each other.
        config: how.
        out: folder of checkpoints, logs and states.
        facts: JSON-able, kept in the checkpoints.

    Returns:
        The checkpoint that `config.choose` names.

    Raises:
        UserError: as `loop.train`.
    """
    check_options(config)
    config = resolved(config, model.architecture)
    texts = {CAPTION: list(captions)}
    needed, at_once = CAPTIONS_ONLY.texts, config.micro_batch
    examples = make_examples(model, texts, image_ids, features, needed, at_once)
    if examples.has_image.sum() < 2:
        what = "fewer than two captions have a picture"
        raise UserError("training rows", what, "Give pictures with their captions.")
    parts = (
        Part(model.image_head, config.head_learning_rate),
        Part(model.text_head, config.head_learning_rate),
        Part(model.text_tower, decided(config.learning_rate)),
    )

    def describe(rows: Integers) -> list[dict[str, Any]]:
        return [
            {"row": int(row), "image_id": image_ids[row], "caption": captions[row]} for row in rows
        ]

    known = dict(facts or {})
    return fit(Task(model, examples, CAPTIONS_ONLY, parts, config, known, describe), out)
