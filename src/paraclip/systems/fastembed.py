"""fastembed, with which programs embed queries for Qdrant: OpenAI's ViT-B/32, and SigLIP 2 base.

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
- `fastembed/text/siglip_embedding.py`, `fastembed/image/siglip_embedding.py`: both towers of
  `onnx-community/siglip2-base-patch16-224-ONNX`, in `onnx/`; texts are padded to 64 tokens, and the
  output `pooler_output` is the vector, which `onnx_embedding.py` scales to unit length. Since
  0.9.1, the list has the sizes of files in folders, too.
"""

from paraclip.compute.onnx_session import TextGraph
from paraclip.models.formats.clip_tokenizer import END_ID
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
    config={"model_type": "clip_text_model", "pad_token_id": END_ID},
)
_RESTART = "Restart the program that embeds queries; the vectors in Qdrant stay."
_SIGLIP_FOLDER = "models--onnx-community--siglip2-base-patch16-224-ONNX/snapshots/*/onnx"
_SIGLIP = Layout(
    "onnx",
    (
        "Copy config.json, tokenizer.json, tokenizer_config.json and special_tokens_map.json from"
        " models--onnx-community--siglip2-base-patch16-224-ONNX/snapshots/COMMIT in fastembed's"
        " cache to {folder}, and load it by TextEmbedding('google/siglip2-base-patch16-224',"
        " specific_model_path={folder!r}).",
        *_LAYOUT.steps[1:],
    ),
    file="onnx/text_model.onnx",
    graph=TextGraph(outputs="pooler_output", fixed_length=True, unit=False),
    any_tower=True,
)
FASTEMBED = System(
    "fastembed",
    _LAYOUT,
    ("ViT-B-32__openai",),
    Cache(
        {"model.onnx": _LAYOUT},
        (_SNAPSHOTS.format("text"),),
        _RESTART,
        image=f"../../../{_SNAPSHOTS.format('vision')}/model.onnx",
        sizes="../../files_metadata.json",
    ),
    others=(
        System(
            "fastembed",
            _SIGLIP,
            ("ViT-B-16-SigLIP2__webli",),
            Cache(
                {"text_model.onnx": _SIGLIP},
                (_SIGLIP_FOLDER,),
                _RESTART,
                image="vision_model.onnx",
                sizes="../../../files_metadata.json",
            ),
        ),
    ),
)
