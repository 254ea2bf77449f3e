"""fastembed, with which programs embed queries for Qdrant: `Qdrant/clip-ViT-B-32-text`.

Source, fastembed 0.9.1 from PyPI:
- `fastembed/text/clip_embedding.py`: `model.onnx`; the output is the vector as it is.
- `fastembed/text/onnx_text_model.py`: the graph gets `input_ids` int64, padded to the longest text,
  and `attention_mask` only if it has such an input.
- `fastembed/common/preprocessor_utils.py`: tokenizer.json, `model_max_length` and `pad_token` of
  tokenizer_config.json, special_tokens_map.json, `pad_token_id` of config.json.
- `specific_model_path` of `TextEmbedding` names a folder; nothing is downloaded then.
- `fastembed/common/model_management.py`: otherwise, a cache of the Hugging Face hub. A file whose
  size differs from that in `files_metadata.json` is downloaded again; one that is not listed there
  is loaded as it is.
- The base is OpenAI's ViT-B/32, as in its counterpart `Qdrant/clip-ViT-B-32-vision`.
"""

from paraclip.compute.onnx_session import TextGraph
from paraclip.systems.system import Cache, Layout, System

_SNAPSHOTS = "models--Qdrant--clip-ViT-B-32-{}/snapshots/*"
_LAYOUT = Layout(
    "onnx",
    (
        "Keep {folder} where your program reads it, and load it by"
        " TextEmbedding('Qdrant/clip-ViT-B-32-text', specific_model_path={folder!r}).",
        "No cache depends on it: fastembed reads the folder, and vectors of pictures in Qdrant"
        " stay. Embed stored texts again if you have any.",
        "To go back, leave specific_model_path out.",
    ),
    file="model.onnx",
    graph=TextGraph(unit=False),
    tokenizer="",
    config={"model_type": "clip_text_model", "pad_token_id": 49407},
)
FASTEMBED = System(
    "fastembed",
    _LAYOUT,
    ("ViT-B-32__openai",),
    Cache(
        {"model.onnx": _LAYOUT},
        (_SNAPSHOTS.format("text"),),
        "Restart the program that embeds queries; the vectors in Qdrant stay.",
        image=f"../../../{_SNAPSHOTS.format('vision')}/model.onnx",
        sizes="../../files_metadata.json",
    ),
)
