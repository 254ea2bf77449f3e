"""LanceDB's embedding function `open-clip`."""

import json
import sys
from pathlib import Path

import numpy as np
import open_clip
from lancedb.embeddings import get_registry

folder, texts, out, architecture = sys.argv[1:5]
for models in sys.argv[5:]:
    open_clip.add_model_config(models)
with open(texts, encoding="utf-8") as file:
    listed = json.load(file)
weights = (Path(folder) / "model.safetensors").resolve()
function = get_registry().get("open-clip").create(name=architecture, pretrained=str(weights))
np.save(out, np.stack([function.compute_query_embeddings(text)[0] for text in listed]))
