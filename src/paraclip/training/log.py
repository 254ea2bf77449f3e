"""Metrics of a run: where they are logged, divergence; lines for the user."""

import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import torch

from paraclip.errors import UserError
from paraclip.files import atomic_path, disk_errors, read_bounded
from paraclip.training.losses import L1, L2, L3, Objective

_LARGEST_LOG = 2 * 2**30  # largest size of metrics.jsonl in bytes


def notice(text: str) -> None:
    """Print a line for the user on standard error."""
    print(f"paraclip: {text}", file=sys.stderr)


class _JsonLines:
    """Writer of one line per step to `metrics.jsonl`, flushed immediately.

    Args:
        folder: folder of the run.
        after: step after which the run resumes; later lines are dropped, since those steps are
            repeated.
    """

    def __init__(self, folder: Path, after: int = 0) -> None:
        self.path = folder / "metrics.jsonl"
        keep_until(self.path, after)
        self.lines = self.path.open("a", encoding="utf-8")

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Write one line."""
        with disk_errors(self.path):
            self.lines.write(json.dumps({"step": step, **figures}) + "\n")
            self.lines.flush()

    def close(self) -> None:
        """Close the file; errors are ignored, since `write` reports a full disk."""
        with suppress(OSError):
            self.lines.close()


class _TensorBoard:
    """Writer of tensorboard events, in the folder `tensorboard` of the run.

    Args:
        folder: folder of the run.
        after: step after which the run resumes; later points are purged.
    """

    def __init__(self, folder: Path, after: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.place = folder / "tensorboard"
        with disk_errors(self.place):
            self.board = SummaryWriter(  # type: ignore[no-untyped-call]
                str(self.place), purge_step=after + 1, filename_suffix=".paraclip"
            )

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Write one point per metric."""
        with disk_errors(self.place):
            for name, value in figures.items():
                self.board.add_scalar(name, value, step)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Close the file; errors are ignored, since `write` reports a full disk."""
        with suppress(OSError):
            self.board.close()  # type: ignore[no-untyped-call]


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read the lines of a `metrics.jsonl`; an incomplete last line is ignored."""
    hint = "Name another output folder, or move this file."
    try:
        lines = read_bounded(path, _LARGEST_LOG).decode("utf-8").splitlines()
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
    """Remove the lines of later steps from a `metrics.jsonl`, if it exists."""
    if not os.path.lexists(path):
        return
    kept = [line for line in read_metrics(path) if line["step"] <= step]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")


@contextmanager
def metrics_log(
    folder: Path, after: int, enabled: bool = True
) -> Iterator[list[_JsonLines | _TensorBoard]]:
    """The writers of each step's metrics: JSON lines, and tensorboard's events if it is installed.

    Args:
        folder: folder of the run.
        after: step after which the run resumes.
        enabled: whether anything is written; only the first process writes.
    """
    kinds = (_JsonLines, _TensorBoard) if find_spec("tensorboard") else (_JsonLines,)
    with ExitStack() as opened:
        yield [opened.enter_context(closing(kind(folder, after))) for kind in kinds if enabled]


_DIVERGED = 3.0
"""Multiple of the first loss, or of the loss at chance if that is larger, at which a run stops."""


def find_divergence(
    figures: Mapping[str, float], first_loss: float | None, objective: Objective, rows: int
) -> str | None:
    """Return the problem with a step's values as a clause, or None.

    Chance is the loss of a model whose vectors are all equal: ln of the rows, times the weights of
    the contrastive losses.

    Args:
        figures: values of the step, including "loss".
        first_loss: loss of the first step; None in that step.
        objective: the losses.
        rows: number of rows of the batch.
    """
    broken = [name for name, value in figures.items() if not math.isfinite(value)]
    if broken:
        return f"{' and '.join(broken)} became infinite or not a number"
    weights = sum(objective.weights.get(name, 0.0) for name in (L1, L2, L3))
    chance, loss = weights * math.log(max(rows, 2)), figures["loss"]
    limit = _DIVERGED * max(loss if first_loss is None else first_loss, chance)
    return f"the loss diverged: {loss:.4g} passes {limit:.4g}" if loss > limit else None


def peak_memory(device: torch.device) -> dict[str, float]:
    """Return the peak memory of this process in bytes; on a GPU, the peak GPU memory."""
    if device.type == "cuda":
        return {"peak_memory_bytes": float(torch.cuda.max_memory_allocated(device))}
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak_memory_bytes": float(getrusage(RUSAGE_SELF).ru_maxrss * unit)}
