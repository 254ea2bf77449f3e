"""A tiny run that meets a fault, in a separate process forked from a server that has torch."""

import os
import resource
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import torch
from training_rows import before_step, tune

from forked import SERVER
from paraclip.errors import UserError
from paraclip.models import tensors
from paraclip.training import log

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


def short_of_room(out: Path, name: str, most: int, told: Path) -> None:
    """A run with a limit on file size; writes the message that the user sees to a file.

    Args:
        out: folder of the run.
        name: the limit applies once a tensor file whose name begins so is written; "" from the
            start.
        most: limit in bytes.
        told: file for the message.
    """
    torch.set_num_threads(1)
    os.environ["PARACLIP_QUIET"] = "1"  # bars would go to a file, too
    unlimited, save = resource.getrlimit(resource.RLIMIT_FSIZE), tensors.save_file

    def save_limited(written, path, metadata):
        if Path(path).name.startswith(f".{name}"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, unlimited[1]))
        save(written, path, metadata)

    tensors.save_file = save_limited
    if not name:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, unlimited[1]))
    try:
        tune(out, **SETTINGS)
    except UserError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        told.write_text(str(error))


def curves_without_room(folder: Path, told: Path) -> None:
    """Write points to tensorboard, from its own thread, with a limit on file size."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    threading.excepthook = lambda caught: None  # the thread's own complaint
    (folder / "metrics.jsonl").symlink_to(os.devnull)  # has no size
    log.keep_until = lambda path, step: None
    try:
        with log.MetricsLog(folder) as metrics:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, unlimited[1]))
            for step in range(10_000):
                metrics.write(step, {"loss": 1.0}, 8)
    except UserError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        told.write_text(str(error))
