"""transformers.js: `CLIPTextModelWithProjection` and `AutoTokenizer`.

Source, @huggingface/transformers 4.3.1 from npm:
- `src/models/clip/modeling_clip.js`: the text tower is `onnx/text_model.onnx`, with dtype `q8`
  (the default in browsers) `onnx/text_model_quantized.onnx`; `input_ids` -> `text_embeds`.
- `src/tokenization_utils.js`: tokenizer.json and tokenizer_config.json.
- `src/env.js`: `env.localModelPath`, `env.allowRemoteModels`.
- `src/tokenization_utils.js`, truncation: it cuts after the end token was added, so a text that
  exceeds the context has none; the graph restores it.
The base's `text_embeds` are not of unit length, and neither are these.
"""

import json
from pathlib import Path

from paraclip.exporting.clip_tokenizer import END_ID, START_ID, clip_tokenizer_files
from paraclip.exporting.config import ExportOptions
from paraclip.exporting.drift import Drift
from paraclip.exporting.hugging_face import clip_text
from paraclip.exporting.onnx_graph import TextInterface, write_text_graph
from paraclip.exporting.source import Source
from paraclip.exporting.targets.system import Steps, System
from paraclip.files import write_text

INTERFACE = TextInterface("input_ids", "text_embeds", "int64", unit=False, end=END_ID)


def _check(source: Source) -> None:
    clip_text(source.model, "transformers.js")


def _write(source: Source, folder: Path, options: ExportOptions) -> Drift | None:
    towers = folder / "onnx"
    towers.mkdir()
    write_text_graph(source.model, towers / "text_model.onnx", INTERFACE)
    drift = None
    if options.int8:
        path = towers / "text_model_quantized.onnx"
        drift = write_text_graph(source.model, path, INTERFACE, int8=True)
    architecture = source.model.architecture
    for name, content in clip_tokenizer_files(architecture.context_length).items():
        write_text(folder / name, content)
    config = {
        "model_type": "clip_text_model",
        "architectures": ["CLIPTextModelWithProjection"],
        "projection_dim": architecture.embed_dim,
        "max_position_embeddings": architecture.context_length,
        "bos_token_id": START_ID,
        "eos_token_id": END_ID,
    }
    write_text(folder / "config.json", json.dumps(config, indent=1))
    return drift


def _steps(source: Source, folder: Path) -> Steps:
    return (
        f"Serve {folder} where your page finds models (env.localModelPath), and load"
        f" CLIPTextModelWithProjection and AutoTokenizer from {folder.name!r}; dtype 'fp32' reads"
        " text_model.onnx, 'q8' text_model_quantized.onnx (written with --int8).",
        "Browsers cache models by address: use a new folder name, or clear the site's cache"
        " 'transformers-cache'. Vectors of pictures stay.",
        "To go back, load the base's name again.",
    )


TRANSFORMERS_JS = System(_check, _write, _steps, takes=("int8",))
