"""Checks of model descriptions from files, before memory is allocated or anything is downloaded.

A checkpoint's header and a folder's `open_clip_config.json` are untrusted. Numbers are bounded, and
names must not lead to a hub. The model is first laid out without memory, and built only if its
tensors have the same shapes as those in the file.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from paraclip.data.untrusted_json import BadJson, parse_json_object
from paraclip.errors import UserError
from paraclip.models.sources import offline

_LARGEST_NUMBER = 2**24  # larger than any vocabulary or width
_LARGEST = {"context_length": 8192, "image_size": 4096}  # tokens, and pixels of a side
_MOST_PATCHES = 2**16  # of a picture: 256 by 256
_LONGEST_NAME = 255  # bytes of a file name
# Sizes and the activation: others could name files.
_TIMM_ARGUMENTS = {"embed_dim", "depth", "num_heads", "mlp_ratio", "act_layer"}
# open_clip passes others to `AutoTokenizer.from_pretrained`, such as trust_remote_code.
_TOKENIZER_OPTIONS = {
    *("clean", "reduction_mask", "additional_special_tokens"),
    *("strip_sep_token", "language"),
}
RETRY = "Write or download it again."


def check_config(config: Any) -> None:
    """Check a model configuration of open_clip; raises ValueError if a part is missing or of the
    wrong type, a number is out of bounds, or a name refers to something that is not installed
    here."""
    import timm

    if not isinstance(config, dict):
        raise ValueError("it is not a table")
    for part in ("vision_cfg", "text_cfg"):
        if not isinstance(config.get(part), dict):
            raise ValueError(f"it has no table {part}")
    check_numbers(config)
    # Some position tables are computed outside torch, at any size.
    size, patch = (config["vision_cfg"].get(key) or 16 for key in ("image_size", "patch_size"))
    size, patch = (int(max(one) if isinstance(one, list) else one) for one in (size, patch))
    if (size / max(patch, 1)) ** 2 > _MOST_PATCHES:
        raise ValueError(f"a picture of {size} by {size} in patches of {patch} is impossibly large")
    name = config["vision_cfg"].get("timm_model_name")
    # Before a colon, timm reads `hf-hub` and `local-dir`.
    if name is not None and not (isinstance(name, str) and ":" not in name and timm.is_model(name)):
        raise ValueError(f"{name!r} is not a model of timm")
    if other := set(config["vision_cfg"].get("timm_model_args") or {}) - _TIMM_ARGUMENTS:
        raise ValueError(f"{min(other)!r} is not a size of an image encoder")
    for option in ("hf_model_name", "hf_tokenizer_name"):
        named = config["text_cfg"].get(option) or ""
        if not isinstance(named, str) or len(named.encode()) > _LONGEST_NAME:
            raise ValueError(f"{option} is not the name of a model")
    options = config["text_cfg"].get("tokenizer_kwargs") or {}
    if other := set(options) - _TOKENIZER_OPTIONS:
        raise ValueError(f"{min(other)!r} is not an option of a tokenizer")


def check_preprocessing(settings: dict[str, Any]) -> None:
    """Preprocess a small picture, because open_clip checks the fields of `PreprocessCfg` only when
    it uses them; raises ValueError if it cannot use them, or the pixels are not finite."""
    from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict

    try:
        fields = merge_preprocess_dict(PreprocessCfg(), {**settings, "size": 2})
        transform = image_transform_v2(PreprocessCfg(**fields), is_train=False)
        # Not square, so that it is resized and cropped or padded.
        finite = transform(Image.new("RGB", (1, 2))).isfinite().all()
    except Exception as error:  # open_clip, torchvision and Pillow each have their own
        raise ValueError(f"pictures cannot be preprocessed: {reason_of(error)}") from error
    if not finite:
        raise ValueError("preprocessed pictures are not finite")


def check_numbers(value: Any, name: str = "") -> None:
    """Reject numbers that would allocate too much, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            check_numbers(inner, str(key))
    elif isinstance(value, list):
        for inner in value:
            check_numbers(inner, name)
    # `not ... <=` refuses NaN as well.
    elif isinstance(value, int | float) and not abs(value) <= _LARGEST.get(name, _LARGEST_NUMBER):
        raise ValueError(f"{name} is impossibly large")


def check_text_files(files: Any) -> None:
    """Reject files of a text tower that are not JSON, and impossible numbers in `config.json`."""
    for name, text in (files or {}).items():
        if name.endswith(".json"):
            try:
                content = parse_json_object(text)
            except BadJson as error:
                raise ValueError(f"its {name} {error}") from error
            if name == "config.json":
                check_numbers(content)


@contextmanager
def build_errors(
    where: object, what: str = "describes a model that cannot be built", hint: str = RETRY
) -> Iterator[None]:
    """Raise errors in reading a description, or in building its model, as `UserError`; the network
    is not used."""
    try:
        with offline():
            yield
    except UserError:
        raise
    except Exception as error:  # torch, timm and transformers each have their own
        reason = f"it lacks {error}" if isinstance(error, KeyError) else reason_of(error)
        raise UserError(where, f"{what} ({reason})", hint) from error


def reason_of(error: Exception) -> str:
    """The first line of an error's message, or its type."""
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__


def lay_out(build: Callable[[], nn.Module], tensors: int) -> nn.Module:
    """Build a model without memory for its weights; raises ValueError for one that has many times
    more tensors than its file."""
    registered = 0
    # Some parts of a tower are built and then dropped (a decoder, a classifier).
    most = 4 * tensors + 1000

    def count(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal registered
        registered += 1
        if registered > most:
            raise ValueError(f"it has more than {most} weights, the file has {tensors}")

    hook = register_module_parameter_registration_hook(count)  # type: ignore[no-untyped-call]
    try:
        with torch.device("meta"):
            return build()
    finally:
        hook.remove()
