"""Interpolation of the weights of base and tuned (WiSE-FT)."""

from copy import deepcopy
from typing import TYPE_CHECKING

from paraclip.errors import UserError

if TYPE_CHECKING:  # `paraclip merge --help` needs no torch
    from paraclip.models.encoder import DualEncoder


SHARE = 0.5
"""Share of tuned in the merged weights, unless the user gives another."""


def merge(
    base: "DualEncoder", tuned: "DualEncoder", share: float, image_tower: bool = False
) -> "DualEncoder":
    """A new model with the weights (1 - share) * base + share * tuned.

    Args:
        base: before tuning; not changed.
        tuned: after tuning; not changed.
        share: share of tuned, 0 to 1; 0 gives base's weights, 1 tuned's, bit for bit.
        image_tower: merge image towers that differ; image vectors of base are then no longer valid.

    Raises:
        UserError: the share is outside 0 to 1, weights are not finite, the architectures differ, or
            the image towers differ and `image_tower` is not set.

    Source: WiSE-FT, Wortsman et al. 2022, equation 1.
    """
    if not 0 <= share <= 1:
        raise UserError("--share", f"{share} is outside 0 to 1", "Give a share such as 0.5.")
    _check_fit(base, tuned, image_tower)
    merged, theirs = deepcopy(base), tuned.state_dict()
    for name, value in merged.state_dict().items():
        other = theirs[name].to(value.device, value.dtype)
        if share == 1:
            value.copy_(other)
        elif value.is_floating_point():  # integers come from base
            mixed = value.lerp(other, share)
            # Where both are equal, the mixture of -0.0 would be 0.0, and another image space.
            value.copy_(mixed.where(value != other, value))
    merged.made_from = {"base": base.made_from, "tuned": tuned.made_from}
    return merged


def _check_fit(base: "DualEncoder", tuned: "DualEncoder", image_tower: bool) -> None:
    """Raise UserError for models that cannot be merged."""
    hint = "Merge a base with a checkpoint that was tuned from it."
    ours, theirs = base.architecture.as_dict(), tuned.architecture.as_dict()
    if differing := [name for name in ours if ours[name] != theirs[name]]:
        facts = ", ".join(f"{name} {ours[name]} and {theirs[name]}" for name in differing)
        raise UserError("merge", f"the models differ in architecture ({facts})", hint)
    ours, theirs = base.state_dict(), tuned.state_dict()
    if {name: value.shape for name, value in ours.items()} != {
        name: value.shape for name, value in theirs.items()
    }:
        raise UserError("merge", "the models differ in number or size of their layers", hint)
    for role, weights in (("base", ours), ("tuned model", theirs)):
        for name, value in weights.items():
            if value.is_floating_point() and not value.isfinite().all():
                what = f"the {role} has weights that are not finite (in {name})"
                raise UserError("merge", what, "Train it again, or use an earlier checkpoint.")
    images = base.image_tower.state_dict(), tuned.image_tower.state_dict()
    if not image_tower and any(
        not value.cpu().equal(images[1][name].cpu()) for name, value in images[0].items()
    ):
        hint = f"{hint} For a trained image encoder use `paraclip.merge(..., image_tower=True)`."
        raise UserError("merge", "the models have different image encoders", hint)
