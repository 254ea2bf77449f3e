"""The temperature of each loss: the model's, a fixed one, or one learned for the loss alone.

What is learned here serves training only and stays out of the checkpoint; the model's own
temperature is the model's.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from paraclip.models.encoder import DualEncoder
from paraclip.training.losses.contrast import LOSSES, LogitScaling
from paraclip.training.losses.objective import Objective, Pair

MOST_SCALE = math.log(100.0)
LEARNING_RATE = 1e-3
"""Peak rate of learned temperatures and biases: single numbers, which the towers' rate would
leave where they are."""


class Temperatures(nn.Module):
    """Inverse temperature and bias of L1, L2 and L3.

    Args:
        model: whose temperature all losses take that have none of their own; L1 always does.
        objective: says which have, and whether the loss needs biases.
    """

    def __init__(self, model: DualEncoder, objective: Objective) -> None:
        super().__init__()
        self.of_model = [model.logit_scale]  # in a list: it stays the model's parameter
        self.most_scale = max(MOST_SCALE, float(model.logit_scale.detach()))
        self.logs, self.biases = nn.ParameterDict(), nn.ParameterDict()
        for name, scale in zip(("L1", "L2", "L3"), objective.scales, strict=True):
            if name not in objective.names:
                continue
            start = float(model.logit_scale.detach()) if scale is None else math.log(scale)
            learned = objective.learn_scales and name != "L1"
            if scale is not None or learned:
                self.logs[name] = number(model, start, learned)
            if LOSSES[objective.kind].biased:
                self.biases[name] = number(model, 0.0, True)

    def forward(self, name: str) -> LogitScaling:
        """Of L1, L2 or L3."""
        log = self.logs[name] if name in self.logs else self.of_model[0]
        return LogitScaling(log.exp(), self.biases.get(name))

    @torch.no_grad()
    def clamp(self) -> None:
        """No inverse temperature is learned above 100, or above the base's own; fixed ones stay.

        CLIP stops at 100. SigLIP's own is 117, which a first step must not throw away.
        """
        for log in (*self.of_model, *self.logs.values()):
            if log.requires_grad:
                log.clamp_(max=self.most_scale)

    @torch.no_grad()
    def start_biases(self, pairs: Iterable[Pair], batch_size: int) -> None:
        """Set each bias such that a mean negative has the odds 1 : B of being a positive.

        SigLIP's own start, -10, says so of unrelated vectors at its first temperature; the
        vectors of a tuned CLIP are neither unrelated nor so warm.
        """
        sums: dict[str, list[Tensor]] = {}
        for pair in pairs:
            if pair.name in self.biases and len(pair.a) > 1:
                sums.setdefault(pair.name, []).append(mean_of_negatives(pair.a, pair.b))
        for name, cosines in sums.items():
            logit = self(name).scale * torch.stack(cosines).mean()
            self.biases[name].copy_(-math.log(batch_size) - logit)


def number(model: DualEncoder, value: float, learned: bool) -> nn.Parameter:
    """A parameter of one number, of the model's dtype and device."""
    return nn.Parameter(model.logit_scale.detach().new_tensor(value), requires_grad=learned)


def mean_of_negatives(a: Tensor, b: Tensor) -> Tensor:
    """Mean cosine of a_i and b_j over i and j that differ, without any [N, N]."""
    count = len(a)
    return (a.sum(0) @ b.sum(0) - (a * b).sum()) / (count * (count - 1))
