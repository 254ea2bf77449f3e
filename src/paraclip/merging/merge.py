"""Interpolation of the weights of base and tuned (WiSE-FT)."""

from copy import deepcopy

import torch

from paraclip.errors import UserError
from paraclip.models.encoder import DualEncoder


def merge(
    base: DualEncoder, tuned: DualEncoder, share: float, image_tower: bool = False
) -> DualEncoder:
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
    check_fit(base, tuned, share, image_tower)
    merged = deepcopy(base)
    theirs = tuned.state_dict()
    for name, value in merged.state_dict().items():
        value.copy_(between(value, theirs[name].to(value.device), share))
    merged.made_from = {"base": base.made_from, "tuned": tuned.made_from}
    return merged


def between(base: torch.Tensor, tuned: torch.Tensor, share: float) -> torch.Tensor:
    """Interpolate two tensors, exactly at both ends and where equal; integers come from base."""
    if share == 1:
        return tuned
    return torch.lerp(base, tuned, share) if base.is_floating_point() else base


def check_fit(
    base: DualEncoder, tuned: DualEncoder, share: float, image_tower: bool = False
) -> None:
    """Check that two models can be merged."""
    if not 0 <= share <= 1:
        raise UserError("--alpha", f"{share} is outside 0 to 1", "Give a share such as 0.5.")
    hint = "Merge a base with a checkpoint that was tuned from it."
    if base.architecture != tuned.architecture:
        names = f"{base.architecture.name} and {tuned.architecture.name}"
        raise UserError("merge", f"the models differ in architecture ({names})", hint)
    if shapes_of(base) != shapes_of(tuned):
        raise UserError("merge", "the models differ in number or size of their layers", hint)
    check_finite(base, "base")
    check_finite(tuned, "tuned model")
    if image_tower:
        return
    ours, theirs = base.image_tower.state_dict(), tuned.image_tower.state_dict()
    if any(not torch.equal(ours[name].cpu(), theirs[name].cpu()) for name in ours):
        hint = f"{hint} If the image tower was trained too, add --image-tower."
        raise UserError("merge", "the models have different image towers", hint)


def shapes_of(model: DualEncoder) -> dict[str, torch.Size]:
    """Shape of every weight, by name."""
    return {name: value.shape for name, value in model.state_dict().items()}


def check_finite(model: DualEncoder, role: str) -> None:
    """Check that all weights are finite."""
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            what = f"the {role} has weights that are not finite (in {name})"
            raise UserError("merge", what, "Train it again, or use an earlier checkpoint.")
