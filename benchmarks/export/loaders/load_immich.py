"""immich's text encoder, reproduced here because immich is not on PyPI.

FOLDER is its model cache; the one model in `clip/` is loaded. The lines follow immich's
`machine-learning/immich_ml/models/clip/textual.py` (OpenClipTextualEncoder), `transforms.py`
(clean_text) and `models/base.py` (location of the files).
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

folder, texts, out = sys.argv[1:4]
with open(texts, encoding="utf-8") as file:
    listed = json.load(file)
(model,) = (Path(folder) / "clip").iterdir()
textual = model / "textual"
context = json.loads((model / "config.json").read_text())["text_cfg"].get("context_length", 77)
pad = json.loads((textual / "tokenizer_config.json").read_text())["pad_token"]
tokenizer = Tokenizer.from_file((textual / "tokenizer.json").as_posix())
tokenizer.enable_padding(length=context, pad_token=pad, pad_id=tokenizer.token_to_id(pad))
tokenizer.enable_truncation(max_length=context)
session = onnxruntime.InferenceSession(
    (textual / "model.onnx").as_posix(), providers=["CPUExecutionProvider"]
)
vectors = []
for text in listed:
    ids = tokenizer.encode(" ".join(text.split())).ids
    tokens = {"text": np.array([ids], dtype=np.int32)}
    vectors.append(session.run(None, tokens)[0][0])
np.save(out, np.stack(vectors))
