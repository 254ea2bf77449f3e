"""The process functions of distributed tests; forked from a server that has torch loaded."""

import multiprocessing
import os
import random
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from gradients import ROWS, VARIANTS, gradient
from safetensors.torch import save_file
from tiny_model import TinyModel
from training_rows import make_config, make_features, make_triples

from paraclip.errors import UserError
from paraclip.training import loop
from paraclip.training.prepare import TrainingData
from paraclip.training.processes import joined, this_process

ALIKE = {"epochs": 3, "dropout": 0.0, "save_every": 2}
FEW = np.array([3, 5, 8, 6])
"""Two of these rows have a picture: some processes have none, and no row of L1 to compute."""
RUNS = {
    "alike": {},
    "cached": {"micro_batch": 5},
    "clipped": {"clip_norm": 0.5, "patience": 9, "eval_every": 2},
    "went_on": {},
}


def start(count: int, folder: Path, what: str) -> list[tuple[int | None, str, str]]:
    """Call a function in this many local processes; returns exit code, output and errors."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["paraclip.training.loop", "peft"])
    port = free_port()
    places = [(rank, count, port, folder, what) for rank in range(count)]
    processes = [context.Process(target=one_of, args=place) for place in places]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
    outputs = [[stream(folder, what, *place).read_text() for place in ((r, 1), (r, 2))]
               for r in range(count)]  # fmt: skip
    return [(p.exitcode, *said) for p, said in zip(processes, outputs, strict=True)]


def free_port() -> int:
    """A port below the range from which the system gives other tests theirs.

    One from that range may be taken by another test before the first process listens; the other
    processes would then wait for a server that never answers.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def stream(folder: Path, what: str, rank: int, number: int) -> Path:
    """The file for a process's output (1) or errors (2)."""
    return folder / f"{what}-{rank}-{number}.txt"


def one_of(rank: int, count: int, port: int, folder: Path, what: str) -> None:
    """This process, with the environment that torchrun sets."""
    for number in (1, 2):
        place = os.open(stream(folder, what, rank, number), os.O_CREAT | os.O_WRONLY)
        os.dup2(place, number)
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo",
        "PARACLIP_QUIET": "1",
    }  # fmt: skip
    torch.set_num_threads(1)
    deed = {"several": several, "dies": dies, "fails": fails, "errs": errs, "apart": apart}[what]
    try:
        with joined("cpu"):
            deed(folder)
    except UserError as error:  # as the command line does
        print(f"paraclip: {error}", file=sys.stderr)
        sys.exit(2)
    finally:
        (folder / f"{what}-{rank}-cleaned").touch()


def train(out: Path, **changes: object) -> None:
    """The same run for any number of processes."""
    triples, config = make_triples(), make_config(**(ALIKE | changes))
    loop.train(TrainingData(TinyModel(), triples, make_features(triples)), config, out)


def gradients(folder: Path) -> None:
    """Losses and gradients of batches that do not divide evenly, plain and cached."""
    for variant, changes in VARIANTS.items():
        for micro_batch in (1000, 2):
            keep(folder / f"{variant}-{micro_batch}", micro_batch, ROWS, **changes)
    keep(folder / "few", 1000, FEW, weights=(1.0, 0.0, 0.0))


def keep(path: Path, micro_batch: int, rows: np.ndarray, **changes: object) -> None:
    """Losses and gradients of a batch as a file."""
    losses, found = gradient(path, micro_batch, rows, **(changes | {"dropout": 0.0}))
    if this_process().first:
        save_file({**losses, **found}, path.with_suffix(".safetensors"))


def several(folder: Path) -> None:
    """Gradients, whole runs, and a run started by one process."""
    gradients(folder)
    for name, changes in RUNS.items():
        train(folder / name, **changes)


def at_step(rank: int, step: int, deed: Callable[[], object]) -> None:
    """Call a function in one process before a step."""
    take_step = loop.take_step

    def step_or_deed(run, batch):
        if (run.processes.rank, run.step) == (rank, step):
            deed()
        return take_step(run, batch)

    loop.take_step = step_or_deed


def refuse() -> None:
    """Raise an error that a user can fix."""
    raise UserError("picture.png", "is broken", "Fix it.")


def dies(folder: Path) -> None:
    """The second process is killed in the middle of the run."""
    at_step(1, 3, lambda: os.kill(os.getpid(), 9))
    train(folder / "dies")


def fails(folder: Path) -> None:
    """The second process raises a user error."""
    at_step(1, 3, refuse)
    train(folder / "fails")


def errs(folder: Path) -> None:
    """The first process raises an internal error."""
    at_step(0, 3, lambda: [][0])
    train(folder / "errs")


def apart(folder: Path) -> None:
    """Each process has different options."""
    train(folder / "apart", seed=this_process().rank)
