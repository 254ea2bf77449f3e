"""open_clip, as `local-dir:`."""

import json
import sys

import numpy as np
import open_clip
import torch

folder, texts, out = sys.argv[1:4]
with open(texts, encoding="utf-8") as file:
    listed = json.load(file)
model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
model.eval()
with torch.no_grad():
    np.save(out, model.encode_text(tokenizer(listed)).numpy())
