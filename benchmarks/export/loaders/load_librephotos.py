"""LibrePhotos' text encoder, reproduced here because LibrePhotos is not on PyPI.

FOLDER is its `data_models`. The lines follow LibrePhotos' `clip_onnx.py`, `load` and `encode_text`,
and `encodeText` of `inprocess.ts`, which pads with 0 for MobileCLIP-S2.
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
(model,) = Path(folder).glob("*_*/")
session = onnxruntime.InferenceSession(
    str(model / "text_model.onnx"), providers=["CPUExecutionProvider"]
)
tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
tokenizer.no_truncation()  # as in the base's file, which stays
name = session.get_inputs()[0].name
rows = [tokenizer.encode(text).ids[:77] for text in listed]
if model.name == "mobileclip_s2":
    rows = [[*ids, *[0] * (77 - len(ids))] for ids in rows]
vectors = [session.run(None, {name: np.array([ids], dtype=np.int64)})[0][0] for ids in rows]
np.save(out, np.stack(vectors))
