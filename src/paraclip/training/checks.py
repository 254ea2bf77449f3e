"""Options out of range are refused before anything is read or written."""

import math
from dataclasses import asdict

from paraclip.data.triples import SCHEMA
from paraclip.errors import UserError
from paraclip.training.config import (
    LoopOptions,
    RunSettings,
    TrainConfig,
    TrainOptions,
    settings_of,
)
from paraclip.training.watchers import check_trackers

RANGES = {
    "epochs": (1, math.inf),
    "batch_size": (2, math.inf),
    "last_layers": (1, math.inf),
    "lora_rank": (1, math.inf),
    "micro_batch": (1, math.inf),
    "save_every": (1, math.inf),
    "eval_every": (1, math.inf),
    "patience": (1, math.inf),
    "divergence": (1, math.inf),
    "warmup": (0, 1),
    "held_out": (0, 0.5),
    "dropout": (0, 0.95),
    "weight_decay": (0, math.inf),
    "seed": (0, 2**63 - 1),
}
ABOVE_ZERO = (
    *("learning_rate", "head_learning_rate", "image_learning_rate", "clip_norm", "lora_alpha"),
    *("text_temperature", "l2_temperature", "l3_temperature"),
    "replay_per_triple",
)


def refuse(option: str, what: str, hint: str) -> None:
    """Raise for an option, by its name on the command line."""
    raise UserError(f"--{option.replace('_', '-')}", what, hint)


def check_options(options: LoopOptions, settings: RunSettings | None = None) -> None:
    """Check every number of a run.

    Args:
        options: hyperparameters.
        settings: of the run; None where `options` holds them too, as those of a command do.

    Raises:
        UserError: naming the option that is out of range.
    """
    settings = settings_of(options, settings)
    values = asdict(options) | asdict(settings)
    for option, (least, most) in RANGES.items():
        value = values.get(option)
        if value is not None and not least <= value <= most:
            refuse(option, f"{value} is out of range", f"Give a value from {least} to {most}.")
    for option in ABOVE_ZERO:
        value = values.get(option)
        if value is not None and not 0 < value < math.inf:
            refuse(option, f"{value} is not above 0", "Give a number above 0.")
    if options.held_out == 0 and options.patience is not None:
        refuse("patience", "needs held-out rows to look at", "Give --held-out a share above 0.")
    check_trackers(settings.track)
    if isinstance(options, TrainOptions):
        check_losses(options)


def check_losses(options: TrainOptions) -> None:
    """Check that some loss is left to learn from, and the texts that go into it."""
    weights = options.weights
    if not all(0 <= weight < math.inf for weight in weights) or not any(weights):
        what = f"{' '.join(map(str, weights))} leaves nothing to learn"
        refuse("weights", what, "Give three weights, none negative, one above 0.")
    if options.negatives in SCHEMA.names:
        what = f"{options.negatives} is a column of the triples themselves"
        refuse("negatives", what, "Name the column that `paraclip negatives` adds.")
    if options.shuffle_paraphrases and options.control:
        refuse("placebo", "is not for the control, which reads no paraphrases", "Leave one out.")
    if options.one_step and not any(weights[:2]):
        refuse("one_step", "leaves L3 out, which alone has a weight", "Weigh L1 or L2.")
    replay = isinstance(options, TrainConfig) and options.replay is not None
    if replay and not (weights[0] or options.control):
        refuse("replay", "is for L1, which has no weight", "Leave it out, or weigh L1.")
    if weights[0] and options.image_loss_on == ():
        refuse("image_loss_on", "names no text", "Name one, or give L1 the weight 0.")
