"""Programs that only load a graph; their indexes are not read.

fastembed, with which programs embed queries for Qdrant: OpenAI's ViT-B/32, and SigLIP 2 base.

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

OpenSearch's ML Commons: a zip with an ONNX graph and its tokenizer, and a `config.json`.

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

transformers.js: `CLIPTextModelWithProjection` and `AutoTokenizer` in a browser or Node.

Source, @huggingface/transformers 4.3.1 from npm:
- `src/models/clip/modeling_clip.js`: the text tower is `onnx/text_model.onnx`, with dtype `q8` (the
  default in browsers) `onnx/text_model_quantized.onnx`; `input_ids` -> `text_embeds`.
- `src/tokenization_utils.js`: tokenizer.json and tokenizer_config.json. It truncates after the end
  token was added, so a text that exceeds the context has none; the graph restores it.
- `src/env.js`: `env.localModelPath`, `env.allowRemoteModels`.
- The base's `text_embeds` are not of unit length, and neither are these.

Vespa's sample application text-image-search: `transformer.onnx`, called by a searcher in Java.

Source, vespa-engine/sample-apps at 529d524, `text-image-search/`:
- `src/sh/download_onnx_model.sh`, line 9: the file is models/transformer.onnx of the application.
- `src/main/java/ai/vespa/example/TextEmbeddingSearcher.java`, lines 32 to 38: the graph gets
  `input` [1, 77], and its first row is scaled to unit length; `src/test/.../ModelsTest.java`, lines
  58 to 67: the output is called `output`.
- `src/main/java/ai/vespa/example/BPETokenizer.java`: CLIP's tokens, of `files/`, padded with 0.
- `src/main/application/schemas/image_search.sd`: `vit_b_32_image`, of unit length in the sample's
  documents, by Euclidean distance.
- `billion-scale-image-search/app/src/main/python/clip_export.py` writes ViT-L/14 with the same
  names, as models/text_transformer.onnx.
"""

from paraclip.compute.onnx_session import TextGraph
from paraclip.models.formats.clip_tokenizer import END_ID, START_ID
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

VESPA = System(
    "vespa",
    Layout(
        "onnx",
        (
            "Copy {folder}/{file} to src/main/application/models of text-image-search (of"
            " billion-scale-image-search, to text_transformer.onnx in app/src/main/application/"
            "models). The build downloads the base over it: remove the execution download-model"
            " from pom.xml.",
            "Build and deploy: mvn package, vespa deploy. Documents stay.",
            "To go back, restore pom.xml, and build and deploy again.",
        ),
        file="transformer.onnx",
        graph=TextGraph("input", "output", fixed_length=True, unit=False),
    ),
    ("ViT-B-32__openai", "ViT-L-14__openai"),
)
