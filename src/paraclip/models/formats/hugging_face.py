"""Hugging Face CLIP folders (`CLIPModel`): weight names, and reading of configurations.

Source: transformers `models/clip/modeling_clip.py`, `configuration_clip.py` and
`convert_clip_original_pytorch_to_hf.py`: the fused projection of queries, keys and values is split
into three, and projections are transposed.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from torch import Tensor

from paraclip.data.untrusted_json import read_json_object
from paraclip.errors import UserError
from paraclip.models.formats.clip_tokenizer import END_ID, START_ID
from paraclip.models.formats.untrusted import build_errors, check_numbers, check_preprocessing
from paraclip.models.openclip import OpenClip

_RESAMPLE = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}  # numbers of Pillow
_ACTIVATIONS = {"quick_gelu": True, "gelu": False}
VOCABULARY = 49408
_LATEST_END = 2  # in configurations older than transformers 4.31: read at the largest id
_WRONG = "is not a configuration of CLIP"
_RETRY = "Download it again."
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
_TEXT_SIZES = {
    "context_length": "max_position_embeddings", "vocab_size": "vocab_size",
    "width": "hidden_size", "heads": "num_attention_heads", "layers": "num_hidden_layers",
}  # fmt: skip
_IMAGE_SIZES = {
    "image_size": "image_size", "layers": "num_hidden_layers", "width": "hidden_size",
    "patch_size": "patch_size",
}  # fmt: skip
"""Sizes in open_clip's configuration and in that of `CLIPModel`."""


