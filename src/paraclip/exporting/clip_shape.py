"""Whether a model is a CLIP that other programs can load, and if not, why."""

from dataclasses import fields
from typing import Any

from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.transformer import TextTransformer, VisionTransformer

from paraclip.errors import UserError
from paraclip.models.encoder import DualEncoder
from paraclip.models.formats.laclip import is_laclip_vision
from paraclip.models.openclip import OpenClip

VOCABULARY = 49408
TEXT_SIZES = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
IMAGE_SIZES = {
    *("layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size"),
    "patch_dropout",  # used only in training
}
ONNX_HINT = "Use --to onnx, which keeps any tower"


def clip_text(model: DualEncoder, wanted_by: str) -> OpenClip:
    """The model, if its text tower is CLIP's transformer with CLIP's tokenizer.

    Args:
        model: the model.
        wanted_by: what needs it, for the error.

    Raises:
        UserError: it is not; gives the reason.
    """
    reason = no_clip_text(model)
    if reason or not isinstance(model, OpenClip):
        what = f"{reason}, which {wanted_by} needs"
        raise UserError(model.architecture.name, what, other_format(model))
    return model


def clip_model(model: DualEncoder, wanted_by: str) -> OpenClip:
    """The model, if both of its towers are CLIP's; raises the error of `clip_text`."""
    clip = clip_text(model, wanted_by)
    if reason := no_clip_image(clip):
        what = f"{reason}, which {wanted_by} needs"
        raise UserError(model.architecture.name, what, other_format(model))
    return clip


def other_format(model: DualEncoder) -> str:
    """The hint that names the formats in which a model can be exported instead."""
    if not isinstance(model, OpenClip):
        return f"{ONNX_HINT}."
    laclip = is_laclip_vision(model.spec.config["vision_cfg"].get("timm_model_name"))
    return f"{ONNX_HINT}." if laclip else f"{ONNX_HINT}, or --to open-clip."


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
    if option := unusual(text, CLIPTextCfg, TEXT_SIZES):
        return f"its text tower has the option {option} and is not CLIP's transformer"
    return None


def no_clip_image(model: OpenClip) -> str | None:
    """The reason why an image tower is not CLIP's vision transformer, or None."""
    vision = model.spec.config["vision_cfg"]
    if is_laclip_vision(vision.get("timm_model_name")):
        return "its image tower is LaCLIP's own and not CLIP's vision transformer"
    if name := vision.get("timm_model_name"):
        return f"its image tower is timm's {name} and not CLIP's vision transformer"
    if not isinstance(model.image_tower, VisionTransformer):
        return "its image tower is a ResNet and not CLIP's vision transformer"
    if option := unusual(vision, CLIPVisionCfg, IMAGE_SIZES):
        return f"its image tower has the option {option} and is not CLIP's vision transformer"
    if "multimodal_cfg" in model.spec.config:
        return "it has a decoder (CoCa) and is not CLIP"
    return None


def unusual(config: dict[str, Any], kind: Any, sizes: set[str]) -> str | None:
    """The first option that differs from open_clip's default and is not a size."""
    defaults = {field.name: field.default for field in fields(kind)}
    others = sorted(name for name in config if name not in sizes)
    return next((name for name in others if config[name] != defaults.get(name)), None)
