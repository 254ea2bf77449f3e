"""What a run did, step by step: `metrics.jsonl` and tensorboard."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from paraclip.errors import UserError
from paraclip.files import atomic_path, disk_errors, read_bounded

LARGEST = 2 * 2**30  # bytes of metrics.jsonl
MEASURED = ("triples_per_second", "input_wait", "peak_memory_bytes")
"""Figures of the machine: a run that is made again has others."""


class JsonLines:
    """A line a step in `metrics.jsonl`, flushed at once.

    Args:
        folder: of the run.
        after: the step that the run goes on from; what was logged later is dropped, since those
            steps are taken again.
    """

    def __init__(self, folder: Path, after: int = 0) -> None:
        self.path = folder / "metrics.jsonl"
        keep_until(self.path, after)
        self.lines = self.path.open("a", encoding="utf-8")

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """One line."""
        with disk_errors(self.path):
            self.lines.write(json.dumps({"step": step, **figures}) + "\n")
            self.lines.flush()

    def close(self) -> None:
        """Nothing more comes; of a disk that is full `write` has told."""
        with suppress(OSError):
            self.lines.close()


class TensorBoard:
    """A point on each of tensorboard's curves, in the folder `tensorboard` of the run.

    Args:
        folder: of the run.
        after: the step that the run goes on from; later points are purged.
    """

    def __init__(self, folder: Path, after: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.place = folder / "tensorboard"
        with disk_errors(self.place):
            self.board = SummaryWriter(  # type: ignore[no-untyped-call]
                str(self.place), purge_step=after + 1
            )

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """One point a figure."""
        with disk_errors(self.place):
            for name, value in figures.items():
                self.board.add_scalar(name, value, step)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Nothing more comes; of a disk that is full `write` has told."""
        with suppress(OSError):
            self.board.close()  # type: ignore[no-untyped-call]


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a `metrics.jsonl`, without a last line that a kill cut short.

    Raises:
        UserError: the file is not a log of steps.
    """
    hint = "Name another output folder, or move this file."
    try:
        lines = read_bounded(path, LARGEST).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(path, f"cannot be read ({error})", hint) from error
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
    """Drop the lines of later steps from a `metrics.jsonl` that may exist."""
    if not os.path.lexists(path):
        return
    kept = [line for line in read_metrics(path) if line["step"] <= step]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
