"""What is trained at which rate, and the optimizer's tensors to and from a state file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from paraclip.errors import UserError
from paraclip.models.encoder import DualEncoder
from paraclip.training.config import LoopOptions
from paraclip.training.recipes import decided

BETAS = (0.9, 0.98)
EPSILON = 1e-6
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def everything(name: str) -> bool:
    """Trains every weight of a part."""
    return True


@dataclass(frozen=True)
class Part:
    """A module of the model that is trained.

    Args:
        module: with everything below it.
        learning_rate: its peak.
        trains: whether the weight of this name within the module is trained.
    """

    module: nn.Module
    learning_rate: float
    trains: Callable[[str], bool] = everything

    def weights(self) -> list[nn.Parameter]:
        """What is trained."""
        return [value for name, value in self.module.named_parameters() if self.trains(name)]


def train_only(model: DualEncoder, parts: Sequence[Part], freeze_temperature: bool) -> None:
    """Let nothing but these parts and, unless frozen, the temperature have gradients."""
    model.requires_grad_(False)
    for part in parts:
        for value in part.weights():
            value.requires_grad_(True)
    model.logit_scale.requires_grad_(not freeze_temperature)


def trained(*modules: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that have gradients, by their names within the modules, which differ."""
    named = (pair for module in modules for pair in module.named_parameters())
    return {name: value for name, value in named if value.requires_grad}


def frozen_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Everything in the model that training must leave bit for bit as it is."""
    everything = model.state_dict(keep_vars=True).items()
    return {name: value for name, value in everything if not value.requires_grad}


def set_dropout(parts: Sequence[Part], probability: float | None) -> None:
    """Set every dropout layer of these parts; None leaves them as they are.

    Raises:
        UserError: there is no such layer: CLIP's own text towers have none.
    """
    if probability is None:
        return
    layers = [
        layer for part in parts for layer in part.module.modules() if isinstance(layer, nn.Dropout)
    ]
    if not layers and probability > 0:
        raise UserError("--dropout", "this text tower has no dropout", "Leave the option out.")
    for layer in layers:
        layer.p = probability


def make_optimizer(
    weights: Mapping[str, nn.Parameter], parts: Sequence[Part], options: LoopOptions
) -> AdamW:
    """AdamW; biases, norms and the temperature (all below two dimensions) do not decay.

    A parameter that lies in two parts goes with the first, so a head may precede its tower; one
    that lies in none has the learning rate of the configuration.
    """
    rate, weight_decay = decided(options.learning_rate), decided(options.weight_decay)
    members: dict[tuple[float, float], list[nn.Parameter]] = {}
    peaks: dict[int, float] = {}
    for part in parts:
        for value in part.weights():
            peaks.setdefault(id(value), part.learning_rate)
    for value in weights.values():
        decay = weight_decay if value.ndim >= 2 else 0.0
        peak = peaks.get(id(value), rate)
        members.setdefault((peak, decay), []).append(value)
    groups = [
        {"params": values, "peak": peak, "weight_decay": decay}
        for (peak, decay), values in members.items()
    ]
    return AdamW(groups, lr=rate, betas=BETAS, eps=EPSILON, fused=True)


def set_learning_rates(optimizer: AdamW, share: float) -> None:
    """Set every group to this share of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


def training_tensors(weights: Mapping[str, nn.Parameter], optimizer: AdamW) -> dict[str, Tensor]:
    """All that the next steps depend on: trained weights and moments.

    No random state: every micro-batch of every step has a seed of its own (`grad_cache.Side`).
    """
    tensors: dict[str, Tensor] = {}
    for name, value in weights.items():
        tensors[f"weight.{name}"] = value
        for moment in MOMENTS if value in optimizer.state else ():
            tensors[f"{moment}.{name}"] = optimizer.state[value][moment]
    return tensors


@torch.no_grad()
def restore_training(
    weights: Mapping[str, nn.Parameter], optimizer: AdamW, tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `training_tensors` took."""
    for name, value in weights.items():
        value.copy_(tensors[f"weight.{name}"])
        if f"step.{name}" in tensors:
            optimizer.state[value] = {
                moment: tensors[f"{moment}.{name}"].to(value.device) for moment in MOMENTS
            }
