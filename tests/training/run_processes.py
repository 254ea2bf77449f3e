"""Runs in processes that are forked from a server with torch: several, or one that is killed."""

import os
import random
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from gradients import ROWS, VARIANTS, Step
from safetensors.torch import save_file
from training_rows import Told, before_step, tune

from forked import SERVER
from paraclip.errors import UserError
from paraclip.models import tensors
from paraclip.training import sentences
from paraclip.training.distributed import each_process, this_process

ALIKE = {"epochs": 2, "dropout": 0.0}
FEW = np.array([3, 5, 8, 6])
"""Two of these rows have a picture: some processes have none, and no row of L1 to compute."""
RUNS = {"cached": {"micro_batch": 5}, "went_on": {}}


def start(count: int, folder: Path, what: str) -> list[tuple[int | None, str, str]]:
    """Call a function in this many local processes; returns exit code, output and errors."""
    port = free_port()
    places = [(rank, count, port, folder, what) for rank in range(count)]
    processes = [SERVER.Process(target=one_of, args=place) for place in places]
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
        "PARACLIP_QUIET": "1", "PARACLIP_CACHE": str(folder / "cache"),
    }  # fmt: skip
    torch.set_num_threads(1)
    try:
        with each_process("cpu"):
            DEEDS[what](folder)
    except UserError as error:  # as the command line does
        print(f"paraclip: {error}", file=sys.stderr)
        sys.exit(2)
    finally:
        (folder / f"{what}-{rank}-cleaned").touch()


def keep(path: Path, micro_batch: int, rows: np.ndarray, **changes: object) -> None:
    """Losses and gradients of a batch as a file."""
    options = {**changes, "micro_batch": micro_batch, "dropout": 0.0}
    own = path / str(this_process().rank)  # one process must not read what another is writing
    losses, found = Step(own, **options).gradient(rows)
    if this_process().first:
        save_file({**losses, **found}, path.with_suffix(".safetensors"))


def several(folder: Path) -> None:
    """Gradients of batches that do not divide evenly, whole runs, and a run that one began."""
    for variant, changes in VARIANTS.items():
        for micro_batch in (1000, 2):
            keep(folder / f"{variant}-{micro_batch}", micro_batch, ROWS, **changes)
    keep(folder / "few", 1000, FEW, loss_weights={"L2": 0.0, "L3": 0.0})
    for name, changes in RUNS.items():
        tune(folder / name, **ALIKE, **changes)


def meets(folder: Path, rank: int, deed: Callable[[], object]) -> None:
    """A run in which one process meets something."""
    if this_process().rank != rank:
        tune(folder, **ALIKE)
    else:
        with before_step(3, deed):
            tune(folder, **ALIKE)


def refuse() -> None:
    """Raise an error that a user can fix."""
    raise UserError("picture.png", "is broken", "Fix it.")


def taught(folder: Path) -> None:
    """A run with both teachers; a file for each process says what it encoded for S."""
    told = folder / f"told-{this_process().rank}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sentences, "load_model", lambda *_: Told(told, seed=7))
        tune(
            folder / "taught",
            loss_weights={"R": 1.0, "S": 1.0},
            image_loss_on=("caption",),
            **ALIKE,
        )


def added(folder: Path, name: str) -> None:
    """A run of a loss of the package in the folder `site`."""
    sys.path.insert(0, str(folder / "site"))
    tune(folder / name, loss_weights={name: 1.0}, **ALIKE)


DEEDS: dict[str, Callable[[Path], object]] = {
    "several": several,
    "alike": lambda folder: tune(folder / "alike", **ALIKE),
    "dies": lambda folder: meets(folder / "dies", 1, lambda: os.kill(os.getpid(), 9)),
    "fails": lambda folder: meets(folder / "fails", 1, refuse),
    "errs": lambda folder: meets(folder / "errs", 0, lambda: [][0]),
    "taught": taught,
    "closeness": lambda folder: added(folder, "closeness"),
    "careless": lambda folder: added(folder, "careless"),
    "apart": lambda folder: tune(folder / "apart", seed=this_process().rank, **ALIKE),
}


# --- one process that meets a fault ---

SETTINGS = {"epochs": 4, "dropout": 0.2}


def apart(deed: Callable[..., None], *arguments: object) -> int | None:
    """Call a function in a separate process and return its exit code."""
    process = SERVER.Process(target=deed, args=arguments)
    process.start()
    process.join(100)
    return process.exitcode


def die() -> None:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at_step(out: Path, step: int) -> None:
    """A run that is killed before a step."""
    torch.set_num_threads(1)
    with before_step(step, die):
        tune(out, **SETTINGS)


def killed_while_writing(out: Path, name: str, time: int) -> None:
    """A run that is killed when a file with this prefix is half written for the n-th time."""
    torch.set_num_threads(1)
    left, save = [time], tensors.save_file

    def save_half(written, path, metadata):
        save(written, path, metadata)
        left[0] -= Path(path).name.startswith(f".{name}")
        if left[0] == 0:
            os.truncate(path, os.path.getsize(path) // 2)
            die()

    tensors.save_file = save_half
    tune(out, **SETTINGS)
