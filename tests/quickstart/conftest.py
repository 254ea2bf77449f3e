"""The tiny models and the pictures are those of the models' own tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "models"))