def _names(text: str, image: str, tensors: int) -> Iterator[tuple[str, str]]:
    """Names of weights in open_clip, below these names of its towers, and in `CLIPModel`.

    A fused projection has three names there, with `{}` for q, k and v. There are names for the
    most layers that this number of tensors can hold.
    """
    for tower, model, names in ((text, "text_model", _TEXT), (image, "vision_model", _IMAGE)):
        yield from ((f"{tower}.{ours}", theirs) for ours, theirs in names.items())
        for number in range(tensors // len(_BLOCK)):
            block, layer = (
                f"{tower}.transformer.resblocks.{number}",
                f"{model}.encoder.layers.{number}",
            )
            for kind in ("weight", "bias"):
                yield f"{block}.attn.in_proj_{kind}", f"{layer}.self_attn.{{}}_proj.{kind}"
                for ours, theirs in _BLOCK.items():
                    yield f"{block}.{ours}.{kind}", f"{layer}.{theirs}.{kind}"


def to_hugging_face(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of an `OpenClip` with CLIP's architecture under the names of `CLIPModel`."""
    renamed: dict[str, Tensor] = {"logit_scale": state["logit_scale"].reshape(())}
    for ours, theirs in _names("text_tower", "image_tower", len(state)):
        if ours in state:
            split = "{}" in theirs
            for part, piece in zip("qkv", state[ours].chunk(3 if split else 1), strict=split):
                turned = ours.rpartition(".")[2] in _TRANSPOSED
                renamed[theirs.format(part)] = piece.T if turned else piece
    return {name: value.detach().cpu().contiguous() for name, value in renamed.items()}


def from_hugging_face(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a `CLIPModel` under the names of open_clip's model with a separate text tower;
    those of another model as they are."""
    if _TEXT["token_embedding.weight"] not in state:
        return state
    renamed = {"logit_scale": state["logit_scale"]} if "logit_scale" in state else {}
    for ours, theirs in _names("text", "visual", len(state)):
        parts = [theirs.format(part) for part in ("qkv" if "{}" in theirs else "q")]
        found = [state[part] for part in parts if part in state]
        if len(found) == len(parts):
            joined = torch.cat(found) if len(found) > 1 else found[0]
            turned = ours.rpartition(".")[2] in _TRANSPOSED
            renamed[ours] = joined.T.contiguous() if turned else joined
    return renamed


_PARTS = ("text_config", "vision_config", "projection_dim", "logit_scale_init_value")
"""Keys of a CLIP's configuration that determine its shape; others may name code or files."""


def open_clip_config_of(folder: Path) -> dict[str, Any] | None:
    """open_clip's configuration of a folder that holds a `CLIPModel`; None for another folder.

    Raises:
        UserError: the configuration is broken, or open_clip has no such model.
    """
    path = folder / "config.json"
    content = read_json_object(path, _RETRY) if path.is_file() else {}
    if content.get("model_type") != "clip":
        return None
    from transformers import CLIPConfig

    with build_errors(path, _WRONG, _FIX):
        check_numbers(content)
        # Fills in defaults that newer versions do not write; reads no other files.
        config = CLIPConfig(**{key: content[key] for key in _PARTS if key in content})
        text, vision = config.text_config, config.vision_config
        if text.hidden_act != vision.hidden_act or text.hidden_act not in _ACTIVATIONS:
            what = f"has the activations {text.hidden_act!r} and {vision.hidden_act!r}"
            raise UserError(path, f"{what}; quick_gelu or gelu in both is known", _FIX)
        if {text.layer_norm_eps, vision.layer_norm_eps} != {1e-5}:
            raise UserError(path, "has a layer_norm_eps other than 1e-5", _FIX)
        if text.vocab_size != VOCABULARY:
            what = f"has {text.vocab_size} tokens and not the {VOCABULARY} of CLIP's vocabulary"
            raise UserError(path, what, _FIX)
        if text.eos_token_id not in (_LATEST_END, VOCABULARY - 1):
            what = f"reads texts at token {text.eos_token_id} and not at CLIP's"
            raise UserError(path, what, _FIX)
        head = vision.hidden_size // vision.num_attention_heads
        return {
            "embed_dim": config.projection_dim,
            "quick_gelu": _ACTIVATIONS[text.hidden_act],
            "vision_cfg": {
                **{ours: getattr(vision, theirs) for ours, theirs in _IMAGE_SIZES.items()},
                **({"head_width": head} if head != 64 else {}),  # open_clip's default
                **_mlp_ratio(vision),
            },
            "text_cfg": {
                **{ours: getattr(text, theirs) for ours, theirs in _TEXT_SIZES.items()},
                **_mlp_ratio(text),
            },
        }


def _mlp_ratio(tower: Any) -> dict[str, float]:
    """open_clip's `_mlp_ratio`, if it is not the default."""
    value = tower.intermediate_size / tower.hidden_size
    return {} if value == 4 else {"mlp_ratio": value}


def clip_config(clip: OpenClip, half: bool) -> dict[str, Any]:
    """`config.json` of a `CLIPModel`, with 16-bit weights if `half`."""
    # open_clip's configurations may omit what is its default.
    text = {**asdict(CLIPTextCfg()), **clip.spec.config["text_cfg"]}
    vision = {**asdict(CLIPVisionCfg()), **clip.spec.config["vision_cfg"]}
    text["context_length"], vision["image_size"] = clip.architecture.context_length, clip.image_size
    shared = {
        "hidden_act": "quick_gelu" if clip.architecture.quick_gelu else "gelu",
        "layer_norm_eps": 1e-5,
        "projection_dim": clip.architecture.embed_dim,
    }
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": clip.architecture.embed_dim,
        "logit_scale_init_value": float(clip.logit_scale.detach()),
        "torch_dtype": "float16" if half else "float32",
        "text_config": {
            "model_type": "clip_text_model",
            **shared,
            "bos_token_id": START_ID,
            "eos_token_id": END_ID,
            "pad_token_id": END_ID,
            **{theirs: text[ours] for ours, theirs in _TEXT_SIZES.items()},
            "intermediate_size": int(text["width"] * text["mlp_ratio"]),
        },
        "vision_config": {
            "model_type": "clip_vision_model",
            **shared,
            **{theirs: vision[ours] for ours, theirs in _IMAGE_SIZES.items()},
            "intermediate_size": int(vision["width"] * vision["mlp_ratio"]),
            "num_attention_heads": vision["width"] // vision["head_width"],
        },
    }


def preprocessor_config(clip: OpenClip) -> dict[str, Any]:
    """`preprocessor_config.json` of a `CLIPImageProcessor`."""
    settings, side = clip.spec.preprocessing, clip.image_size
    mode = settings.get("resize_mode", "shortest")  # "longest" pads, which the processor cannot do
    if mode not in ("shortest", "squash"):
        what = f"its preprocessing is {mode!r}, which Hugging Face's CLIP lacks"
        raise UserError(clip.architecture.name, what, "Use --to open-clip.")
    square = {"height": side, "width": side}
    interpolation = settings.get("interpolation", "bicubic")
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": side} if mode == "shortest" else square,
        "resample": _RESAMPLE.get(interpolation, _RESAMPLE["bicubic"]),
        "do_center_crop": mode == "shortest",
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(settings.get("mean", (0.48145466, 0.4578275, 0.40821073))),
        "image_std": list(settings.get("std", (0.26862954, 0.26130258, 0.27577711))),
        "do_convert_rgb": True,
    }


def preprocessing_of_folder(folder: Path) -> dict[str, Any]:
    """Fields of open_clip's `PreprocessCfg`; CLIP's defaults without a file.

    open_clip takes every step of a `CLIPImageProcessor` and crops to the size to which it resizes.

    Raises:
        UserError: open_clip has no such preprocessing.
    """
    # Transformers 5 writes the latter.
    names = ("preprocessor_config.json", "processor_config.json")
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        return {}
    filters = {number: name for name, number in _RESAMPLE.items()}
    with build_errors(path, _WRONG, _FIX):
        settings = read_json_object(path, _RETRY)
        if path.name == names[1]:
            settings = settings.get("image_processor") or {}
        check_numbers(settings)
        resample = settings.get("resample", _RESAMPLE["bicubic"])
        if filters.get(resample) not in ("bilinear", "bicubic"):
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
            "interpolation": filters[resample],
            "resize_mode": "shortest" if shortest else "squash",
        }
        for name in ("mean", "std"):
            if f"image_{name}" in settings:
                preprocessing[name] = tuple(settings[f"image_{name}"])
        check_preprocessing(preprocessing)
    return preprocessing
