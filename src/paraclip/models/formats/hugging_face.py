"""Folders of `CLIPModel`, `MetaClip2Model` and `SiglipModel`: names of weights, configurations.

Source: transformers `models/clip/modeling_clip.py`, `configuration_clip.py` and
`convert_clip_original_pytorch_to_hf.py`: the fused projection of queries, keys and values is split
into three, and projections are transposed. MetaCLIP 2 is a CLIP with another tokenizer
(`models/metaclip_2`). A SigLIP, 2 with a fixed resolution included, has timm's image tower
(`models/siglip/modeling_siglip.py`, timm `vision_transformer.py`, `layers/attention_pool.py`).
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from timm.layers.activations import GELUTanh
from torch import Tensor

from paraclip.data.untrusted_json import read_json_object
from paraclip.errors import UserError
from paraclip.models.formats.clip_tokenizer import END_ID, START_ID
from paraclip.models.formats.untrusted import build_errors, check_numbers, check_preprocessing
from paraclip.models.openclip import AS_TRANSFORMERS, OpenClip

_RESAMPLE = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}  # numbers of Pillow
_ACTIVATIONS = {"quick_gelu": True, "gelu": False}  # whether it is QuickGELU
_TANH = "gelu_pytorch_tanh"  # GELU by its approximation with tanh
VOCABULARY = 49408  # of CLIP: 2 x 256 bytes, 48,894 merges and 2 special tokens
_LATEST_END = 2  # in configurations older than transformers 4.31: read at the largest id
_WRONG = "is not a configuration of CLIP"
_RETRY = "Download it again."
_FIX = "Convert it to an open_clip folder, or name another model."
CLASSES = {"clip": "CLIPModel", "metaclip_2": "MetaClip2Model", "siglip": "SiglipModel"}
"""Classes of transformers by their `model_type`."""
TEXT_OPTIONS: dict[str, dict[str, Any]] = {
    "clip": {},
    "metaclip_2": {"pool_type": "eos"},
    "siglip": {
        "no_causal_mask": True,
        "pool_type": "last",
        "proj_bias": True,
        "norm_kwargs": {"eps": 1e-6},
    },
}
"""Options of open_clip's text tower by `model_type`."""


class _Tower(NamedTuple):
    """Names of a tower's weights in open_clip and in transformers.

    Names that end in `.` or `_` begin those of weight and bias. A fused projection has three names
    in transformers, with `{}` for q, k and v; that of SigLIP's pooling has two in timm, at `|`.
    """

    names: dict[str, str]
    blocks: str
    names_in_block: dict[str, str]


# The weight by which the names of transformers are recognised.
_TOKENS = "text_model.embeddings.token_embedding.weight"
_BLOCK = {
    "attn.in_proj_": "self_attn.{}_proj.",
    "ln_1.": "layer_norm1.",
    "ln_2.": "layer_norm2.",
    "attn.out_proj.": "self_attn.out_proj.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
}
_TEXT = _Tower(
    {
        "token_embedding.weight": _TOKENS,
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "ln_final.": "text_model.final_layer_norm.",
        "text_projection": "text_projection.weight",
        "text_projection.": "text_model.head.",  # of SigLIP
    },
    "transformer.resblocks",
    _BLOCK,
)
_IMAGE = _Tower(
    {
        "class_embedding": "vision_model.embeddings.class_embedding",
        "positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "ln_pre.": "vision_model.pre_layrnorm.",  # spelled like this in transformers
        "ln_post.": "vision_model.post_layernorm.",
        "proj": "visual_projection.weight",
    },
    "transformer.resblocks",
    _BLOCK,
)
_SIGLIP_IMAGE = _Tower(
    {
        "trunk.pos_embed": "vision_model.embeddings.position_embedding.weight",
        "trunk.patch_embed.proj.": "vision_model.embeddings.patch_embedding.",
        "trunk.norm.": "vision_model.post_layernorm.",
        "trunk.attn_pool.latent": "vision_model.head.probe",
        "trunk.attn_pool.q.|trunk.attn_pool.kv.": "vision_model.head.attention.in_proj_",
        "trunk.attn_pool.proj.": "vision_model.head.attention.out_proj.",
        "trunk.attn_pool.norm.": "vision_model.head.layernorm.",
        "trunk.attn_pool.mlp.fc1.": "vision_model.head.mlp.fc1.",
        "trunk.attn_pool.mlp.fc2.": "vision_model.head.mlp.fc2.",
    },
    "trunk.blocks",
    {
        "attn.qkv.": "self_attn.{}_proj.",
        "norm1.": "layer_norm1.",
        "norm2.": "layer_norm2.",
        "attn.proj.": "self_attn.out_proj.",
        "mlp.fc1.": "mlp.fc1.",
        "mlp.fc2.": "mlp.fc2.",
    },
)
# A vector times the matrix in open_clip; a `Linear` of transformers multiplies by its transpose.
_TRANSPOSED = ("text_projection", "proj")
_SCALES = ("logit_scale", "logit_bias")  # of the same name in both
# Numbers from 0 on, which older versions of transformers stored.
_POSITIONS = [f"{tower}_model.embeddings.position_ids" for tower in ("text", "vision")]
_TEXT_SIZES = {
    "context_length": "max_position_embeddings", "vocab_size": "vocab_size",
    "width": "hidden_size", "heads": "num_attention_heads", "layers": "num_hidden_layers",
}  # fmt: skip
_IMAGE_SIZES = {
    "image_size": "image_size", "layers": "num_hidden_layers", "width": "hidden_size",
    "patch_size": "patch_size",
}  # fmt: skip
"""Sizes in open_clip's configuration and in that of transformers."""


