"""transformers.js: `CLIPTextModelWithProjection` and `AutoTokenizer` in a browser or Node.

Source, @huggingface/transformers 4.3.1 from npm:
- `src/models/clip/modeling_clip.js`: the text tower is `onnx/text_model.onnx`, with dtype `q8` (the
  default in browsers) `onnx/text_model_quantized.onnx`; `input_ids` -> `text_embeds`.
- `src/tokenization_utils.js`: tokenizer.json and tokenizer_config.json. It truncates after the end
  token was added, so a text that exceeds the context has none; the graph restores it.
- `src/env.js`: `env.localModelPath`, `env.allowRemoteModels`.
- The base's `text_embeds` are not of unit length, and neither are these.
"""

from paraclip.compute.onnx_session import TextGraph
from paraclip.models.formats.clip_tokenizer import END_ID, START_ID
from paraclip.systems.system import Layout, System

TRANSFORMERS_JS = System(
    "transformers-js",
    Layout(
        "onnx",
        (
            "Serve {folder} where your page finds models (env.localModelPath), and load"
            " CLIPTextModelWithProjection and AutoTokenizer from {name!r}; dtype 'fp32' reads"
            " text_model.onnx, 'q8' text_model_quantized.onnx (written with --int8).",
            "Browsers cache models by address: use a new folder name, or clear the site's cache"
            " 'transformers-cache'. Vectors of pictures stay.",
            "To go back, load the base's name again.",
        ),
        file="onnx/text_model.onnx",
        small="onnx/text_model_quantized.onnx",
        graph=TextGraph(unit=False, end=END_ID, one_file=True),
        tokenizer="",
        config={
            "model_type": "clip_text_model",
            "architectures": ["CLIPTextModelWithProjection"],
            "projection_dim": "{width}",
            "max_position_embeddings": "{context}",
            "bos_token_id": START_ID,
            "eos_token_id": END_ID,
        },
    ),
)
