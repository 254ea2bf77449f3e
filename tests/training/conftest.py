"""One thread: the matrices are too small for a second to help."""

import torch

torch.set_num_threads(1)
