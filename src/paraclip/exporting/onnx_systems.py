"""ONNX graphs for the user's own programs, and systems that load them: fastembed, rclip and
transformers.js.

Sources:
- fastembed 0.9.1 from PyPI, the folder of `Qdrant/clip-ViT-B-32-text`:
  - `fastembed/text/clip_embedding.py`: `model.onnx`; the output is the vector as it is.
  - `fastembed/text/onnx_text_model.py`: the graph gets `input_ids` int64, padded to the longest
    text, and `attention_mask` only if it has such an input.
  - `fastembed/common/preprocessor_utils.py`: tokenizer.json, `model_max_length` and `pad_token` of
    tokenizer_config.json, special_tokens_map.json, `pad_token_id` of config.json.
  - `specific_model_path` of `TextEmbedding` names a folder; nothing is downloaded then.
  - The base is OpenAI's ViT-B/32, as in its counterpart `Qdrant/clip-ViT-B-32-vision`.
- rclip 3.3.0 and 4.0.8 from PyPI, `textual.onnx` in its data folder:
  - `rclip/model_download.py`: `download_onnx_model` returns DATADIR/MODEL_SUBDIR/textual.onnx
    without a download if that file exists; DATADIR is RCLIP_DATADIR or ~/.local/share/rclip.
  - `rclip/model.py`: the graph gets `input` int64 [N, 77] and returns one output, which rclip
    scales to unit length; `rclip/utils/tokenizer.py` is open_clip's.
  - `rclip/db.py`: version 3 of the index holds vectors of ViT-B-32-256, datacomp_s34b_b86k.
- @huggingface/transformers 4.3.1 from npm, `CLIPTextModelWithProjection` and `AutoTokenizer`:
  - `src/models/clip/modeling_clip.js`: the text tower is `onnx/text_model.onnx`, with dtype `q8`
    (the default in browsers) `onnx/text_model_quantized.onnx`; `input_ids` -> `text_embeds`.
  - `src/tokenization_utils.js`: tokenizer.json and tokenizer_config.json. It truncates after the
    end token was added, so a text that exceeds the context has none; the graph restores it.
  - `src/env.js`: `env.localModelPath`, `env.allowRemoteModels`.
  - The base's `text_embeds` are not of unit length, and neither are these.
"""

from pathlib import Path
from typing import Any

from paraclip.exporting.clip_tokenizer import END_ID, START_ID, clip_tokenizer_files
from paraclip.exporting.config import ExportOptions
from paraclip.exporting.drift import Drift
from paraclip.exporting.hugging_face import clip_text, no_clip_text
from paraclip.exporting.onnx_graph import (
    TextInterface,
    write_image_graph,
    write_small_graph,
    write_text_graph,
)
from paraclip.exporting.source import Source
from paraclip.exporting.system import Steps, System, check_base, write_files
from paraclip.models.openclip import OpenClip

_PLAIN = TextInterface()
_IMAGE_NAMES = ("pixel_values", "image_embeds")
_FASTEMBED_NAME = "Qdrant/clip-ViT-B-32-text"
_RCLIP_BASE = ("ViT-B-32-256", "datacomp_s34b_b86k")
_RCLIP_FILE = Path("-".join(_RCLIP_BASE), "textual.onnx")


def _write_onnx(source: Source, folder: Path, options: ExportOptions) -> None:
    """Write `text_model.onnx` (and `image_model.onnx`), the tokenizer and `interface.json`."""
    model = source.model
    width, context = model.architecture.embed_dim, model.architecture.context_length
    write_text_graph(model, folder / "text_model.onnx", _PLAIN)
    length: Any = context if model.computed_length(1) == context else f"2 to {context}"
    interface: dict[str, Any] = {
        "text": {
            "input": _PLAIN.inputs, "dtype": _PLAIN.dtype, "shape": ["batch", length],
            "output": _PLAIN.outputs, "width": width, "unit_length": True,
            "weights": "float32",
        }
    }  # fmt: skip
    if options.image_tower:
        write_image_graph(model, folder / "image_model.onnx", _IMAGE_NAMES)
        side = model.image_size
        interface["image"] = {
            "input": _IMAGE_NAMES[0], "dtype": "float32", "shape": ["batch", 3, side, side],
            "output": _IMAGE_NAMES[1], "width": width, "unit_length": True,
            "preprocessing": model.spec.preprocessing if isinstance(model, OpenClip) else {},
        }  # fmt: skip
    if no_clip_text(model) is None:
        files = clip_tokenizer_files(context)
    else:
        files = dict(model.header().get("text_files") or {})
        files.pop("config.json", None)
    write_files(folder, {**files, "interface.json": interface})


