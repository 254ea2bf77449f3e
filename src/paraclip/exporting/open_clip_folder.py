"""The folder that open_clip loads as `local-dir:FOLDER`.

Source: open_clip 3.3 `factory.py`, `create_model`: `model_cfg` and `preprocess_cfg` are read from
`open_clip_config.json`, the weights from `open_clip_model.safetensors`.
"""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from paraclip.errors import UserError
from paraclip.exporting.source import Source
from paraclip.files import write_text
from paraclip.models.formats.laclip import is_laclip_vision
from paraclip.models.openclip import OpenClip
from paraclip.models.tensors import save_tensors

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
PREPROCESSING = ("mean", "std", "interpolation", "resize_mode", "fill_color")


def write_open_clip(source: Source, folder: Path, half: bool = False) -> None:
    """Write configuration and weights, and the files of a Hugging Face text tower, if any.

    Raises:
        UserError: open_clip cannot build the model.
    """
    model = of_open_clip(source)
    write_text(folder / CONFIG, json.dumps(open_clip_config(model), indent=1))
    for name, content in (model.spec.text_files or {}).items():
        write_text(folder / name, content)
    save_tensors(open_clip_state(model, half), folder / WEIGHTS, {"format": "pt"})


def of_open_clip(source: Source) -> OpenClip:
    """The model; raises UserError if open_clip cannot build it."""
    if not isinstance(source.model, OpenClip):
        name = source.model.architecture.name
        what = f"{name} is not a model of open_clip"
        raise UserError(source.name, what, "Use --to sentence-transformers or --to onnx.")
    if is_laclip_vision(source.model.spec.config["vision_cfg"].get("timm_model_name")):
        what = "its image tower is LaCLIP's own vision transformer, which open_clip lacks"
        raise UserError(source.name, what, "Use --to onnx or --for transformers-js.")
    return source.model


def open_clip_config(model: OpenClip) -> dict[str, Any]:
    """`open_clip_config.json`: the model's configuration, its activation and preprocessing."""
    config = {**model.spec.config, "quick_gelu": model.architecture.quick_gelu}
    settings = model.spec.preprocessing
    return {
        "model_cfg": config,
        "preprocess_cfg": {name: settings[name] for name in PREPROCESSING if name in settings},
    }


def open_clip_state(model: OpenClip, half: bool = False) -> dict[str, Tensor]:
    """Weights under open_clip's names."""
    tensors = {
        model.exported_name(name): value.detach().cpu().contiguous()
        for name, value in model.state_dict().items()
    }
    if half:
        tensors = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
    return tensors
