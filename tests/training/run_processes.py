"""One of several processes of a test: `run_processes.py FOLDER WHAT`, placed by RANK and so on."""

import os
import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[1] / "models"))
from safetensors.torch import save_file
from test_grad_cache import gradient
from tiny_model import TinyModel
from training_rows import make_config, make_features, make_triples

from paraclip.training import loop
from paraclip.training.launch import joined
from paraclip.training.processes import this_process

ALIKE = {"epochs": 3, "dropout": 0.0, "save_every": 2}


def train(out: Path, **changes: object) -> None:
    """The same run, whatever the number of processes."""
    triples, config = make_triples(), make_config(**(ALIKE | changes))
    loop.train(TinyModel(), triples, make_features(triples), config, out)


def gradients(folder: Path) -> None:
    """Losses and gradients of a batch that does not divide evenly, plain and cached."""
    for name, micro_batch in (("plain", 1000), ("cached", 2)):
        losses, found = gradient(folder, micro_batch, 4, dropout=0.0)
        if this_process().first:
            save_file({**losses, **found}, folder / f"{name}.safetensors")


def dies(folder: Path) -> None:
    """The second process is gone in the middle of the run."""
    step = loop.take_step

    def step_or_die(run, rows):
        if run.step == 3 and run.processes.rank == 1:
            os.kill(os.getpid(), 9)
        return step(run, rows)

    loop.take_step = step_or_die
    train(folder / "dies")


def several(folder: Path) -> None:
    """Gradients, a whole run, a run with cached gradients, and one that one process began."""
    gradients(folder)
    train(folder / "two")
    train(folder / "cached", micro_batch=5)
    train(folder / "went_on")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined("cpu", silence=4.0):
        {"several": several, "dies": dies}[sys.argv[2]](Path(sys.argv[1]))
