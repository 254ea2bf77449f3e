"""A run, killed by a test: `python killed_run.py URL OUT`."""

import sys
from pathlib import Path

from generating import captions, fake_config

from paraclip.paraphrase.config import SMALL
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.run import generate

if __name__ == "__main__":
    from fake_encoder import BagEncoder

    judge = Judge(SMALL, BagEncoder())  # type: ignore[arg-type]
    out = Path(sys.argv[2])
    generate(captions(60), fake_config(sys.argv[1], out), out, judge=judge)
