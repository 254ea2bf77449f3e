"""clip-retrieval's loader, all_clip."""

import json
import sys
from pathlib import Path

import numpy as np
import open_clip
import torch
from all_clip import load_clip

folder, texts, out, architecture = sys.argv[1:5]
for models in sys.argv[5:]:
    open_clip.add_model_config(models)
with open(texts, encoding="utf-8") as file:
    listed = json.load(file)
weights = (Path(folder) / "model.safetensors").resolve()
name = f"open_clip:{architecture}/{weights}"
model, _, tokenizer = load_clip(name, use_jit=False, device="cpu")
with torch.no_grad():
    np.save(out, model.encode_text(tokenizer(listed)).numpy())
