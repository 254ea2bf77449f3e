"""Hugging Face CLIP folders (`CLIPModel`): weight names, and reading of configurations.

Source: transformers `models/clip/modeling_clip.py`, `configuration_clip.py` and
`convert_clip_original_pytorch_to_hf.py`: the fused projection of queries, keys and values is split
into three, and projections are transposed.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from paraclip.data.untrusted_json import read_json_object
from paraclip.errors import UserError
from paraclip.models.formats.untrusted import build_errors, check_numbers, check_preprocessing

RESAMPLE = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}  # numbers of Pillow
_ACTIVATIONS = {"quick_gelu": True, "gelu": False}
_VOCABULARY = 49408
_LATEST_END = 2  # in configurations older than transformers 4.31: read at the largest id
_WRONG = "is not a configuration of CLIP"
_FIX = "Convert it to an open_clip folder, or name another model."
_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_TEXT = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "text_projection": "text_projection.weight",
}
_IMAGE = {
    "class_embedding": "vision_model.embeddings.class_embedding",
    "positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "ln_pre.weight": "vision_model.pre_layrnorm.weight",  # spelled like this in transformers
    "ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "ln_post.weight": "vision_model.post_layernorm.weight",
    "ln_post.bias": "vision_model.post_layernorm.bias",
    "proj": "visual_projection.weight",
}
_TRANSPOSED = ("text_projection", "proj")


def to_hugging_face(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of an `OpenClip` with CLIP's architecture under the names of `CLIPModel`."""
    renamed: dict[str, Tensor] = {"logit_scale": state["logit_scale"].reshape(())}
    for prefix, model, names in (
        ("text_tower.", "text_model", _TEXT),
        ("image_tower.", "vision_model", _IMAGE),
    ):
        for key, value in state.items():
            name = key.removeprefix(prefix)
            if name == key:
                continue
            if not name.startswith("transformer.resblocks."):
                renamed[names[name]] = value.T if name in _TRANSPOSED else value
                continue
            _, _, number, rest = name.split(".", 3)
            block = f"{model}.encoder.layers.{number}"
            inner, _, kind = rest.rpartition(".")
            if rest.startswith("attn.in_proj_"):
                kind = rest.removeprefix("attn.in_proj_")
                for part, piece in zip("qkv", value.chunk(3), strict=True):
                    renamed[f"{block}.self_attn.{part}_proj.{kind}"] = piece
            else:
                renamed[f"{block}.{_BLOCK[inner]}.{kind}"] = value
    return {name: value.detach().cpu().contiguous() for name, value in renamed.items()}


