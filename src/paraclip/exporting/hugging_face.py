"""open_clip's CLIP as the folder that transformers' `CLIPModel` loads.

The text vector is read at the first `eos_token_id`; transformers reads this id from the
configuration from version 4.31 on.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from open_clip.model import CLIPTextCfg, CLIPVisionCfg

from paraclip.errors import UserError
from paraclip.exporting.clip_shape import clip_model
from paraclip.exporting.clip_tokenizer import END_ID, START_ID, clip_tokenizer_files
from paraclip.exporting.source import Source
from paraclip.files import write_text
from paraclip.models.formats.hugging_face import RESAMPLE, to_hugging_face
from paraclip.models.openclip import OpenClip
from paraclip.models.tensors import save_tensors

WANTED_BY = "Hugging Face's CLIP"


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