def _names(
    text: str, image: str, siglip: bool, tensors: int
) -> Iterator[tuple[list[str], list[str]]]:
    """Names of the same weights in open_clip, below these names of its towers, and in transformers.

    There are names for the most layers that this number of tensors can hold.
    """
    image_tower = _SIGLIP_IMAGE if siglip else _IMAGE
    for name, model, tower in ((text, "text", _TEXT), (image, "vision", image_tower)):
        pairs = list(tower.names.items())
        for number in range(tensors // len(tower.names_in_block)):
            block, layer = f"{tower.blocks}.{number}", f"{model}_model.encoder.layers.{number}"
            pairs += [(f"{block}.{a}", f"{layer}.{b}") for a, b in tower.names_in_block.items()]
        for ours, theirs in pairs:
            parts = "qkv" if "{}" in theirs else "q"
            for kind in ("weight", "bias") if ours[-1] in "._" else ("",):
                yield (
                    [f"{name}.{one}{kind}" for one in ours.split("|")],
                    [f"{theirs}{kind}".format(part) for part in parts],
                )


def _renamed(
    state: dict[str, Tensor], text: str, image: str, siglip: bool, back: bool = False
) -> dict[str, Tensor]:
    """The weights in `state` under the names of transformers or, with `back`, of open_clip."""
    renamed = {name: state[name] for name in _SCALES if name in state}
    for ours, theirs in _names(text, image, siglip, len(state)):
        found, wanted = (theirs, ours) if back else (ours, theirs)
        if all(name in state for name in found):
            joined, kind = torch.cat([state[name] for name in found]), ours[0].rpartition(".")[2]
            if kind in _TRANSPOSED:
                joined = joined.T.contiguous()
            if kind == "pos_embed":  # timm has a dimension of the batch before it
                joined = joined[None] if back else joined[0]
            # A fused projection as q, k and v, or as q and the two others.
            third = [len(joined) // 3] if len(wanted) == 2 else len(wanted)
            renamed |= zip(wanted, joined.tensor_split(third), strict=True)
    return renamed


def to_hugging_face(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of an `OpenClip` that transformers has under the names there."""
    siglip = "image_tower.trunk.pos_embed" in state
    renamed = _renamed(state, "text_tower", "image_tower", siglip)
    for name in _SCALES:
        if name in renamed:
            # Of one dimension in SigLIP's class, of none in CLIP's.
            renamed[name] = renamed[name].reshape([1] if siglip else [])
    return {name: value.detach().cpu().contiguous() for name, value in renamed.items()}


def from_hugging_face(state: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """Weights of a model of transformers under the names of open_clip's model with a separate text
    tower; None for those of another model. Raises ValueError for a tensor that is left over."""
    if _TOKENS not in state:
        return None
    towers = "text", "visual", "text_model.head.weight" in state
    known = {name for _, theirs in _names(*towers, len(state)) for name in theirs}
    if left := state.keys() - known - {*_SCALES, *_POSITIONS}:
        raise ValueError(f"it has an extra {min(left)}")
    return _renamed(state, *towers, back=True)


_PARTS = ("text_config", "vision_config", "projection_dim", "logit_scale_init_value")
"""Keys of a configuration that determine the shape of a model; others may name code or files."""


def open_clip_config_of(folder: Path) -> dict[str, Any] | None:
    """open_clip's configuration of a folder of transformers; None for another folder. Raises
    UserError for one that is broken, or that open_clip has no model for."""
    path = folder / "config.json"
    content = read_json_object(path, _RETRY) if path.is_file() else {}
    kind = content.get("model_type")
    if kind == "siglip2":
        what = "is a SigLIP 2 for pictures of any shape (NaFlex), which open_clip lacks"
        raise UserError(path, what, "Name a SigLIP 2 of a fixed resolution.")
    if not isinstance(kind, str) or kind not in TEXT_OPTIONS:
        return None
    from transformers import AutoConfig

    with build_errors(path, _WRONG, _FIX):
        check_numbers(content)
        # Fills in defaults that newer versions do not write; reads no other files.
        config = AutoConfig.for_model(
            kind, **{key: content[key] for key in _PARTS if key in content}
        )
        text, vision = config.text_config, config.vision_config
        # As in open_clip's towers of CLIP and timm's of SigLIP.
        epsilon = 1e-6 if kind == "siglip" else 1e-5
        if {text.layer_norm_eps, vision.layer_norm_eps} != {epsilon}:
            raise UserError(path, f"has a layer_norm_eps other than {epsilon:g}", _FIX)
        text_config: dict[str, Any] = {
            **{ours: getattr(text, theirs) for ours, theirs in _TEXT_SIZES.items()},
            **_mlp_ratio(text),
            **TEXT_OPTIONS[kind],
        }
        if kind != "clip":  # the tokenizer is beside config.json
            text_config |= {"hf_tokenizer_name": ".", "tokenizer_mode": AS_TRANSFORMERS}
        if kind == "siglip":
            return _siglip_config(path, text, vision, text_config)
        if text.hidden_act != vision.hidden_act or text.hidden_act not in _ACTIVATIONS:
            what = f"has the activations {text.hidden_act!r} and {vision.hidden_act!r}"
            raise UserError(path, f"{what}; quick_gelu or gelu in both is known", _FIX)
        if kind == "metaclip_2":
            text_config["eos_id"] = text.eos_token_id
        elif text.vocab_size != VOCABULARY:
            what = f"has {text.vocab_size} tokens and not the {VOCABULARY} of CLIP's vocabulary"
            raise UserError(path, what, _FIX)
        # open_clip reads at the largest id, which CLIP's end token has.
        elif text.eos_token_id not in (_LATEST_END, VOCABULARY - 1):
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
            "text_cfg": text_config,
        }


def _siglip_config(
    path: Path, text: Any, vision: Any, text_config: dict[str, Any]
) -> dict[str, Any]:
    """open_clip's configuration of a SigLIP, whose activations may differ."""
    width = getattr(text, "projection_size", text.hidden_size)
    if width != vision.hidden_size or not getattr(vision, "vision_use_head", True):
        what = f"has no common space: texts have the width {width}, pictures {vision.hidden_size}"
        raise UserError(path, what, _FIX)
    if other := {text.hidden_act, vision.hidden_act} - {"gelu", _TANH}:
        raise UserError(
            path, f"has the activation {min(other)!r}; gelu and {_TANH} are known", _FIX
        )
    if text.hidden_act == _TANH:
        text_config["act_kwargs"] = {"approximate": "tanh"}
    return {
        "embed_dim": width,
        "init_logit_bias": 0.0,  # replaced by that of the weights
        "vision_cfg": {
            "timm_model_name": "vit_base_patch16_siglip_224",  # of any size
            "timm_pool": "map",
            "timm_proj": "none",
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "timm_model_args": {
                "embed_dim": width,
                "depth": vision.num_hidden_layers,
                "num_heads": vision.num_attention_heads,
                "mlp_ratio": vision.intermediate_size / width,
                "act_layer": "gelu_tanh" if vision.hidden_act == _TANH else "gelu",
            },
        },
        "text_cfg": text_config,
    }


def _mlp_ratio(tower: Any) -> dict[str, float]:
    """open_clip's `_mlp_ratio`, if it is not the default."""
    value = tower.intermediate_size / tower.hidden_size
    return {} if value == 4 else {"mlp_ratio": value}  # 4 is open_clip's default


def config_of(clip: OpenClip, kind: str, half: bool) -> dict[str, Any]:
    """`config.json` of a model of `TEXT_OPTIONS`, with 16-bit weights if `half`."""
    # open_clip's configurations may omit what is its default.
    text = {**asdict(CLIPTextCfg()), **clip.spec.config["text_cfg"]}
    vision = {**asdict(CLIPVisionCfg()), **clip.spec.config["vision_cfg"]}
    text["context_length"], vision["image_size"] = clip.architecture.context_length, clip.image_size
    width = clip.architecture.embed_dim
    shared = {
        "hidden_act": "quick_gelu" if clip.architecture.quick_gelu else "gelu",
        "layer_norm_eps": 1e-6 if kind == "siglip" else 1e-5,
        "projection_dim": width,
    }
    only_text: dict[str, Any] = {
        "bos_token_id": START_ID,
        "eos_token_id": END_ID,
        "pad_token_id": END_ID,
    }
    only_image = {}
    if kind != "clip":
        only_text = {name: getattr(clip.tokenizer.tokenizer, name) for name in only_text}
    if kind == "metaclip_2":
        only_text["eos_token_id"] = text["eos_id"]  # where texts are read
    if kind == "siglip":
        trunk: Any = clip.image_tower.trunk
        vision |= {
            "patch_size": trunk.patch_embed.patch_size[0],
            "layers": len(trunk.blocks),
            "width": trunk.embed_dim,
            "head_width": trunk.blocks[0].attn.head_dim,
            "mlp_ratio": trunk.blocks[0].mlp.fc1.out_features / trunk.embed_dim,
        }
        tanh = isinstance(trunk.blocks[0].mlp.act, GELUTanh)
        only_image["hidden_act"] = _TANH if tanh else "gelu"
        only_text["hidden_act"] = _TANH if text["act_kwargs"] else "gelu"
        only_text["projection_size"] = width
    return {
        "architectures": [CLASSES[kind]],
        "model_type": kind,
        "projection_dim": width,
        "logit_scale_init_value": float(clip.logit_scale.detach()),
        "torch_dtype": "float16" if half else "float32",
        "text_config": {
            "model_type": f"{kind}_text_model",
            **shared,
            **only_text,
            **{theirs: text[ours] for ours, theirs in _TEXT_SIZES.items()},
            "intermediate_size": int(text["width"] * text["mlp_ratio"]),
        },
        "vision_config": {
            "model_type": f"{kind}_vision_model",
            **shared,
            **only_image,
            **{theirs: vision[ours] for ours, theirs in _IMAGE_SIZES.items()},
            "intermediate_size": int(vision["width"] * vision["mlp_ratio"]),
            "num_attention_heads": vision["width"] // vision["head_width"],
        },
    }


def preprocessor_config(clip: OpenClip, kind: str) -> dict[str, Any]:
    """`preprocessor_config.json` of a `CLIPImageProcessor`, or of SigLIP's."""
    settings, side = clip.spec.preprocessing, clip.image_size
    mode = settings.get("resize_mode", "shortest")  # "longest" pads, which the processor cannot do
    if mode not in ("shortest", "squash"):
        what = f"its preprocessing is {mode!r}, which Hugging Face's CLIP lacks"
        raise UserError(clip.architecture.name, what, "Use --to open-clip.")
    square = {"height": side, "width": side}
    interpolation = settings.get("interpolation", "bicubic")
    return {
        "image_processor_type": f"{'Siglip' if kind == 'siglip' else 'CLIP'}ImageProcessor",
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
    Raises UserError for a preprocessing that it does not have.
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
        # Older versions of transformers wrote a number.
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
