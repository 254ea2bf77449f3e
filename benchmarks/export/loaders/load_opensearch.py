"""OpenSearch's ML Commons, reproduced here because its translator is in Java.

FOLDER holds `clip_text.zip` and `config.json`. The lines follow `ModelHelper.verifyModelZipFile`,
`DLModel.loadModel`, `ONNXSentenceTransformerTextEmbeddingTranslator`, and of its library DJL
`OrtSymbolBlock.forwardInternal` and `HuggingFaceTokenizer`.
"""

import json
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

folder, texts, out = sys.argv[1:4]
with open(texts, encoding="utf-8") as file:
    listed = json.load(file)
config = json.loads((Path(folder) / "config.json").read_text())["model_config"]
rows = []
with tempfile.TemporaryDirectory() as unpacked:
    with zipfile.ZipFile(Path(folder) / "clip_text.zip") as archive:
        archive.extractall(unpacked)
    (found,) = Path(unpacked).glob("*.onnx")
    graph = found.rename(Path(unpacked) / "clip-text.onnx")  # the name in config.json
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(Path(unpacked) / "tokenizer.json"))
    tokenizer.enable_truncation((tokenizer.truncation or {}).get("max_length", 512))
    for text in listed:
        encoding = tokenizer.encode(text)
        inputs = {"input_ids": encoding.ids, "attention_mask": encoding.attention_mask}
        assert {node.name for node in session.get_inputs()} == {*inputs}
        feeds = {name: np.array([ids], dtype=np.int64) for name, ids in inputs.items()}
        embeddings = session.run(None, feeds)[0]
        if embeddings.ndim == 3:
            embeddings = embeddings[0]
        assert config["pooling_mode"] == "CLS"
        rows.append(embeddings[0])
assert rows[0].shape == (config["embedding_dimension"],)
np.save(out, np.stack(rows))
