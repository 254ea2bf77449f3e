"""Tiny matrices: a second thread would only wait for the first."""

import sys
from pathlib import Path

import torch

# The tiny models, and the small benchmarks, are those of the other rooms' tests.
for room in ("models", "evaluation", "training"):
    sys.path.append(str(Path(__file__).parents[1] / room))
torch.set_num_threads(1)
