"""Folders for transformers' `CLIPModel` and for sentence-transformers, and which models are a CLIP.

The text vector is read at the first `eos_token_id`; transformers reads this id from the
configuration from version 4.31 on.

A folder of sentence-transformers lists modules, which are a CLIP or the text tower of `mini`.
`CLIPModel` can be loaded by every version from 2.0 on (5.4 renamed the class and still finds it
under the old name); a plain Hugging Face CLIP folder can be loaded from 5.4 on.
Source: sentence-transformers 5.3.0 `models/CLIPModel.py`, `Pooling.py`, `Dense.py`, `Normalize.py`
and 6.2.0 `sentence_transformer/modules/clip_model.py`; `modules.json` names the classes.
"""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.transformer import TextTransformer, VisionTransformer

from paraclip.errors import UserError
from paraclip.exporting.clip_tokenizer import END_ID, START_ID, clip_tokenizer_files
from paraclip.exporting.config import ExportOptions
from paraclip.exporting.source import Source
from paraclip.exporting.system import Steps, System, write_files
from paraclip.models.encoder import DualEncoder
from paraclip.models.formats.hugging_face import RESAMPLE, to_hugging_face
from paraclip.models.mini import Mini
from paraclip.models.openclip import OpenClip
from paraclip.models.tensors import save_tensors

_WANTED_BY = "Hugging Face's CLIP"
_VOCABULARY = 49408
_TEXT_SIZES = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
_IMAGE_SIZES = {
    *("layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size"),
    "patch_dropout",  # used only in training
}


def _write_clip(source: Source, folder: Path, options: ExportOptions) -> None:
    """Write a Hugging Face CLIP folder: configuration, weights, tokenizer, preprocessing."""
    clip = clip_model(source.model, _WANTED_BY)
    files = {
        "config.json": _clip_config(clip, options.half),
        "preprocessor_config.json": _preprocessor_config(clip),
        **clip_tokenizer_files(clip.architecture.context_length),
    }
    write_files(folder, files)
    tensors = to_hugging_face(clip.state_dict())
    if options.half:
        tensors = {name: value.half() for name, value in tensors.items()}
    save_tensors(tensors, folder / "model.safetensors", {"format": "pt"})


def _clip_steps(source: Source, folder: Path) -> Steps:
    return (f"Load it by transformers.CLIPModel.from_pretrained({str(folder)!r}).",)


def _write_sentence_transformers(source: Source, folder: Path, options: ExportOptions) -> None:
    """Write a folder of modules."""
    if isinstance(source.model, Mini):
        names = _write_mini(source.model, folder)
    else:
        names = ["CLIPModel"]
        inner = folder / "0_CLIPModel"
        inner.mkdir()
        _write_clip(source, inner, options)
    modules = [
        {
            "idx": place, "name": str(place), "type": f"sentence_transformers.models.{name}",
            "path": "" if name == "Transformer" else f"{place}_{name}",
        }
        for place, name in enumerate(names)
    ]  # fmt: skip
    write_files(folder, {"modules.json": modules})


def _write_mini(model: Mini, folder: Path) -> list[str]:
    """Write the text tower as BERT, mean, optional linear head and norm; returns module names."""
    tower = model.text_tower
    if tower.transformer.config.model_type != "bert":
        what = f"its text tower is a {tower.transformer.config.model_type}"
        raise UserError(model.architecture.name, what, "Use --to onnx.")
    state = {k: v.detach().cpu().contiguous() for k, v in tower.transformer.state_dict().items()}
    # Without a pooler, which mean pooling does not use, loading warns of missing weights.
    state["pooler.dense.weight"] = torch.zeros(tower.width, tower.width)
    state["pooler.dense.bias"] = torch.zeros(tower.width)
    save_tensors(state, folder / "model.safetensors", {"format": "pt"})
    length = {"max_seq_length": tower.context_length, "do_lower_case": False}
    pooling = {"word_embedding_dimension": tower.width, "pooling_mode_mean_tokens": True}
    files: dict[str, object] = {
        **model.text_files,
        "sentence_bert_config.json": length,
        "1_Pooling/config.json": pooling,
    }
    names = ["Transformer", "Pooling", "Normalize"]
    if head := {f"linear.{k}": v.detach().cpu() for k, v in tower.head.state_dict().items()}:
        files["2_Dense/config.json"] = {
            "in_features": tower.width, "out_features": model.architecture.embed_dim,
            "bias": True, "activation_function": "torch.nn.modules.linear.Identity",
        }  # fmt: skip
        save_tensors(head, folder / "2_Dense" / "model.safetensors", {"format": "pt"})
        names.insert(2, "Dense")
    write_files(folder, files)
    (folder / f"{names.index('Normalize')}_Normalize").mkdir()
    return names


