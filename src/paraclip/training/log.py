"""The log of a run, divergence, and lines for the user."""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import IO, Any, TypeVar

import torch

from paraclip.errors import UserError
from paraclip.files import atomic_path, disk_errors, read_bounded, read_errors
from paraclip.training.config import L1, L2, L3

_LARGEST_LOG = 2 * 2**30  # largest size of metrics.jsonl in bytes
_Batch = TypeVar("_Batch")
OnStep = Callable[[Mapping[str, float]], None]
"""Gets each line of a log."""


def notice(text: str) -> None:
    """Print a line for the user on standard error."""
    print(f"paraclip: {text}", file=sys.stderr)


class MetricsLog:
    """The log of a run and its clock: a line for each step in the folder's `metrics.jsonl`, and
    tensorboard's points if installed. Use as a context manager.

    What the log has of steps after `after`, from which the run resumes, is dropped: they are
    repeated. Only the first process writes (`enabled`); `on_step` gets each line as well.
    """

    def __init__(
        self, folder: Path, after: int = 0, enabled: bool = True, on_step: OnStep | None = None
    ) -> None:
        self.path, self.place = folder / "metrics.jsonl", folder / "tensorboard"
        self._after, self._enabled, self._on_step = after, enabled, on_step
        self._began = self._waited = 0.0
        self._lines: IO[str] | None = None
        self._board: Any = None

    def __enter__(self) -> "MetricsLog":
        with ExitStack() as opened:
            if self._enabled:
                keep_until(self.path, self._after)
                self._lines = self.path.open("a", encoding="utf-8")
                opened.callback(_close, self._lines)
            if self._enabled and find_spec("tensorboard"):
                from torch.utils.tensorboard import SummaryWriter

                # `purge_step` hides repeated steps; `checkpoint.py` knows our files by the suffix.
                with disk_errors(self.place):
                    self._board = SummaryWriter(  # type: ignore[no-untyped-call]
                        str(self.place), purge_step=self._after + 1, filename_suffix=".paraclip"
                    )
                opened.callback(_close, self._board)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def timed(self, batches: Iterable[_Batch]) -> Iterator[_Batch]:
        """The batches; the time of a step begins when its batch is asked for."""
        self._began = time.perf_counter()
        for batch in batches:
            self._waited = time.perf_counter() - self._began
            yield batch
            self._began = time.perf_counter()

    def write(self, step: int, figures: Mapping[str, float], rows: int) -> None:
        """Write a step's figures, with the share of its time that it waited, and rows a second."""
        seconds = time.perf_counter() - self._began
        figures = {
            **figures, "input_wait": self._waited / seconds, "triples_per_second": rows / seconds
        }  # fmt: skip
        if self._lines is not None:
            with disk_errors(self.path):
                self._lines.write(json.dumps({"step": step, **figures}) + "\n")
                self._lines.flush()  # a kill loses no line
        if self._board is not None:
            with disk_errors(self.place):
                for name, value in figures.items():
                    self._board.add_scalar(name, value, step)
        if self._on_step is not None and self._enabled:
            self._on_step({"step": step, **figures})


def _close(opened: Any) -> None:
    with suppress(OSError):  # `write` reports a full disk
        opened.close()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read the lines of a `metrics.jsonl`; an incomplete last line is ignored."""
    hint = "Name another output folder, or move this file."
    with read_errors(path, hint):
        lines = read_bounded(path, _LARGEST_LOG).decode("utf-8").splitlines()
    steps = []
    for number, line in enumerate(lines, start=1):
        try:
            figures = json.loads(line)
            steps.append({**figures, "step": int(figures["step"])})
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            if number == len(lines) and isinstance(error, json.JSONDecodeError):
                break
            raise UserError(f"{path}:{number}", "is not a line of a log of steps", hint) from error
    return steps


def keep_until(path: Path, step: int) -> None:
    """Remove the lines of later steps from a `metrics.jsonl`, if it exists."""
    if not os.path.lexists(path):
        return
    kept = [line for line in read_metrics(path) if line["step"] <= step]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")


_DIVERGED = 3.0
"""Multiple of the first loss, or of the loss at chance if that is larger, at which a run stops."""


def find_divergence(
    figures: Mapping[str, float], first_loss: float | None, weights: Mapping[str, float], rows: int
) -> str | None:
    """Return the problem with a step's values as a clause, or None; the first step has no
    `first_loss`.

    Chance is the loss of a model whose vectors are all equal: ln of the batch's rows, times the
    weights of the contrastive losses.
    """
    broken = [name for name, value in figures.items() if not math.isfinite(value)]
    if broken:
        return f"{' and '.join(broken)} became infinite or not a number"
    contrastive = sum(weights.get(name, 0.0) for name in (L1, L2, L3))
    chance, loss = contrastive * math.log(max(rows, 2)), figures["loss"]
    limit = _DIVERGED * max(loss if first_loss is None else first_loss, chance)
    return f"the loss diverged: {loss:.4g} passes {limit:.4g}" if loss > limit else None


def peak_memory(device: torch.device) -> dict[str, float]:
    """Return the peak memory of this process in bytes; on a GPU, the peak GPU memory."""
    if device.type == "cuda":
        return {"peak_memory_bytes": float(torch.cuda.max_memory_allocated(device))}
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
    return {"peak_memory_bytes": float(getrusage(RUSAGE_SELF).ru_maxrss * unit)}
