"""LoRA: small matrices beside the frozen ones, by `peft`; a checkpoint holds their sum."""

from copy import deepcopy
from typing import Any

import torch
from torch import nn

from paraclip.errors import UserError
from paraclip.models.encoder import DualEncoder

MARK = "lora_"
"""In the name of every weight of an adapter."""


def add_adapters(tower: nn.Module, rank: int, alpha: float, seed: int) -> None:
    """Put an adapter beside every linear map of a tower; its output is the same at first.

    Args:
        tower: changed in place.
        rank: width of the small matrices.
        alpha: their product counts alpha / rank.
        seed: decides their first values.

    Raises:
        UserError: `peft` is not installed.

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
    """Add the adapters to the weights they lie beside and take them off, in place."""
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
