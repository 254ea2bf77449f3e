"""Trained parts of a model and their learning rates, adapters, AdamW, the schedule, their state."""

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
    """Selects every weight of a part."""
    return True


@dataclass(frozen=True)
class Part:
    """A module of the model that is trained."""

    module: nn.Module  # the module with all its submodules
    learning_rate: float  # peak learning rate
    # whether the weight with this name within the module is trained
    trains: Callable[[str], bool] = everything

    def weights(self) -> list[nn.Parameter]:
        """The trained weights."""
        return [value for name, value in self.module.named_parameters() if self.trains(name)]


def train_only(model: DualEncoder, parts: Sequence[Part], freeze_temperature: bool) -> None:
    """Enable gradients only for these parts and, unless frozen, the temperature."""
    model.requires_grad_(False)
    for part in parts:
        for value in part.weights():
            value.requires_grad_(True)
    model.logit_scale.requires_grad_(not freeze_temperature)


def trained(*modules: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that have gradients, by their unique names within the modules."""
    named = (pair for module in modules for pair in module.named_parameters())
    return {name: value for name, value in named if value.requires_grad}


def frozen_tensors(model: nn.Module) -> dict[str, Tensor]:
    """All tensors of the model that training must not change by a bit."""
    everything = model.state_dict(keep_vars=True).items()
    return {name: value for name, value in everything if not value.requires_grad}


def set_dropout(parts: Sequence[Part], probability: float | None) -> None:
    """Set every dropout layer of these parts; None leaves them unchanged."""
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
    """Create AdamW; biases, norms and the temperature (all below two dimensions) do not decay.

    A parameter in two parts belongs to the first, so a head may precede its tower; a parameter in
    no part has the learning rate of the configuration.
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
    """Set the rate of every group to this share of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


def training_tensors(weights: Mapping[str, nn.Parameter], optimizer: AdamW) -> dict[str, Tensor]:
    """Everything on which the next steps depend: trained weights and moments.

    There is no random state, because every micro-batch of every step has its own seed
    (`step.Side`).
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
    """Restore what `training_tensors` returned."""
    for name, value in weights.items():
        value.copy_(tensors[f"weight.{name}"])
        if f"step.{name}" in tensors:
            optimizer.state[value] = {
                moment: tensors[f"{moment}.{name}"].to(value.device) for moment in MOMENTS
            }


def learning_rate_share(step: int, total: int, warmup: float) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then a cosine towards 0."""
    rising = max(1, round(total * warmup)) if warmup else 0
    if step < rising:
        return (step + 1) / (rising + 1)
    done = (step - rising) / max(1, total - rising)
    return 0.5 * (1 + math.cos(math.pi * done))


def parts_of(model: DualEncoder, options: TrainOptions) -> tuple[Part, ...]:
    """The trained parts; for LoRA, adapters are added to the text tower first."""
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
    """Names of the weights in a tower's last layers, and of the modules after them.

    The layers are the tower's longest list of modules. Modules outside it that are not embeddings
    come after it: the last norm, the projection.
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
"""Part of the name of every adapter weight."""


def add_adapters(tower: nn.Module, rank: int, alpha: float, seed: int) -> None:
    """Add an adapter to every linear map of a tower; initially, the output is unchanged.

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
    """Restore an attention's own weights after each pass.

    For the pass, `peft` adds the adapter to them and subtracts it afterwards. Due to rounding,
    frozen weights would drift, and the second pass over a micro-batch would differ.
    """
    inner, outer = attention.base_layer, attention.base_layer.out_proj.base_layer
    weights = inner.in_proj_weight, outer.weight

    def put_back(*passed: Any) -> None:
        inner.in_proj_weight, outer.weight = weights

    attention.register_forward_hook(put_back)


def takes_adapter(module: nn.Module) -> bool:
    """Whether to adapt a module: linear maps, and attention as a whole, including its parts."""
    return isinstance(module, nn.MultiheadAttention) or type(module) is nn.Linear


def has_adapters(model: nn.Module) -> bool:
    """Whether any weight is an adapter's."""
    return any(MARK in name for name, _ in model.named_parameters())


def plain_copy(model: DualEncoder) -> DualEncoder:
    """The model as saved in a checkpoint: itself, or a copy with merged adapters."""
    return merge_adapters(deepcopy(model)) if has_adapters(model) else model


def merge_adapters(model: DualEncoder) -> DualEncoder:
    """Merge the adapters, if there are any, into their base weights and remove them."""
    if not has_adapters(model):
        return model
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapters = {name: m for name, m in model.named_modules() if isinstance(m, BaseTunerLayer)}
    for name, layer in adapters.items():
        if any(name.startswith(f"{outer}.") for outer in adapters):
            continue  # merged with its outer layer
        owner, _, place = name.rpartition(".")
        setattr(model.get_submodule(owner), place, merged_layer(layer))
    return model


def merged_layer(layer: Any) -> nn.Module:
    """The layer below an adapter, with the adapter merged into its weights."""
    if hasattr(layer, "unload_and_optionally_merge_module"):  # attention
        whole: nn.Module = layer.unload_and_optionally_merge_module(
            merge=True, safe_merge=False, adapter_names=None
        )
        return whole
    layer.merge()
    below: nn.Module = layer.get_base_layer()
    return below
