"""Weaviate's multi2vec-clip: FOLDER is mounted as its `models/text`.

The lines follow `clip.py`, `ClipInferenceSentenceTransformers`. Rows are NaN of texts with more
tokens than CLIP's context, which its version of sentence-transformers refuses, of base and tuned.
"""

import json
import sys

import numpy as np
from sentence_transformers import SentenceTransformer

folder, texts, out = sys.argv[1:4]
with open(texts, encoding="utf-8") as file:
    listed = json.load(file)
model = SentenceTransformer(folder, device="cpu", trust_remote_code=False)
rows = []
for text in listed:
    try:
        rows += model.encode([text], convert_to_tensor=True).tolist()
    except ValueError as error:
        if "Sequence length" not in str(error):
            raise
        rows.append([np.nan] * len(rows[0]))
np.save(out, np.array(rows, np.float32))
