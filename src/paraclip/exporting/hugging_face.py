"""open_clip's CLIP as the folder that transformers' `CLIPModel` loads, and which models are a CLIP.

The text vector is read at the first `eos_token_id`; transformers reads this id from the
configuration from version 4.31 on.
"""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.transformer import TextTransformer, VisionTransformer

from paraclip.errors import UserError
from paraclip.exporting.clip_tokenizer import END_ID, START_ID, clip_tokenizer_files
from paraclip.exporting.source import Source
from paraclip.files import write_text
from paraclip.models.encoder import DualEncoder
from paraclip.models.formats.hugging_face import RESAMPLE, to_hugging_face
from paraclip.models.formats.laclip import is_laclip_vision
from paraclip.models.openclip import OpenClip
from paraclip.models.tensors import save_tensors

WANTED_BY = "Hugging Face's CLIP"
VOCABULARY = 49408
TEXT_SIZES = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
IMAGE_SIZES = {
    *("layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size"),
    "patch_dropout",  # used only in training
}


def write_hugging_face(source: Source, folder: Path, half: bool = False) -> None:
    """Write a Hugging Face CLIP folder: configuration, weights, tokenizer, preprocessing.

    Raises:
        UserError: a tower is not CLIP's, or the preprocessing has no counterpart.
    """
    clip = clip_model(source.model, WANTED_BY)
    files = {
        "config.json": json.dumps(clip_config(clip, half), indent=1),
        "preprocessor_config.json": json.dumps(preprocessor_config(clip), indent=1),
        **clip_tokenizer_files(clip.architecture.context_length),
    }
    for name, content in files.items():
        write_text(folder / name, content)
    tensors = {
        name: value.half() if half else value
        for name, value in to_hugging_face(clip.state_dict()).items()
    }
    save_tensors(tensors, folder / "model.safetensors", {"format": "pt"})


def clip_config(clip: OpenClip, half: bool = False) -> dict[str, Any]:
    """`config.json` of a `CLIPModel`."""
    # open_clip's configurations may omit what is its default.
    text = {**asdict(CLIPTextCfg()), **clip.spec.config["text_cfg"]}
    vision = {**asdict(CLIPVisionCfg()), **clip.spec.config["vision_cfg"]}
    shared = {
        "hidden_act": "quick_gelu" if clip.architecture.quick_gelu else "gelu",
        "layer_norm_eps": 1e-5,
        "projection_dim": clip.architecture.embed_dim,
    }
    tokens = {"bos_token_id": START_ID, "eos_token_id": END_ID}
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": clip.architecture.embed_dim,
        "logit_scale_init_value": float(clip.logit_scale.detach()),
        "torch_dtype": "float16" if half else "float32",
        "text_config": {
            "model_type": "clip_text_model",
            **shared,
            **tokens,
            "pad_token_id": END_ID,
            "vocab_size": text["vocab_size"],
            "max_position_embeddings": clip.architecture.context_length,
            "hidden_size": text["width"],
            "intermediate_size": int(text["width"] * text["mlp_ratio"]),
            "num_hidden_layers": text["layers"],
            "num_attention_heads": text["heads"],
        },
        "vision_config": {
            "model_type": "clip_vision_model",
            **shared,
            "image_size": clip.image_size,
            "patch_size": vision["patch_size"],
            "hidden_size": vision["width"],
            "intermediate_size": int(vision["width"] * vision["mlp_ratio"]),
            "num_hidden_layers": vision["layers"],
            "num_attention_heads": vision["width"] // vision["head_width"],
        },
    }


