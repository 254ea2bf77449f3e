"""Trains the tiny model in a process of its own, to be killed: `run_tiny.py OUT SECONDS`."""

import sys
import time
from pathlib import Path

import torch
from tiny_model import TinyModel
from training_rows import make_config, make_features, make_triples

from paraclip.training import loop

SETTINGS = {"epochs": 4, "save_every": 2, "dropout": 0.2}


def main(out: Path, pause: float) -> None:
    """Train, with a pause before every step."""
    torch.set_num_threads(1)
    step = loop.take_step

    def slow_step(run, rows):
        time.sleep(pause)
        return step(run, rows)

    loop.take_step = slow_step
    triples = make_triples()
    loop.train(TinyModel(), triples, make_features(triples), make_config(**SETTINGS), out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
