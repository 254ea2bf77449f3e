"""Hugging Face CLIP folders (`CLIPModel`): weight names, and reading of configurations.

Source: transformers `models/clip/modeling_clip.py`, `configuration_clip.py` and
`convert_clip_original_pytorch_to_hf.py`: the fused projection of queries, keys and values is split
into three, and projections are transposed.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from paraclip.errors import UserError
from paraclip.files import read_bounded
from paraclip.models.formats.untrusted import check_numbers, check_preprocessing, reason_of

RESAMPLE = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}  # numbers of Pillow
ACTIVATIONS = {"quick_gelu": True, "gelu": False}
VOCABULARY = 49408
LATEST_END = 2  # in configurations older than transformers 4.31: read at the largest id
FIX = "Convert it to an open_clip folder, or name another model."
BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
TEXT = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "text_projection": "text_projection.weight",
}
IMAGE = {
    "class_embedding": "vision_model.embeddings.class_embedding",
    "positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "ln_pre.weight": "vision_model.pre_layrnorm.weight",  # spelled like this in transformers
    "ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "ln_post.weight": "vision_model.post_layernorm.weight",
    "ln_post.bias": "vision_model.post_layernorm.bias",
    "proj": "visual_projection.weight",
}
TRANSPOSED = ("text_projection", "proj")


def to_hugging_face(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of an `OpenClip` with CLIP's architecture under the names of `CLIPModel`."""
    renamed: dict[str, Tensor] = {"logit_scale": state["logit_scale"].reshape(())}
    for prefix, model, names in (
        ("text_tower.", "text_model", TEXT),
        ("image_tower.", "vision_model", IMAGE),
    ):
        for name, value in state.items():
            if name.startswith(prefix):
                renamed |= dict(renamed_weight(name.removeprefix(prefix), value, model, names))
    return {name: value.detach().cpu().contiguous() for name, value in renamed.items()}


def renamed_weight(
    name: str, value: Tensor, model: str, names: dict[str, str]
) -> Iterator[tuple[str, Tensor]]:
    """A tower's weight under transformers' names; the fused projection becomes three weights."""
    if not name.startswith("transformer.resblocks."):
        yield names[name], value.T if name in TRANSPOSED else value
        return
    _, _, number, rest = name.split(".", 3)
    block = f"{model}.encoder.layers.{number}"
    if rest.startswith("attn.in_proj_"):
        kind = rest.removeprefix("attn.in_proj_")
        for part, piece in zip("qkv", value.chunk(3), strict=True):
            yield f"{block}.self_attn.{part}_proj.{kind}", piece
        return
    inner, _, kind = rest.rpartition(".")
    yield f"{block}.{BLOCK[inner]}.{kind}", value


