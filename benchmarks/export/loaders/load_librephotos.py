"""LibrePhotos' text encoder, reproduced here because LibrePhotos is not on PyPI.

FOLDER is its `data_models`. The lines follow LibrePhotos' `clip_onnx.py`, `load` and `encode_text`.
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
model = Path(folder) / "clip_vit_b32"
session = onnxruntime.InferenceSession(
    str(model / "text_model.onnx"), providers=["CPUExecutionProvider"]
)
tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
tokenizer.no_truncation()  # as in the base's file, which stays
name = session.get_inputs()[0].name
rows = [tokenizer.encode(text).ids[:77] for text in listed]
vectors = [session.run(None, {name: np.array([ids], dtype=np.int64)})[0][0] for ids in rows]
np.save(out, np.stack(vectors))