def _sentence_transformers_steps(source: Source, folder: Path) -> Steps:
    return (
        f"Load it by SentenceTransformer({str(folder)!r}) where the base's name was.",
        "Nothing is cached. Vectors of pictures stay; embed stored texts again if you have any.",
        "To go back, load the base's name again.",
    )


HUGGING_FACE = System(_write_clip, _clip_steps, takes=("half",), index=None)
SENTENCE_TRANSFORMERS = System(_write_sentence_transformers, _sentence_transformers_steps)


def _clip_config(clip: OpenClip, half: bool) -> dict[str, Any]:
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


def _preprocessor_config(clip: OpenClip) -> dict[str, Any]:
    """`preprocessor_config.json` of a `CLIPImageProcessor`."""
    settings, side = clip.spec.preprocessing, clip.image_size
    mode = settings.get("resize_mode", "shortest")  # "longest" pads, which the processor cannot do
    if mode not in ("shortest", "squash"):
        what = f"its preprocessing is {mode!r}, which {_WANTED_BY} lacks"
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
    """The model; raises UserError, with the reason, if text tower or tokenizer is not CLIP's."""
    return _checked(model, wanted_by, no_clip_text(model))


def clip_model(model: DualEncoder, wanted_by: str) -> OpenClip:
    """The model, if both of its towers are CLIP's; raises the error of `clip_text`."""
    return _checked(model, wanted_by, _no_clip_image(clip_text(model, wanted_by)))


def _checked(model: DualEncoder, wanted_by: str, reason: str | None) -> OpenClip:
    if isinstance(model, OpenClip) and reason is None:
        return model
    other = ", or --to open-clip" if isinstance(model, OpenClip) else ""
    hint = f"Use --to onnx, which keeps any tower{other}."
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
    if text.get("vocab_size", _VOCABULARY) != _VOCABULARY:
        return f"its vocabulary has {text['vocab_size']} tokens and not the {_VOCABULARY} of CLIP's"
    if option := _unusual(text, CLIPTextCfg, _TEXT_SIZES):
        return f"its text tower has the option {option} and is not CLIP's transformer"
    return None


def _no_clip_image(model: OpenClip) -> str | None:
    """The reason why an image tower is not CLIP's vision transformer, or None."""
    vision = model.spec.config["vision_cfg"]
    if name := vision.get("timm_model_name"):
        return f"its image tower is timm's {name} and not CLIP's vision transformer"
    if not isinstance(model.image_tower, VisionTransformer):
        return "its image tower is a ResNet and not CLIP's vision transformer"
    if option := _unusual(vision, CLIPVisionCfg, _IMAGE_SIZES):
        return f"its image tower has the option {option} and is not CLIP's vision transformer"
    if "multimodal_cfg" in model.spec.config:
        return "it has a decoder (CoCa) and is not CLIP"
    return None


def _unusual(config: dict[str, Any], kind: Any, sizes: set[str]) -> str | None:
    """The first option that differs from open_clip's default and is not a size."""
    defaults = {field.name: field.default for field in fields(kind)}
    others = sorted(name for name in config if name not in sizes)
    return next((name for name in others if config[name] != defaults.get(name)), None)