def _onnx_steps(source: Source, folder: Path) -> Steps:
    return (f"Names, shapes and types are in {folder / 'interface.json'}",)


def _write_fastembed(source: Source, folder: Path, options: ExportOptions) -> None:
    check_base(source, "fastembed", "ViT-B-32", "openai")
    model = clip_text(source.model, "fastembed")
    config = {"model_type": "clip_text_model", "pad_token_id": END_ID}
    files = clip_tokenizer_files(model.architecture.context_length)
    write_files(folder, {**files, "config.json": config})
    write_text_graph(model, folder / "model.onnx", TextInterface(unit=False))


def _fastembed_steps(source: Source, folder: Path) -> Steps:
    return (
        f"Keep {folder} where your program reads it, and load it by"
        f" TextEmbedding({_FASTEMBED_NAME!r}, specific_model_path={str(folder)!r}).",
        "No cache depends on it: fastembed reads the folder, and vectors of pictures in Qdrant"
        " stay. Embed stored texts again if you have any.",
        "To go back, leave specific_model_path out.",
    )


def _write_rclip(source: Source, folder: Path, options: ExportOptions) -> None:
    check_base(source, "rclip", *_RCLIP_BASE)
    path = folder / _RCLIP_FILE
    path.parent.mkdir()
    interface = TextInterface("input", "output", fixed_length=True)
    write_text_graph(clip_text(source.model, "rclip"), path, interface)


def _rclip_steps(source: Source, folder: Path) -> Steps:
    name = _RCLIP_FILE.name
    return (
        f"In the subfolder {_RCLIP_FILE.parent} of rclip's data folder (~/.local/share/rclip on"
        f" Linux, or RCLIP_DATADIR if you have set it) rename {name} to {name}.base, and copy"
        f" {folder / _RCLIP_FILE} there. Do not set RCLIP_DATADIR to {folder}: rclip looks for"
        " its index there as well.",
        "No cache depends on the text encoder: db.sqlite3 holds vectors of pictures and stays.",
        f"To go back, rename {name}.base to {name}.",
    )


def _write_transformers_js(source: Source, folder: Path, options: ExportOptions) -> Drift | None:
    model = clip_text(source.model, "transformers.js")
    interface = TextInterface(unit=False, end=END_ID)
    towers = folder / "onnx"
    towers.mkdir()
    path, drift = towers / "text_model.onnx", None
    write_text_graph(model, path, interface)
    if options.int8:
        drift = write_small_graph(model, path, towers / "text_model_quantized.onnx", interface)
    config = {
        "model_type": "clip_text_model",
        "architectures": ["CLIPTextModelWithProjection"],
        "projection_dim": model.architecture.embed_dim,
        "max_position_embeddings": model.architecture.context_length,
        "bos_token_id": START_ID,
        "eos_token_id": END_ID,
    }
    files = clip_tokenizer_files(model.architecture.context_length)
    write_files(folder, {**files, "config.json": config})
    return drift


def _transformers_js_steps(source: Source, folder: Path) -> Steps:
    return (
        f"Serve {folder} where your page finds models (env.localModelPath), and load"
        f" CLIPTextModelWithProjection and AutoTokenizer from {folder.name!r}; dtype 'fp32' reads"
        " text_model.onnx, 'q8' text_model_quantized.onnx (written with --int8).",
        "Browsers cache models by address: use a new folder name, or clear the site's cache"
        " 'transformers-cache'. Vectors of pictures stay.",
        "To go back, load the base's name again.",
    )


ONNX = System(_write_onnx, _onnx_steps, takes=("image_tower",), index=None)
FASTEMBED = System(_write_fastembed, _fastembed_steps)
RCLIP = System(_write_rclip, _rclip_steps, index="db.sqlite3")
TRANSFORMERS_JS = System(_write_transformers_js, _transformers_js_steps, takes=("int8",))
