"""fastembed."""

import json
import sys

import numpy as np
from fastembed import TextEmbedding

folder, texts, out = sys.argv[1:4]
with open(texts, encoding="utf-8") as file:
    listed = json.load(file)
model = TextEmbedding("Qdrant/clip-ViT-B-32-text", specific_model_path=folder)
np.save(out, np.stack(list(model.embed(listed))))
