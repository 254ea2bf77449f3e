"""Types of NumPy arrays that several packages use."""

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.floating]
"""Floating-point numbers of any precision."""
Integers = NDArray[np.int64]
"""Indices and counts."""
