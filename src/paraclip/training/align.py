"""Alignment: both heads and the text tower of `mini`, fitted to pictures of one's own.

The same loop as tuning, with L1 on the captions and the image head among the trained parts.
"""

from pathlib import Path
from typing import cast

from paraclip.errors import UserError
from paraclip.models.mini import Mini
from paraclip.training.config import AlignOptions, RunSettings, settings_of
from paraclip.training.examples import describing, make_examples
from paraclip.training.loop import fit
from paraclip.training.losses.objective import CAPTION, CAPTIONS_ONLY
from paraclip.training.optimizer import Part
from paraclip.training.prepare import TrainingData
from paraclip.training.recipes import check_options, decided, resolved
from paraclip.training.run import Task


def align(
    data: TrainingData,
    options: AlignOptions,
    out: Path,
    settings: RunSettings | None = None,
) -> Path:
    """Fit the heads and the text tower to captions and pictures; the backbone stays as it is.

    Args:
        data: a `Mini` and captions with pictures; captions of the same picture are no negatives of
            each other.
        options: hyperparameters.
        out: folder of checkpoints, logs and states.
        settings: how the run is saved and watched; None: those of `options` where they come from
            a command, else the usual ones.

    Returns:
        The checkpoint that `settings.choose` names.

    Raises:
        UserError: as `loop.train`.
    """
    settings = settings_of(options, settings)
    check_options(options, settings)
    model = cast(Mini, data.model)
    options = resolved(options, model.architecture)
    texts = {CAPTION: data.rows["caption"].to_pylist()}
    needed, at_once = CAPTIONS_ONLY.texts, options.micro_batch
    image_ids = data.rows["image_id"].to_pylist()
    examples = make_examples(model, texts, image_ids, data.features, needed, at_once)
    if examples.has_image.sum() < 2:
        what = "fewer than two captions have a picture"
        raise UserError("training rows", what, "Give pictures with their captions.")
    parts = (
        Part(model.image_head, options.head_learning_rate),
        Part(model.text_head, options.head_learning_rate),
        Part(model.text_tower, decided(options.learning_rate)),
    )
    describe = describing(data.rows.select(["image_id", "caption"]))
    task = Task(model, examples, CAPTIONS_ONLY, parts, options, settings, data.facts, describe)
    return fit(task, out, data.problems)
