"""rclip 3 or 4: FOLDER is its data folder, with rclip's own tokenizer/ in it."""

import json
import os
import sys

import numpy as np

folder, texts, out = sys.argv[1:4]
os.environ["RCLIP_DATADIR"] = folder
from rclip.model import Model  # noqa: E402  reads the variable

with open(texts, encoding="utf-8") as file:
    listed = json.load(file)
np.save(out, Model().compute_text_features(listed))
