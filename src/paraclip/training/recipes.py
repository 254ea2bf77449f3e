"""What a run does where an option is left out: by its recipe, and by the kind of its base."""

from dataclasses import replace
from typing import Any, TypeVar

from paraclip.models.encoder import Architecture
from paraclip.training.config import LoopOptions, TrainOptions

Options = TypeVar("Options", bound=LoopOptions)
OfTraining = TypeVar("OfTraining", bound=TrainOptions)

RECIPES: dict[str, dict[str, Any]] = {
    "consistent": {"image_loss_on": ("caption",), "text_temperature": 0.2},
    "paper": {"image_loss_on": ("paraphrase_2",)},
}
"""Options by recipe. What a recipe does not name stays left out: no temperature is CLIP's own.

Source: paper, section 3, for `paper`; `consistent` was chosen by ablation (docs/ablations.md).
"""
RATES: dict[str, Any] = {"learning_rate": 5e-5, "weight_decay": 0.01}
"""Options for `mini` and its like."""
RATES_OF_KIND: dict[str, dict[str, Any]] = {
    "open_clip": {"learning_rate": 1e-5, "weight_decay": 0.1}
}
"""Options by the kind of the base: a pretrained CLIP takes smaller steps, as READ-CLIP, CLIC and
FSC-CLIP have it."""


def with_recipe(options: OfTraining) -> OfTraining:
    """The configuration with what its recipe says of the losses."""
    return filled(options, RECIPES[options.recipe])


def resolved(options: Options, architecture: Architecture) -> Options:
    """The configuration with every option decided that the base or the recipe decides.

    The only place that does so. Its result resolves to itself, and is what a run records.
    """
    known = filled(options, RATES_OF_KIND.get(architecture.kind, RATES))
    return filled(known, RECIPES[known.recipe]) if isinstance(known, TrainOptions) else known


def filled(options: Options, usual: dict[str, Any]) -> Options:
    """The usual values in place of those that were left out."""
    missing = {name: value for name, value in usual.items() if getattr(options, name) is None}
    return replace(options, **missing)


def decided(value: float | None) -> float:
    """An option of a resolved configuration."""
    if value is None:
        raise AssertionError("the configuration has not been resolved")
    return value
