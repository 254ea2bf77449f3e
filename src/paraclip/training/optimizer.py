"""The trained weights of a model, AdamW, its schedule, and the state of both."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from paraclip.errors import UserError
from paraclip.models.encoder import DualEncoder

_WARMUP = 0.1  # share of the steps with linear warm-up; cosine decay follows
_BETAS = (0.9, 0.98)  # as epsilon, those of CLIP's vision transformers (Radford et al. 2021)
_EPSILON = 1e-6
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_MOST_SCALE = math.log(100.0)

Parts = Sequence[tuple[nn.Module, float]]
"""The trained modules, with all their submodules, and their peak learning rates."""


def train_only(model: DualEncoder, parts: Parts) -> dict[str, nn.Parameter]:
    """Enable gradients only for these parts and the temperature; returns these weights by name."""
    model.requires_grad_(False)
    for module, _ in parts:
        module.requires_grad_(True)
    model.logit_scale.requires_grad_(True)
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def frozen_tensors(model: nn.Module) -> dict[str, Tensor]:
    """All tensors of the model that training must not change."""
    everything = model.state_dict(keep_vars=True).items()
    return {name: value for name, value in everything if not value.requires_grad}


def train_mode(model: DualEncoder, parts: Parts) -> None:
    """Enable dropout in the trained parts; the rest of the model stays in evaluation mode.

    The image tower, trained or not, keeps the statistics of its norms.
    """
    model.eval()
    for module, _ in parts:
        if module is not model.image_tower:
            module.train()


def set_dropout(parts: Parts, probability: float | None) -> None:
    """Set every dropout layer of these parts; None leaves them unchanged."""
    if probability is None:
        return
    layers = [
        layer for module, _ in parts for layer in module.modules() if isinstance(layer, nn.Dropout)
    ]
    if not layers and probability > 0:
        raise UserError("dropout", "this text encoder has no dropout", "Leave the option out.")
    for layer in layers:
        layer.p = probability


def make_optimizer(
    weights: Mapping[str, nn.Parameter], parts: Parts, rate: float, weight_decay: float
) -> AdamW:
    """Create AdamW; biases, norms and the temperature (all below two dimensions) do not decay.

    Args:
        weights: the trained weights.
        parts: the trained modules; a weight in two of them belongs to the first, so a head may
            precede its tower.
        rate: peak learning rate of weights in no part.
        weight_decay: weight decay of matrices.
    """
    peaks: dict[int, float] = {}
    for module, peak in parts:
        for value in module.parameters():
            peaks.setdefault(id(value), peak)
    members: dict[tuple[float, float], list[nn.Parameter]] = {}
    for value in weights.values():
        decay = weight_decay if value.ndim >= 2 else 0.0
        members.setdefault((peaks.get(id(value), rate), decay), []).append(value)
    groups = [
        {"params": values, "peak": peak, "weight_decay": decay}
        for (peak, decay), values in members.items()
    ]
    return AdamW(groups, lr=rate, betas=_BETAS, eps=_EPSILON, fused=True)


def learning_rate_share(step: int, total: int, warmup: float = _WARMUP) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then a cosine towards 0."""
    rising = max(1, round(total * warmup)) if warmup else 0
    if step < rising:
        return (step + 1) / (rising + 1)  # above 0 at first; 1 is reached by the step after it
    done = (step - rising) / max(1, total - rising)
    return 0.5 * (1 + math.cos(math.pi * done))


def set_learning_rates(optimizer: AdamW, share: float) -> None:
    """Set the rate of every group to this share of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


@torch.no_grad()
def clamp_scale(logit_scale: nn.Parameter, start: float) -> None:
    """Limit the inverse temperature to 100, or to its value at the start if that is higher.

    CLIP's limit is 100. SigLIP's own value is 117, which a first step must not reduce.
    """
    logit_scale.clamp_(max=max(_MOST_SCALE, start))


def training_tensors(weights: Mapping[str, nn.Parameter], optimizer: AdamW) -> dict[str, Tensor]:
    """Everything on which the next steps depend: trained weights and moments.

    There is no random state, because every micro-batch of every step has its own seed
    (`gradcache`).
    """
    tensors: dict[str, Tensor] = {}
    for name, value in weights.items():
        tensors[f"weight.{name}"] = value
        for moment in _MOMENTS if value in optimizer.state else ():
            tensors[f"{moment}.{name}"] = optimizer.state[value][moment]
    return tensors


@torch.no_grad()
def restore_training(
    weights: Mapping[str, nn.Parameter], optimizer: AdamW, tensors: Mapping[str, Tensor]
) -> None:
    """Restore what `training_tensors` returned."""
    for name, value in weights.items():
        value.copy_(tensors[f"weight.{name}"])
        if f"step.{name}" in tensors:  # none before its first gradient
            optimizer.state[value] = {
                moment: tensors[f"{moment}.{name}"].to(value.device) for moment in _MOMENTS
            }
