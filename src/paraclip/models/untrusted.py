"""Descriptions of models that lie in files: checked before anything is allocated or fetched.

A checkpoint's header and a folder's `open_clip_config.json` may come from anyone. Numbers are
bounded, names may not lead to a hub, and the model is laid out without memory first: only if its
tensors have the shapes that the file really holds is it built.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from paraclip.errors import UserError
from paraclip.models.hub import offline

LARGEST_NUMBER = 2**24  # larger than any vocabulary or width
LARGEST = {"context_length": 8192, "image_size": 4096}
MOST_PATCHES = 2**16
TOKENIZER_OPTIONS = {
    *("clean", "reduction_mask", "additional_special_tokens"),
    *("strip_sep_token", "language"),
}
AGAIN = "Write or fetch it again."

Shapes = Mapping[str, list[int]]


def check_config(config: Any) -> None:
    """Refuse a model configuration of open_clip that no honest model has.

    Raises:
        ValueError: parts are missing or of the wrong type, a number is out of bounds, or a name
            leads elsewhere than to what is installed here.
    """
    import timm

    if not isinstance(config, dict):
        raise ValueError("it is no table")
    for part in ("vision_cfg", "text_cfg"):
        if not isinstance(config.get(part), dict):
            raise ValueError(f"it has no table {part}")
    check_numbers(config)
    check_patches(config["vision_cfg"])
    name = config["vision_cfg"].get("timm_model_name")
    if name is not None and not (isinstance(name, str) and ":" not in name and timm.is_model(name)):
        raise ValueError(f"{name!r} is no model of timm")
    options = config["text_cfg"].get("tokenizer_kwargs") or {}
    if other := set(options) - TOKENIZER_OPTIONS:
        raise ValueError(f"{min(other)!r} is no option of a tokenizer")


def check_numbers(value: Any, name: str = "") -> None:
    """Refuse numbers that would allocate too much, however deep they are."""
    if isinstance(value, dict):
        for key, inner in value.items():
            check_numbers(inner, str(key))
    elif isinstance(value, list):
        for inner in value:
            check_numbers(inner, name)
    elif isinstance(value, int | float) and not abs(value) <= LARGEST.get(name, LARGEST_NUMBER):
        raise ValueError(f"{name} is impossibly large")


def check_patches(vision: dict[str, Any]) -> None:
    """Refuse more patches than a table of positions may have; some are computed outside torch."""
    size, patch = (largest(vision.get(name) or 16) for name in ("image_size", "patch_size"))
    if (size / max(patch, 1)) ** 2 > MOST_PATCHES:
        raise ValueError(f"a picture of {size} by {size} in patches of {patch} is impossibly large")


def largest(value: Any) -> int:
    """A side, given as a number or as height and width."""
    return int(max(value) if isinstance(value, list) else value)


def check_text_files(files: Any) -> None:
    """Refuse numbers in a text tower's `config.json` that no honest one has."""
    if files:
        check_numbers(json.loads(files.get("config.json", "{}")))


@contextmanager
def build_errors(where: object) -> Iterator[None]:
    """Turn what goes wrong while a described model is built into a `UserError`; no hub is asked."""
    try:
        with offline():
            yield
    except UserError:
        raise
    except KeyError as error:
        raise UserError(where, f"its header lacks {error}", AGAIN) from error
    except Exception as error:  # torch, timm and transformers each have their own
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        what = f"describes a model that cannot be built ({reason})"
        raise UserError(where, what, AGAIN) from error


def lay_out(build: Callable[[], nn.Module], tensors: int) -> nn.Module:
    """The model without memory for its weights, of which a file has so many.

    Raises:
        ValueError: it has many times more.
    """
    registered = 0
    # Towers may be built with more than is kept (an unused decoder, a classifier).
    most = 4 * tensors + 1000

    def count(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal registered
        registered += 1
        if registered > most:
            raise ValueError(f"it has more than {most} weights, the file {tensors}")

    hook = register_module_parameter_registration_hook(count)  # type: ignore[no-untyped-call]
    try:
        with torch.device("meta"):
            return build()
    finally:
        hook.remove()


def shapes_of(model: nn.Module) -> Shapes:
    """Shape of each of a model's tensors."""
    return {name: list(value.shape) for name, value in model.state_dict().items()}
