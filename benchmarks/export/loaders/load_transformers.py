"""transformers 4 or 5: `CLIPModel` and `AutoTokenizer`."""

import json
import sys

import numpy as np
import torch
from transformers import AutoTokenizer, CLIPModel

folder, texts, out = sys.argv[1:4]
with open(texts, encoding="utf-8") as file:
    listed = json.load(file)
model = CLIPModel.from_pretrained(folder).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
tokens = tokenizer(listed, padding=True, truncation=True, return_tensors="pt")
with torch.no_grad():
    vectors = model.get_text_features(**tokens)
# Version 5 returns an object, version 4 a tensor.
vectors = vectors if isinstance(vectors, torch.Tensor) else vectors.pooler_output
np.save(out, vectors.numpy())
