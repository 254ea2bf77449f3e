"""Weights between base and tuned: much of the gain, little of the loss."""

from copy import deepcopy

import torch

from paraclip.errors import UserError
from paraclip.models.encoder import DualEncoder


def merge(
    base: DualEncoder, tuned: DualEncoder, alpha: float, image_tower: bool = False
) -> DualEncoder:
    """A new model with the weights (1 - alpha) * base + alpha * tuned.

    Args:
        base: before tuning; left as it is.
        tuned: after tuning; left as it is.
        alpha: share of tuned, 0 to 1; 0 gives base's weights, 1 tuned's, bit for bit.
        image_tower: mix image towers that differ too; index vectors of base are then void.

    Raises:
        UserError: alpha outside 0 to 1, weights that are not finite, or models of different
            architecture, or of different image towers where these are not to be mixed.

    Source: WiSE-FT, Wortsman et al. 2022, equation 1.
    """
    check_fit(base, tuned, alpha, image_tower)
    merged = deepcopy(base)
    theirs = tuned.state_dict()
    for name, value in merged.state_dict().items():
        value.copy_(between(value, theirs[name].to(value.device), alpha))
    merged.made_from = {"base": base.made_from, "tuned": tuned.made_from}
    return merged


def between(base: torch.Tensor, tuned: torch.Tensor, alpha: float) -> torch.Tensor:
    """The mixture of two tensors; exact at both ends and where they agree. Counts are base's."""
    if alpha == 1:
        return tuned
    return torch.lerp(base, tuned, alpha) if base.is_floating_point() else base


def check_fit(
    base: DualEncoder, tuned: DualEncoder, alpha: float, image_tower: bool = False
) -> None:
    """Refuse what cannot be mixed."""
    if not 0 <= alpha <= 1:
        raise UserError("--alpha", f"{alpha} is outside 0 to 1", "Give a share such as 0.5.")
    hint = "Merge a base with a checkpoint that was tuned from it."
    if base.architecture != tuned.architecture:
        names = f"{base.architecture.name} and {tuned.architecture.name}"
        raise UserError("merge", f"the models differ in architecture ({names})", hint)
    check_finite(base, "base")
    check_finite(tuned, "tuned model")
    if image_tower:
        return
    ours, theirs = base.image_tower.state_dict(), tuned.image_tower.state_dict()
    if any(not torch.equal(ours[name].cpu(), theirs[name].cpu()) for name in ours):
        hint = f"{hint} If its image tower was trained too, give --image-tower."
        raise UserError("merge", "the models have different image towers", hint)


def check_finite(model: DualEncoder, role: str) -> None:
    """Refuse NaN and infinity: a mixture with them is no model."""
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            what = f"the {role} has weights that are not finite (in {name})"
            raise UserError("merge", what, "Train it again, or use an earlier checkpoint.")
