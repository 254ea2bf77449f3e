"""sentence-transformers, any version."""

import json
import sys

import numpy as np
from sentence_transformers import SentenceTransformer

folder, texts, out = sys.argv[1:4]
with open(texts, encoding="utf-8") as file:
    listed = json.load(file)
model = SentenceTransformer(folder, device="cpu")
np.save(out, model.encode(listed, show_progress_bar=False))
