"""Figures of a run: where they go (files, tensorboard, trackio, wandb), which are wrong."""

import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from types import ModuleType
from typing import Any, Protocol

import torch

from paraclip.errors import UserError, nearest
from paraclip.files import atomic_path, disk_errors, read_bounded
from paraclip.training.config import LoopOptions

LARGEST_LOG = 2 * 2**30  # bytes of metrics.jsonl
MEASURED = ("triples_per_second", "input_wait", "peak_memory_bytes")
"""Figures of the machine: a run that is made again has others."""


class JsonLines:
    """A line a step in `metrics.jsonl`, flushed at once.

    Args:
        folder: of the run.
        after: the step that the run resumes after; later lines are dropped, since those
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
        """Close the file; `write` has reported a full disk already."""
        with suppress(OSError):
            self.lines.close()


class TensorBoard:
    """A point on each of tensorboard's curves, in the folder `tensorboard` of the run.

    Args:
        folder: of the run.
        after: the step that the run resumes after; later points are purged.
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
        """Close the file; `write` has reported a full disk already."""
        with suppress(OSError):
            self.board.close()  # type: ignore[no-untyped-call]


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a `metrics.jsonl`, without a last line that a kill cut short.

    Raises:
        UserError: the file is not a log of steps.
    """
    hint = "Name another output folder, or move this file."
    try:
        lines = read_bounded(path, LARGEST_LOG).decode("utf-8").splitlines()
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


PROJECT = "paraclip"


class Watcher(Protocol):
    """Receives the figures of each step."""

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """The figures after a step, by name."""
        ...

    def close(self) -> None:
        """Close; the run ended or was stopped."""
        ...


@dataclass(frozen=True)
class Watched:
    """The run that is watched.

    Args:
        folder: of the run; its name is the run's name.
        after: the step that it resumes after.
        key: the same for a resumed run as for the one that was stopped.
        settings: JSON-able, shown beside the curves.
    """

    folder: Path
    after: int
    key: str
    settings: Mapping[str, Any]


class Tracker:
    """trackio or wandb: two modules with the same three functions.

    Args:
        module: imported only when it is asked for.
        run: what is watched.
        more: options of its `init`.
    """

    def __init__(self, module: ModuleType, run: Watched, more: Mapping[str, Any]) -> None:
        self.module = module
        settings = dict(run.settings)
        self.module.init(project=PROJECT, config=settings, resume="allow", **more)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """One point a figure."""
        self.module.log(dict(figures), step=step)

    def close(self) -> None:
        """Send what is still to be sent."""
        self.module.finish()


def trackio(run: Watched) -> Watcher:
    """trackio, on this machine (`trackio show --project paraclip`)."""
    name = f"{run.folder.name}-{run.key}"
    return Tracker(needed("trackio"), run, {"name": name, "embed": False})


def wandb(run: Watched) -> Watcher:
    """wandb; with WANDB_MODE=offline nothing leaves this machine."""
    own = {"id": run.key, "name": run.folder.name, "dir": str(run.folder)}
    return Tracker(needed("wandb"), run, own)


def needed(name: str) -> ModuleType:
    """A module that may not be there.

    Raises:
        UserError: it is not.
    """
    check_trackers([name])
    return import_module(name)


WATCHERS: dict[str, Callable[[Watched], Watcher]] = {
    "jsonl": lambda run: JsonLines(run.folder, run.after),
    "tensorboard": lambda run: TensorBoard(run.folder, run.after),
    "trackio": trackio,
    "wandb": wandb,
}
OF_OTHERS = ("trackio", "wandb")


def check_trackers(names: Sequence[str]) -> None:
    """Refuse what is unknown or not installed, before anything is computed.

    Raises:
        UserError: naming it and how to install it.
    """
    for name in names:
        if name not in WATCHERS:
            raise UserError("--track", f"{name!r} is unknown", nearest(name, list(WATCHERS)))
        if name in OF_OTHERS and find_spec(name) is None:
            raise UserError(f"--track {name}", "it is not installed", f"pip install {name}")


class Watchers:
    """All watchers of a run as one; closed at the end, also where the run fails.

    Args:
        names: of `WATCHERS`, each once.
        run: what is watched.

    Raises:
        UserError: one is not installed.
    """

    def __init__(self, names: Sequence[str], run: Watched) -> None:
        self.closing = ExitStack()
        self.every: list[Watcher] = []
        with ExitStack() as opened:
            for name in dict.fromkeys(names):
                watcher = WATCHERS[name](run)
                opened.callback(watcher.close)
                self.every.append(watcher)
            self.closing = opened.pop_all()

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Write to all of them."""
        for watcher in self.every:
            watcher.write(step, figures)

    def close(self) -> None:
        """Close all of them, whichever fails."""
        self.closing.close()

    def __enter__(self) -> "Watchers":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


@dataclass
class Course:
    """What the steps so far decide about the next ones.

    Args:
        first_loss: the loss of the first step; None before it.
        stale: judgements since the lowest held-out loss.
    """

    first_loss: float | None = None
    stale: int = 0

    @classmethod
    def of_place(cls, place: Mapping[str, Any]) -> "Course":
        """The course stored in a state; states of older versions have none."""
        return cls(place.get("first_loss"), place.get("stale", 0))

    def judged(self, better: bool) -> None:
        """Count a judgement."""
        self.stale = 0 if better else self.stale + 1

    def stops(self, patience: int | None) -> bool:
        """Whether so many judgements in a row were no better."""
        return patience is not None and self.stale >= patience


def is_judged(options: LoopOptions, step: int, epoch_steps: int, total_steps: int) -> bool:
    """Whether the held-out rows are looked at after this step (counted from 1)."""
    every = options.eval_every or epoch_steps
    return step % every == 0 or step == total_steps


def trouble(
    course: Course, divergence: float, figures: Mapping[str, float], chance: float
) -> str | None:
    """What is wrong with a step's figures, as a clause; None where nothing is.

    A loss diverges where it passes `divergence` times the larger of the first step's loss
    and of chance, the loss of a model that cannot tell anything apart.

    Args:
        course: of the run; the first loss is noted here.
        divergence: see above.
        figures: of the step, among them "loss".
        chance: the weighted sum of ln B over the losses, B rows a batch.
    """
    broken = [name for name, value in figures.items() if not math.isfinite(value)]
    if broken:
        return f"{' and '.join(broken)} became infinite or not a number"
    loss = figures["loss"]
    if course.first_loss is None:
        course.first_loss = loss
    limit = divergence * max(course.first_loss, chance)
    if loss > limit:
        return f"the loss diverged: {loss:.4g} passes {limit:.4g}"
    return None


def peak_memory(device: torch.device) -> dict[str, float]:
    """The most memory that this process has held so far, in bytes; on a GPU that of the GPU."""
    if device.type == "cuda":
        return {"peak_memory_bytes": float(torch.cuda.max_memory_allocated(device))}
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak_memory_bytes": float(getrusage(RUSAGE_SELF).ru_maxrss * unit)}
