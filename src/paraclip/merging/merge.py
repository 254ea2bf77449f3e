"""Weights between base and tuned: much of the gain, little of the loss."""

from copy import deepcopy

import torch

from paraclip.errors import UserError
from paraclip.models.encoder import DualEncoder


def merge(base: DualEncoder, tuned: DualEncoder, alpha: float) -> DualEncoder:
    """A new model with the text weights (1 - alpha) * base + alpha * tuned.

    Args:
        base: before tuning; left as it is.
        tuned: after tuning; left as it is.
        alpha: share of tuned, 0 to 1; 0 gives base's weights, 1 tuned's, bit for bit.

    Raises:
        UserError: alpha outside 0 to 1, or models of different architecture or image side.

    Source: WiSE-FT, Wortsman et al. 2022, equation 1.
    """
    check_fit(base, tuned, alpha)
    merged = deepcopy(base)
    theirs = dict(tuned.named_parameters())
    with torch.no_grad():
        for name, value in merged.named_parameters():
            other = theirs[name].to(value.device)
            value.copy_(between(value, other, alpha))
    merged.made_from = {"base": base.made_from, "tuned": tuned.made_from}
    return merged


def between(base: torch.Tensor, tuned: torch.Tensor, alpha: float) -> torch.Tensor:
    """The mixture of two tensors; exact at both ends and where they agree."""
    return tuned if alpha == 1 else torch.lerp(base, tuned, alpha)


def check_fit(base: DualEncoder, tuned: DualEncoder, alpha: float) -> None:
    """Refuse what cannot be mixed."""
    if not 0 <= alpha <= 1:
        raise UserError("--alpha", f"{alpha} is outside 0 to 1", "Give a share such as 0.5.")
    mend = "Merge a base with a checkpoint that was tuned from it."
    if base.architecture != tuned.architecture:
        names = f"{base.architecture.name} and {tuned.architecture.name}"
        raise UserError("merge", f"the models differ in architecture ({names})", mend)
    ours, theirs = base.image_tower.state_dict(), tuned.image_tower.state_dict()
    if any(not torch.equal(ours[name].cpu(), theirs[name].cpu()) for name in ours):
        raise UserError("merge", "the models have different image sides", mend)
