"""A folder with ONNX towers and the tokenizer, for the user's own programs."""

import json
from pathlib import Path
from typing import Any

from paraclip.exporting.clip_shape import no_clip_text
from paraclip.exporting.clip_tokenizer import clip_tokenizer_files
from paraclip.exporting.config import ExportOptions
from paraclip.exporting.drift import Drift
from paraclip.exporting.onnx_graph import TextInterface, write_image_graph, write_text_graph
from paraclip.exporting.source import Source
from paraclip.files import write_text
from paraclip.models.encoder import DualEncoder
from paraclip.models.openclip import OpenClip

PLAIN = TextInterface()
IMAGE_NAMES = ("pixel_values", "image_embeds")


def write_onnx(source: Source, folder: Path, options: ExportOptions) -> Drift | None:
    """Write `text_model.onnx` (and `image_model.onnx`), the tokenizer and `interface.json`.

    With `int8`, `text_model.onnx` has 8-bit weights, whose drift is returned; images are always
    float.

    Raises:
        UserError: see `write_text_graph`.
    """
    model = source.model
    file = folder / "text_model.onnx"
    drift = write_text_graph(model, file, PLAIN, options.opset, options.int8)
    if options.image_tower:
        write_image_graph(model, folder / "image_model.onnx", options.opset, IMAGE_NAMES)
    for name, content in tokenizer_files(model).items():
        write_text(folder / name, content)
    write_text(folder / "interface.json", json.dumps(interface(model, options), indent=1))
    return drift


def tokenizer_files(model: DualEncoder) -> dict[str, str]:
    """Files of a model's tokenizer by name."""
    if no_clip_text(model) is None:
        return clip_tokenizer_files(model.architecture.context_length)
    files = model.header().get("text_files") or {}
    return {name: content for name, content in files.items() if name != "config.json"}


def interface(model: DualEncoder, options: ExportOptions) -> dict[str, Any]:
    """JSON-serialisable names, shapes and preprocessing of the written graphs."""
    width, context = model.architecture.embed_dim, model.architecture.context_length
    length: Any = context if model.computed_length(1) == context else f"2 to {context}"
    facts: dict[str, Any] = {
        "text": {
            "input": PLAIN.inputs, "dtype": PLAIN.dtype, "shape": ["batch", length],
            "output": PLAIN.outputs, "width": width, "unit_length": True,
            "weights": "int8" if options.int8 else "float32",
        }
    }  # fmt: skip
    if options.image_tower:
        side = model.image_size
        facts["image"] = {
            "input": IMAGE_NAMES[0], "dtype": "float32", "shape": ["batch", 3, side, side],
            "output": IMAGE_NAMES[1], "width": width, "unit_length": True,
            "preprocessing": model.spec.preprocessing if isinstance(model, OpenClip) else {},
        }  # fmt: skip
    return facts
