"""A tiny run that meets a fault, in a separate process forked from a server that has torch."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import torch
from training_rows import before_step, tune

from forked import SERVER
from paraclip.models import tensors

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
