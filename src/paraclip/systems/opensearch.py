"""OpenSearch's ML Commons: a zip with an ONNX graph and its tokenizer, and a `config.json`.

Source:
- opensearch-project/ml-commons at 950f056, `ml-algorithms/src/main/java/org/opensearch/ml/engine/`:
  `ModelHelper.java`, `verifyModelZipFile` (line 317): one .onnx file and `tokenizer.json`;
  `algorithms/DLModel.java`, lines 269 to 286: they are unpacked, and the graph is renamed;
  `algorithms/text_embedding/ONNXSentenceTransformerTextEmbeddingTranslator.java`: `input_ids` and
  `attention_mask` int64 [1, length] (lines 72 to 77); the first output is pooled (lines 98 to 125).
  Of [1, width], CLS takes the row; MEAN, the default, expects a row for each token.
- deepjavalibrary/djl, `OrtSymbolBlock.java`, `forwardInternal`: a graph without one of these inputs
  is refused; `HuggingFaceTokenizer.java`: the longest text is that of tokenizer.json, or else 512.
- opensearch-project/opensearch-py-ml at feb1ad1, `ml_commons/model_uploader.py`,
  `_check_mandatory_field`: what config.json must hold. `docs/source/examples/
  demo_deploy_cliptextmodel.ipynb` traces CLIPTextModel, whose vectors lack CLIP's projection and
  are not comparable with those of pictures.
"""

from paraclip.compute.onnx_session import TextGraph
from paraclip.systems.system import Layout, System

OPENSEARCH = System(
    "opensearch",
    Layout(
        "onnx",
        (
            "Register it by MLCommonClient(client).register_model({path!r},"
            " '{folder}/config.json') of opensearch-py-ml, which also deploys it.",
            "Search with its model_id in the neural query (or in default_model_id of a"
            " neural_query_enricher). Vectors of pictures stay; do not set it in an ingest pipeline"
            " unless the texts that it embeds are imported again.",
            "To go back, search with the base's model_id.",
        ),
        file="clip_text.zip",
        graph=TextGraph(unused=("attention_mask",)),
        tokenizer="",
        config={
            "name": "clip-text",
            "version": "1.0.0",
            "model_format": "ONNX",
            "function_name": "TEXT_EMBEDDING",
            "model_config": {
                "model_type": "clip",
                "embedding_dimension": "{width}",
                "framework_type": "sentence_transformers",
                "pooling_mode": "CLS",
            },
        },
    ),
)
