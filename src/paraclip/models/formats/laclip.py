"""LaCLIP models trained on CC3M, CC12M and RedCaps; open_clip lacks their vision transformer.

Source: LijieFan/LaCLIP `models.py` (layers and names), `train.py` (content of a checkpoint),
`eval_zeroshot_imagenet.py` (preprocessing) and `tokenizer.py` (open_clip's tokens). The vision
transformer is timm's with queries and keys normalised per head, and GELU; the text tower is CLIP's
with QuickGELU. LaCLIP's models trained on LAION-400M use open_clip's own architecture.
"""

import re
from functools import partial
from typing import Any

import timm
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from paraclip.errors import UserError

_State = dict[str, Tensor]

_MARK = "visual.blocks.0.attn.q_norm.weight"
_PROJECTION = "image_projection"
_HEAD_WIDTH = 64  # width of text tower heads in all of LaCLIP's models
PREPROCESSING = {
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "interpolation": "bilinear",
    "resize_mode": "shortest",
}
_VISION = "laclip_vit_p{patch}_w{width}_d{depth}_h{heads}_s{side}"
_SIZES = re.compile(r"laclip_vit_p(\d{1,3})_w(\d{1,4})_d(\d{1,2})_h(\d{1,3})_s(\d{1,4})")


def is_laclip(state: _State) -> bool:
    """Whether weights belong to such a model."""
    return _MARK in state


def laclip_config(state: _State, path: object, name: str, named: dict[str, Any]) -> dict[str, Any]:
    """open_clip's configuration of such a model, from the shapes of its weights.

    Args:
        state: the weights.
        path: path of the file, for the error.
        name: architecture of open_clip that the user gave.
        named: its configuration.

    Raises:
        UserError: weights are missing, or their sizes do not match the architecture.
    """
    try:
        patches = state["visual.patch_embed.proj.weight"]
        width, patch = int(patches.shape[0]), int(patches.shape[-1])
        vocabulary, text_width = map(int, state["token_embedding.weight"].shape)
        vision = {
            "patch": patch,
            "width": width,
            "depth": _count_blocks(state, "visual.blocks."),
            "heads": width // int(state[_MARK].shape[0]),
            "side": round((state["visual.pos_embed"].shape[1] - 1) ** 0.5) * patch,
        }
        text = {
            "context_length": int(state["positional_embedding"].shape[0]),
            "vocab_size": vocabulary,
            "width": text_width,
            "heads": max(1, text_width // _HEAD_WIDTH),
            "layers": _count_blocks(state, "transformer.resblocks."),
        }
        space = int(state[_PROJECTION].shape[1])
    except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError) as error:
        what = f"is not a complete checkpoint of LaCLIP ({error})"
        raise UserError(path, what, "Download it again, or name another file.") from error
    wanted = {key: named["vision_cfg"].get(key) for key in ("width", "patch_size")}
    if wanted != {"width": vision["width"], "patch_size": vision["patch"]}:
        what = f"does not fit {name}: LaCLIP's vision transformer in it has the width"
        what += f" {vision['width']} and patches of {vision['patch']}"
        raise UserError(path, what, "LaCLIP's ViT-S/16, B/16 and L/16 are ViT-S-16 and so on here.")
    return {
        "embed_dim": space,
        "quick_gelu": True,  # in the text tower; timm's transformer uses GELU
        "vision_cfg": {
            "timm_model_name": _VISION.format(**vision),
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "linear",
            "image_size": vision["side"],
        },
        "text_cfg": text,
    }


def _count_blocks(state: _State, prefix: str) -> int:
    """Number of blocks of a transformer."""
    rest = {name.removeprefix(prefix) for name in state if name.startswith(prefix)}
    return len({name.partition(".")[0] for name in rest})


def from_laclip(state: _State) -> _State:
    """The weights under open_clip's names."""
    renamed = {
        f"visual.trunk.{name.removeprefix('visual.')}" if name.startswith("visual.") else name: v
        for name, v in state.items()
    }
    renamed["visual.head.proj.weight"] = renamed.pop(_PROJECTION).T.contiguous()
    return renamed


def is_laclip_vision(name: object) -> bool:
    """Whether the name of a timm model means LaCLIP's vision transformer."""
    return isinstance(name, str) and _SIZES.fullmatch(name) is not None


def register_vision(name: object) -> None:
    """Register a LaCLIP vision transformer in timm, for use by open_clip; ignores other names."""
    if not isinstance(name, str) or timm.is_model(name):
        return
    match = _SIZES.fullmatch(name)
    if match is None:
        return
    patch, width, depth, heads, side = map(int, match.groups())

    def build(
        pretrained: bool = False,
        pretrained_cfg: object = None,
        pretrained_cfg_overlay: object = None,
        cache_dir: object = None,
        **options: Any,
    ) -> nn.Module:
        model: nn.Module = VisionTransformer(
            img_size=side, patch_size=patch, embed_dim=width, depth=depth, num_heads=heads,
            qkv_bias=True, qk_norm=True, norm_layer=partial(nn.LayerNorm, eps=1e-6), **options,
        )  # fmt: skip
        # open_clip reads the size of the last feature map from here.
        model.default_cfg = {}  # type: ignore[assignment]
        return model

    build.__name__ = name
    timm.models.register_model(build)
