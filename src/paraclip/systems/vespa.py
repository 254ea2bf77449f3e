"""Vespa's sample application text-image-search: `transformer.onnx`, called by a searcher in Java.

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
from paraclip.systems.system import Layout, System

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
