"""`paraclip ablate` with a pause before every step, to be killed: `run_slow.py PAUSE WORDS...`."""

import sys
import time

import torch

from paraclip.cli import main
from paraclip.evaluation import run
from paraclip.training import loop


def slow(pause: float) -> None:
    """Pause before every step."""
    step = loop.take_step

    def slow_step(run, rows):
        time.sleep(pause)
        return step(run, rows)

    loop.take_step = slow_step


if __name__ == "__main__":
    torch.set_num_threads(1)
    run.plot_scores = lambda report, path: None
    slow(float(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
