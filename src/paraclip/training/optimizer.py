"""What is trained at which rate: parts of a model, adapters, AdamW, the schedule, their state."""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from paraclip.errors import UserError
from paraclip.models.encoder import DualEncoder
from paraclip.training.config import LoopOptions, TrainOptions
from paraclip.training.recipes import decided, refuse

BETAS = (0.9, 0.98)
EPSILON = 1e-6
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def everything(name: str) -> bool:
    """Trains every weight of a part."""
    return True


@dataclass(frozen=True)
class Part:
    """A module of the model that is trained."""

    module: nn.Module  # with everything below it
    learning_rate: float  # its peak
    # whether the weight of this name within the module is trained
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
    """Set every dropout layer of these parts; None leaves them as they are."""
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

    No random state: every micro-batch of every step has a seed of its own (`step.Side`).
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


def learning_rate_share(step: int, total: int, warmup: float) -> float:
    """Share of the peak learning rate at a step: a straight rise, then a cosine towards 0."""
    rising = max(1, round(total * warmup)) if warmup else 0
    if step < rising:
        return (step + 1) / (rising + 1)
    done = (step - rising) / max(1, total - rising)
    return 0.5 * (1 + math.cos(math.pi * done))


def parts_of(model: DualEncoder, options: TrainOptions) -> tuple[Part, ...]:
    """The trained parts; for LoRA the adapters are put into the text tower first."""
    tower, rate = model.text_tower, decided(options.learning_rate)
    if options.text_tower == "lora":
        add_adapters(tower, options.lora_rank, options.lora_alpha, options.seed)
        parts = [Part(tower, rate, lambda name: MARK in name)]
    elif options.text_tower == "last_layers":
        chosen = last_layers(tower, options.last_layers)
        parts = [Part(tower, rate, lambda name: name in chosen)]
    else:
        parts = [Part(tower, rate)]
    if options.image_learning_rate is not None:
        parts.append(Part(model.image_tower, options.image_learning_rate))
    return tuple(parts)


def last_layers(tower: nn.Module, count: int) -> set[str]:
    """Names of the weights in a tower's last layers, and of what follows them.

    The layers are the tower's longest list of modules. What is outside of it and no embedding
    follows it: the last norm, the projection.
    """
    lists = {name: m for name, m in tower.named_modules() if isinstance(m, nn.ModuleList)}
    if not lists:
        refuse("text_tower", "last_layers: this text tower has no layers", "Choose full or lora.")
    place, layers = max(lists.items(), key=lambda pair: len(pair[1]))
    if count > len(layers):
        what = f"{count} is more than the {len(layers)} that this text tower has"
        refuse("last_layers", what, f"Give at most {len(layers)}.")
    frozen = tuple(f"{place}.{index}." for index in range(len(layers) - count))
    names = (name for name, _ in tower.named_parameters())
    return {name for name in names if not name.startswith(frozen) and "emb" not in name}


MARK = "lora_"
"""In the name of every weight of an adapter."""


def add_adapters(tower: nn.Module, rank: int, alpha: float, seed: int) -> None:
    """Put an adapter beside every linear map of a tower; its output is the same at first.

    Source: LoRA, Hu et al. 2021.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        hint = "Install it with `pip install peft`."
        raise UserError("--text-tower lora", "needs peft", hint) from error
    names = [name for name, module in tower.named_modules() if takes_adapter(module)]
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=names)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, tower)
    for module in tower.modules():
        if hasattr(module, "unload_and_optionally_merge_module"):
            keep_weights(module)


def keep_weights(attention: Any) -> None:
    """Put an attention's own weights back after each pass.

    `peft` adds its adapter to them for the pass and then takes it away again, which rounds: the
    frozen weights would wander, and the second pass over a micro-batch would differ.
    """
    inner, outer = attention.base_layer, attention.base_layer.out_proj.base_layer
    weights = inner.in_proj_weight, outer.weight

    def put_back(*passed: Any) -> None:
        inner.in_proj_weight, outer.weight = weights

    attention.register_forward_hook(put_back)


def takes_adapter(module: nn.Module) -> bool:
    """Linear maps, and attention as a whole; what lies within attention goes with it."""
    return isinstance(module, nn.MultiheadAttention) or type(module) is nn.Linear


def has_adapters(model: nn.Module) -> bool:
    """Whether any weight is an adapter's."""
    return any(MARK in name for name, _ in model.named_parameters())


def plain_copy(model: DualEncoder) -> DualEncoder:
    """The model as a checkpoint holds it: itself, or a copy with the adapters in the weights."""
    return merge_adapters(deepcopy(model)) if has_adapters(model) else model


def merge_adapters(model: DualEncoder) -> DualEncoder:
    """Add the adapters, where it has any, to the weights they lie beside and take them off."""
    if not has_adapters(model):
        return model
    from peft.tuners.tuners_utils import BaseTunerLayer

    found = {name: m for name, m in model.named_modules() if isinstance(m, BaseTunerLayer)}
    for name, layer in found.items():
        if any(name.startswith(f"{outer}.") for outer in found):
            continue  # its outer layer takes it along
        owner, _, place = name.rpartition(".")
        setattr(model.get_submodule(owner), place, merged_layer(layer))
    return model


def merged_layer(layer: Any) -> nn.Module:
    """The layer below an adapter with the adapter in its weights."""
    if hasattr(layer, "unload_and_optionally_merge_module"):  # attention
        whole: nn.Module = layer.unload_and_optionally_merge_module(
            merge=True, safe_merge=False, adapter_names=None
        )
        return whole
    layer.merge()
    below: nn.Module = layer.get_base_layer()
    return below
