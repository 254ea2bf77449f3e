"""Tiny matrices: a second thread would only wait for the first."""

import sys
from pathlib import Path

import torch

# The tiny models that can be saved and loaded are those of the models' own tests, and the small
# benchmarks those of evaluation's.
for room in ("models", "evaluation"):
    sys.path.append(str(Path(__file__).parents[1] / room))
torch.set_num_threads(1)
