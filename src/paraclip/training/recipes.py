"""Defaults from the recipe and the kind of the base, and checks of options against each other."""

from dataclasses import replace
from typing import Any, TypeVar

from paraclip.data.triples import SCHEMA
from paraclip.errors import UserError, nearest
from paraclip.models.encoder import Architecture
from paraclip.training.config import (
    LoopOptions,
    RunSettings,
    TrainConfig,
    TrainOptions,
    settings_of,
)
from paraclip.training.losses.contrast import LOSSES
from paraclip.training.losses.objective import (
    CAPTIONS_ONLY,
    PARAPHRASE_1,
    PARAPHRASE_2,
    Objective,
)
from paraclip.training.metrics import check_trackers

Options = TypeVar("Options", bound=LoopOptions)
OfTraining = TypeVar("OfTraining", bound=TrainOptions)

RECIPES: dict[str, dict[str, Any]] = {
    "consistent": {"image_loss_on": ("caption",), "text_temperature": 0.2},
    "paper": {"image_loss_on": ("paraphrase_2",)},
}
"""Options by recipe. Other options keep their default; without a temperature, CLIP's is used.

Source: paper, section 3, for `paper`; `consistent` was chosen by ablation (study/ablations.md).
"""
RATES: dict[str, Any] = {"learning_rate": 5e-5, "weight_decay": 0.01}
"""Options for `mini` and models built on it."""
RATES_OF_KIND: dict[str, dict[str, Any]] = {
    "open_clip": {"learning_rate": 1e-5, "weight_decay": 0.1}
}
"""Options by the kind of the base: a pretrained CLIP needs smaller steps, as in READ-CLIP, CLIC and
FSC-CLIP."""


def with_recipe(options: OfTraining) -> OfTraining:
    """The options with the loss settings of the recipe filled in."""
    return filled(options, RECIPES[options.recipe])


def resolved(options: Options, architecture: Architecture) -> Options:
    """The options with all defaults filled in that depend on the base or the recipe.

    This happens only here. The result resolves to itself, and is what a run records.
    """
    known = filled(options, RATES_OF_KIND.get(architecture.kind, RATES))
    return filled(known, RECIPES[known.recipe]) if isinstance(known, TrainOptions) else known


def objective_of(options: TrainOptions) -> Objective:
    """The losses that the options select."""
    if options.control:
        return replace(CAPTIONS_ONLY, kind=options.loss)
    options = with_recipe(options)
    weights: tuple[float, float, float] = options.weights
    tied: tuple[str, ...] = options.image_loss_on or ()
    if options.one_step:
        weights = (weights[0], weights[1], 0.0)
        tied = tuple(PARAPHRASE_1 if name == PARAPHRASE_2 else name for name in tied)
    warm = [options.l2_temperature, options.l3_temperature]
    second, third = (
        1 / own if own else None for own in (t or options.text_temperature for t in warm)
    )
    return Objective(
        weights, tuple(dict.fromkeys(tied)), (None, second, third), options.learn_text_temperature,
        options.loss, options.negatives is not None, options.distillation,
    )  # fmt: skip


def filled(options: Options, usual: dict[str, Any]) -> Options:
    """The options with defaults for those that were not set."""
    missing = {name: value for name, value in usual.items() if getattr(options, name) is None}
    return replace(options, **missing)


def decided(value: float | None) -> float:
    """The value of an option that `resolved` has filled in."""
    if value is None:
        raise AssertionError("the options have not been resolved")
    return value


def refuse(option: str, what: str, hint: str) -> None:
    """Raise UserError for an option, by its name on the command line."""
    raise UserError(f"--{option.replace('_', '-')}", what, hint)


def check_options(options: LoopOptions, settings: RunSettings | None = None) -> None:
    """Check options that depend on each other; `options.Checked` checks each one separately."""
    settings = settings_of(options, settings)
    if options.held_out == 0 and options.patience is not None:
        refuse("patience", "needs held-out rows", "Give --held-out a share above 0.")
    if options.precision == "fp16":
        what = "fp16 is no longer supported: its gradients overflow"
        refuse("precision", what, "Use bf16, or fp32 where the GPU has no bf16.")
    check_trackers(settings.track)
    if isinstance(options, TrainOptions):
        check_losses(options)


def check_losses(options: TrainOptions) -> None:
    """Check that at least one loss is left, and the texts that it uses."""
    weights = options.weights
    if options.loss not in LOSSES:
        refuse("loss", f"{options.loss!r} is unknown", nearest(options.loss, list(LOSSES)))
    if not any(weights):
        what = f"{' '.join(map(str, weights))} leaves no loss to train on"
        refuse("weights", what, "Give at least one above 0.")
    if options.negatives in SCHEMA.names:
        what = f"{options.negatives} is a column of the triples themselves"
        refuse("negatives", what, "Name the column that `paraclip negatives` adds.")
    if options.shuffle_paraphrases and options.control:
        refuse("placebo", "is not for the control, which reads no paraphrases", "Leave one out.")
    if options.one_step and not any(weights[:2]):
        refuse("one_step", "leaves L3 out, which alone has a weight", "Give L1 or L2 a weight.")
    replay = isinstance(options, TrainConfig) and options.replay is not None
    if replay and not (weights[0] or options.control):
        refuse("replay", "is for L1, which has no weight", "Leave it out, or give L1 a weight.")
    if options.image_learning_rate is not None and not (weights[0] or options.control):
        # Weight decay alone would change the image tower.
        what = "is for L1, which has no weight"
        refuse("image_learning_rate", what, "Leave it out, or give L1 a weight.")
    if weights[0] and options.image_loss_on == ():
        refuse("image_loss_on", "names no text", "Name one, or give L1 the weight 0.")