def preprocessor_config(clip: OpenClip) -> dict[str, Any]:
    """`preprocessor_config.json` of a `CLIPImageProcessor`.

    Raises:
        UserError: open_clip pads the pictures of this model, which the processor cannot do.
    """
    settings, side = clip.spec.preprocessing, clip.image_size
    mode = settings.get("resize_mode", "shortest")
    if mode not in ("shortest", "squash"):
        what = f"its preprocessing is {mode!r}, which {WANTED_BY} lacks"
        raise UserError(clip.architecture.name, what, "Use --to open-clip.")
    square = {"height": side, "width": side}
    interpolation = settings.get("interpolation", "bicubic")
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": side} if mode == "shortest" else square,
        "resample": RESAMPLE.get(interpolation, RESAMPLE["bicubic"]),
        "do_center_crop": mode == "shortest",
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(settings.get("mean", (0.48145466, 0.4578275, 0.40821073))),
        "image_std": list(settings.get("std", (0.26862954, 0.26130258, 0.27577711))),
        "do_convert_rgb": True,
    }


def clip_text(model: DualEncoder, wanted_by: str) -> OpenClip:
    """The model, if its text tower is CLIP's transformer with CLIP's tokenizer.

    Args:
        model: the model.
        wanted_by: what needs it, for the error.

    Raises:
        UserError: it is not; gives the reason.
    """
    return _checked(model, wanted_by, no_clip_text(model))


def clip_model(model: DualEncoder, wanted_by: str) -> OpenClip:
    """The model, if both of its towers are CLIP's; raises the error of `clip_text`."""
    return _checked(model, wanted_by, _no_clip_image(clip_text(model, wanted_by)))


def _checked(model: DualEncoder, wanted_by: str, reason: str | None) -> OpenClip:
    if isinstance(model, OpenClip) and reason is None:
        return model
    vision = model.spec.config["vision_cfg"] if isinstance(model, OpenClip) else None
    no_other = vision is None or is_laclip_vision(vision.get("timm_model_name"))
    hint = f"Use --to onnx, which keeps any tower{'' if no_other else ', or --to open-clip'}."
    raise UserError(model.architecture.name, f"{reason}, which {wanted_by} needs", hint)


def no_clip_text(model: DualEncoder) -> str | None:
    """The reason why a text tower is not CLIP's, or None."""
    if not isinstance(model, OpenClip):
        return "its text tower is a BERT and not CLIP's transformer"
    text = model.spec.config["text_cfg"]
    if text.get("hf_model_name"):
        return f"its text tower is {text['hf_model_name']} and not CLIP's transformer"
    if text.get("hf_tokenizer_name") or text.get("tokenizer_kwargs"):
        return "its tokenizer is not CLIP's"
    if not isinstance(model.text_tower, TextTransformer) or not model.architecture.causal_text:
        return "its text tower does not read to the end token like CLIP's transformer"
    if text.get("vocab_size", VOCABULARY) != VOCABULARY:
        return f"its vocabulary has {text['vocab_size']} tokens and not the {VOCABULARY} of CLIP's"
    if option := _unusual(text, CLIPTextCfg, TEXT_SIZES):
        return f"its text tower has the option {option} and is not CLIP's transformer"
    return None


def _no_clip_image(model: OpenClip) -> str | None:
    """The reason why an image tower is not CLIP's vision transformer, or None."""
    vision = model.spec.config["vision_cfg"]
    if is_laclip_vision(vision.get("timm_model_name")):
        return "its image tower is LaCLIP's own and not CLIP's vision transformer"
    if name := vision.get("timm_model_name"):
        return f"its image tower is timm's {name} and not CLIP's vision transformer"
    if not isinstance(model.image_tower, VisionTransformer):
        return "its image tower is a ResNet and not CLIP's vision transformer"
    if option := _unusual(vision, CLIPVisionCfg, IMAGE_SIZES):
        return f"its image tower has the option {option} and is not CLIP's vision transformer"
    if "multimodal_cfg" in model.spec.config:
        return "it has a decoder (CoCa) and is not CLIP"
    return None


def _unusual(config: dict[str, Any], kind: Any, sizes: set[str]) -> str | None:
    """The first option that differs from open_clip's default and is not a size."""
    defaults = {field.name: field.default for field in fields(kind)}
    others = sorted(name for name in config if name not in sizes)
    return next((name for name in others if config[name] != defaults.get(name)), None)