def from_hugging_face(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a `CLIPModel` under the names of open_clip's model with a separate text tower."""
    renamed: dict[str, Tensor] = {}
    inner = {new: old for old, new in _BLOCK.items()}
    for prefix, model, names in (
        ("text.", "text_model", _TEXT),
        ("visual.", "vision_model", _IMAGE),
    ):
        theirs = {new: old for old, new in names.items()}
        blocks = f"{model}.encoder.layers."
        for name, value in state.items():
            if name in theirs:
                old = theirs[name]
                renamed[prefix + old] = value.T.contiguous() if old in _TRANSPOSED else value
            if not name.startswith(blocks):
                continue
            number, _, rest = name.removeprefix(blocks).partition(".")
            part, _, kind = rest.rpartition(".")
            block = f"{prefix}transformer.resblocks.{number}"
            if part in inner:
                renamed[f"{block}.{inner[part]}.{kind}"] = value
            elif part == "self_attn.q_proj":
                pieces = [state.get(name.replace("q_proj", f"{one}_proj")) for one in "qkv"]
                if all(piece is not None for piece in pieces):
                    joined = torch.cat([piece for piece in pieces if piece is not None])
                    renamed[f"{block}.attn.in_proj_{kind}"] = joined
    if "logit_scale" in state:
        renamed["logit_scale"] = state["logit_scale"]
    return renamed


def is_hugging_face(folder: Path) -> bool:
    """Whether a folder contains a `CLIPModel`; raises UserError if its config.json is broken."""
    path = folder / "config.json"
    return path.is_file() and _read_json(path).get("model_type") == "clip"


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; raises UserError, also for impossibly large numbers."""
    content = read_json_object(path, "Download it again.")
    try:
        check_numbers(content)
    except ValueError as error:
        raise UserError(path, f"is not a configuration ({error})", "Download it again.") from error
    return content


_PARTS = ("text_config", "vision_config", "projection_dim", "logit_scale_init_value")
"""Keys of a CLIP's configuration that determine its shape; others may name code or files."""


def open_clip_config_of(folder: Path) -> dict[str, Any]:
    """open_clip's configuration of a Hugging Face CLIP folder.

    Raises:
        UserError: the configuration is broken, or open_clip has no such model.
    """
    from transformers import CLIPConfig

    path = folder / "config.json"
    content = _read_json(path)
    with build_errors(path, _WRONG, _FIX):
        # Fills in defaults that newer versions do not write; reads no other files.
        config = CLIPConfig(**{key: content[key] for key in _PARTS if key in content})
        text, vision = config.text_config, config.vision_config
        if text.hidden_act != vision.hidden_act or text.hidden_act not in _ACTIVATIONS:
            what = f"has the activations {text.hidden_act!r} and {vision.hidden_act!r}"
            raise UserError(path, f"{what}; quick_gelu or gelu in both is known", _FIX)
        if {text.layer_norm_eps, vision.layer_norm_eps} != {1e-5}:
            raise UserError(path, "has a layer_norm_eps other than 1e-5", _FIX)
        if text.vocab_size != _VOCABULARY:
            what = f"has {text.vocab_size} tokens and not the {_VOCABULARY} of CLIP's vocabulary"
            raise UserError(path, what, _FIX)
        if text.eos_token_id not in (_LATEST_END, _VOCABULARY - 1):
            what = f"reads texts at token {text.eos_token_id} and not at CLIP's"
            raise UserError(path, what, _FIX)
        head = vision.hidden_size // vision.num_attention_heads
        return {
            "embed_dim": config.projection_dim,
            "quick_gelu": _ACTIVATIONS[text.hidden_act],
            "vision_cfg": {
                "image_size": vision.image_size,
                "layers": vision.num_hidden_layers,
                "width": vision.hidden_size,
                "patch_size": vision.patch_size,
                **({"head_width": head} if head != 64 else {}),  # open_clip's default
                **_mlp_ratio(vision),
            },
            "text_cfg": {
                "context_length": text.max_position_embeddings,
                "vocab_size": text.vocab_size,
                "width": text.hidden_size,
                "heads": text.num_attention_heads,
                "layers": text.num_hidden_layers,
                **_mlp_ratio(text),
            },
        }


def _mlp_ratio(tower: Any) -> dict[str, float]:
    """open_clip's `_mlp_ratio`, if it is not the default."""
    value = tower.intermediate_size / tower.hidden_size
    return {} if value == 4 else {"mlp_ratio": value}


def preprocessing_of_folder(folder: Path) -> dict[str, Any]:
    """Fields of open_clip's `PreprocessCfg`; CLIP's defaults without a file.

    open_clip takes every step of a `CLIPImageProcessor` and crops to the size to which it resizes.

    Raises:
        UserError: open_clip has no such preprocessing.
    """
    path = folder / "preprocessor_config.json"
    if path.is_file():
        settings = _read_json(path)
    elif (folder / "processor_config.json").is_file():  # written by transformers 5
        path = folder / "processor_config.json"
        settings = _read_json(path).get("image_processor") or {}
    else:
        return {}
    names = {number: name for name, number in RESAMPLE.items()}
    with build_errors(path, _WRONG, _FIX):
        resample = settings.get("resample", RESAMPLE["bicubic"])
        if names.get(resample) not in ("bilinear", "bicubic"):
            raise UserError(path, f"resizes with filter {resample}, which open_clip lacks", _FIX)
        for step in ("do_resize", "do_rescale", "do_normalize"):
            if settings.get(step) is False:
                raise UserError(path, f"sets {step} to false, which open_clip lacks", _FIX)
        size, crop = settings.get("size", {}), settings.get("crop_size")
        edge = size.get("shortest_edge") if isinstance(size, dict) else size
        side = crop.get("height") if isinstance(crop, dict) else crop
        if edge and side and edge != side:
            what = f"resizes to {edge} and crops to {side}, which open_clip lacks"
            raise UserError(path, what, _FIX)
        shortest = isinstance(size, int) or "shortest_edge" in size or not size
        preprocessing: dict[str, Any] = {
            "interpolation": names[resample],
            "resize_mode": "shortest" if shortest else "squash",
        }
        for name in ("mean", "std"):
            if f"image_{name}" in settings:
                preprocessing[name] = tuple(settings[f"image_{name}"])
        check_preprocessing(preprocessing)
    return preprocessing