def from_hugging_face(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a `CLIPModel` under the names of open_clip's model with a separate text tower."""
    renamed: dict[str, Tensor] = {}
    for prefix, model, names in (("text.", "text_model", TEXT), ("visual.", "vision_model", IMAGE)):
        theirs = {new: old for old, new in names.items()}
        for name, value in state.items():
            if name in theirs:
                old = theirs[name]
                renamed[prefix + old] = value.T.contiguous() if old in TRANSPOSED else value
        blocks = f"{model}.encoder.layers."
        layers = {name: value for name, value in state.items() if name.startswith(blocks)}
        renamed |= joined_blocks(layers, blocks, f"{prefix}transformer.resblocks.")
    if "logit_scale" in state:
        renamed["logit_scale"] = state["logit_scale"]
    return renamed


def joined_blocks(layers: dict[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    """A tower's blocks under open_clip's names; queries, keys and values are joined."""
    inner = {new: old for old, new in BLOCK.items()}
    renamed: dict[str, Tensor] = {}
    for name, value in layers.items():
        number, _, rest = name.removeprefix(theirs).partition(".")
        part, _, kind = rest.rpartition(".")
        if part in inner:
            renamed[f"{ours}{number}.{inner[part]}.{kind}"] = value
        elif part == "self_attn.q_proj":
            pieces = [layers.get(name.replace("q_proj", f"{one}_proj")) for one in "qkv"]
            if all(piece is not None for piece in pieces):
                joined = torch.cat([piece for piece in pieces if piece is not None])
                renamed[f"{ours}{number}.attn.in_proj_{kind}"] = joined
    return renamed


def is_hugging_face(folder: Path) -> bool:
    """Whether a folder contains a `CLIPModel`; raises UserError if its config.json is broken."""
    path = folder / "config.json"
    return path.is_file() and read_json(path).get("model_type") == "clip"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of limited size.

    Raises:
        UserError: it is not JSON or not an object, or contains impossibly large numbers.
    """
    try:
        content = json.loads(read_bounded(path))
        check_numbers(content)
    except (ValueError, RecursionError) as error:
        raise UserError(path, f"is not a configuration ({error})", "Download it again.") from error
    if not isinstance(content, dict):
        raise UserError(path, "is not a table", "Download it again.")
    return content


def open_clip_config_of(folder: Path) -> dict[str, Any]:
    """open_clip's configuration of a Hugging Face CLIP folder.

    Raises:
        UserError: the configuration is broken, or open_clip has no such model.
    """
    from transformers import CLIPConfig

    path = folder / "config.json"
    content = read_json(path)
    with configuration_errors(path):
        parts = {key: content[key] for key in PARTS if key in content}
        # Fills in defaults that newer versions do not write; reads no other files.
        config = CLIPConfig(**parts)
        text, vision = config.text_config, config.vision_config
        check_clip(path, text, vision)
        return {
            "embed_dim": config.projection_dim,
            "quick_gelu": ACTIVATIONS[text.hidden_act],
            "vision_cfg": vision_config(vision),
            "text_cfg": text_config(text),
        }


@contextmanager
def configuration_errors(path: Path) -> Iterator[None]:
    """Raise errors in reading a configuration as `UserError`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # huggingface_hub validates fields with its own classes
        what = f"is not a configuration of CLIP ({reason_of(error)})"
        raise UserError(path, what, FIX) from error


PARTS = ("text_config", "vision_config", "projection_dim", "logit_scale_init_value")
"""Keys of a CLIP's configuration that determine its shape; others may name code or files."""


def check_clip(path: Path, text: Any, vision: Any) -> None:
    """Raise UserError for settings that open_clip's CLIP does not support."""
    if text.hidden_act != vision.hidden_act or text.hidden_act not in ACTIVATIONS:
        what = f"has the activations {text.hidden_act!r} and {vision.hidden_act!r}"
        raise UserError(path, f"{what}; quick_gelu or gelu in both is known", FIX)
    if {text.layer_norm_eps, vision.layer_norm_eps} != {1e-5}:
        raise UserError(path, "has a layer_norm_eps other than 1e-5", FIX)
    if text.vocab_size != VOCABULARY:
        what = f"has {text.vocab_size} tokens and not the {VOCABULARY} of CLIP's vocabulary"
        raise UserError(path, what, FIX)
    if text.eos_token_id not in (LATEST_END, VOCABULARY - 1):
        raise UserError(path, f"reads texts at token {text.eos_token_id} and not at CLIP's", FIX)


def text_config(text: Any) -> dict[str, Any]:
    """open_clip's `text_cfg`."""
    return {
        "context_length": text.max_position_embeddings,
        "vocab_size": text.vocab_size,
        "width": text.hidden_size,
        "heads": text.num_attention_heads,
        "layers": text.num_hidden_layers,
        **ratio(text),
    }


def vision_config(vision: Any) -> dict[str, Any]:
    """open_clip's `vision_cfg`."""
    head = vision.hidden_size // vision.num_attention_heads
    return {
        "image_size": vision.image_size,
        "layers": vision.num_hidden_layers,
        "width": vision.hidden_size,
        "patch_size": vision.patch_size,
        **({"head_width": head} if head != 64 else {}),  # open_clip's default
        **ratio(vision),
    }


def ratio(tower: Any) -> dict[str, float]:
    """open_clip's `mlp_ratio`, if it is not the default."""
    value = tower.intermediate_size / tower.hidden_size
    return {} if value == 4 else {"mlp_ratio": value}


def preprocessing_of_folder(folder: Path) -> dict[str, Any]:
    """Fields of open_clip's `PreprocessCfg`; CLIP's defaults without a file.

    Raises:
        UserError: open_clip has no such preprocessing.
    """
    path = folder / "preprocessor_config.json"
    if path.is_file():
        settings = read_json(path)
    elif (folder / "processor_config.json").is_file():  # written by transformers 5
        path = folder / "processor_config.json"
        settings = read_json(path).get("image_processor") or {}
    else:
        return {}
    with configuration_errors(path):
        preprocessing = preprocessing_of_processor(settings, path)
        check_preprocessing(preprocessing)
    return preprocessing


def preprocessing_of_processor(settings: dict[str, Any], path: Path) -> dict[str, Any]:
    """Fields of open_clip's `PreprocessCfg` for the settings of a `CLIPImageProcessor`."""
    names = {number: name for name, number in RESAMPLE.items()}
    resample = settings.get("resample", RESAMPLE["bicubic"])
    if names.get(resample) not in ("bilinear", "bicubic"):
        raise UserError(path, f"resizes with filter {resample}, which open_clip lacks", FIX)
    check_steps(settings, path)
    size = settings.get("size", {})
    shortest = isinstance(size, int) or "shortest_edge" in size or not size
    return {
        "interpolation": names[resample],
        "resize_mode": "shortest" if shortest else "squash",
        **{
            name: tuple(settings[f"image_{name}"])
            for name in ("mean", "std")
            if f"image_{name}" in settings
        },
    }


def check_steps(settings: dict[str, Any], path: Path) -> None:
    """Raise UserError for a processor that omits a step, or crops after resizing to another size.

    open_clip takes every step and crops to the size to which it resizes.
    """
    for step in ("do_resize", "do_rescale", "do_normalize"):
        if settings.get(step) is False:
            raise UserError(path, f"sets {step} to false, which open_clip lacks", FIX)
    size, crop = settings.get("size"), settings.get("crop_size")
    edge = size.get("shortest_edge") if isinstance(size, dict) else size
    side = crop.get("height") if isinstance(crop, dict) else crop
    if edge and side and edge != side:
        what = f"resizes to {edge} and crops to {side}, which open_clip lacks"
        raise UserError(path, what, FIX)
