"""fastembed: the folder of `Qdrant/clip-ViT-B-32-text`.

Source, fastembed 0.9.1 from PyPI:
- `fastembed/text/clip_embedding.py`: `model.onnx`; the output is the vector as it is.
- `fastembed/text/onnx_text_model.py`: the graph gets `input_ids` int64, padded to the longest text,
  and `attention_mask` only if it has such an input.
- `fastembed/common/preprocessor_utils.py`: tokenizer.json, `model_max_length` and `pad_token` of
  tokenizer_config.json, special_tokens_map.json, `pad_token_id` of config.json.
- `specific_model_path` of `TextEmbedding` names a folder; nothing is downloaded then.
The base is OpenAI's ViT-B/32, as in its counterpart `Qdrant/clip-ViT-B-32-vision`.
"""

import json
from pathlib import Path

from paraclip.exporting.clip_tokenizer import END_ID, clip_tokenizer_files
from paraclip.exporting.config import ExportOptions
from paraclip.exporting.drift import Drift
from paraclip.exporting.hugging_face import clip_text
from paraclip.exporting.onnx_graph import TextInterface, write_text_graph
from paraclip.exporting.source import Source
from paraclip.exporting.targets.system import Steps, System, check_activation, check_base
from paraclip.files import write_text

NAME = "Qdrant/clip-ViT-B-32-text"
FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
INTERFACE = TextInterface("input_ids", "text_embeds", "int64", unit=False)


def _check(source: Source) -> None:
    check_base(source, "fastembed", "ViT-B-32", "openai")
    check_activation(source, "fastembed", quick=True)
    clip_text(source.model, "fastembed")


def _write(source: Source, folder: Path, options: ExportOptions) -> Drift | None:
    path = folder / "model.onnx"
    drift = write_text_graph(source.model, path, INTERFACE, options.int8)
    files = clip_tokenizer_files(source.model.architecture.context_length)
    for name in FILES:
        write_text(folder / name, files[name])
    config = {"model_type": "clip_text_model", "pad_token_id": END_ID}
    write_text(folder / "config.json", json.dumps(config, indent=1))
    return drift


def _steps(source: Source, folder: Path) -> Steps:
    return (
        f"Keep {folder} where your program reads it, and load it by"
        f" TextEmbedding({NAME!r}, specific_model_path={str(folder)!r}).",
        "No cache depends on it: fastembed reads the folder, and vectors of pictures in Qdrant"
        " stay. Embed stored texts again if you have any.",
        "To go back, leave specific_model_path out.",
    )


FASTEMBED = System(_check, _write, _steps, takes=("int8",))
