"""Metrics of a run: where they are logged, divergence and early stopping, geometry of its vectors.

Falling losses do not show whether paraphrases move closer (alignment), whether the texts collapse
(uniformity), or whether a picture stays closer to its own text than to any other (margin).
"""

import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import fmean
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor

from paraclip.errors import UserError, nearest
from paraclip.files import atomic_path, disk_errors, read_bounded
from paraclip.training.config import LoopOptions
from paraclip.training.losses.objective import Rows, Vectors

LARGEST_LOG = 2 * 2**30  # largest size of metrics.jsonl in bytes
MEASURED = ("triples_per_second", "input_wait", "peak_memory_bytes")
"""Metrics of the machine, which differ when a run is repeated."""


class JsonLines:
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


class TensorBoard:
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
    """Remove the lines of later steps from a `metrics.jsonl`, if it exists."""
    if not os.path.lexists(path):
        return
    kept = [line for line in read_metrics(path) if line["step"] <= step]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")


PROJECT = "paraclip"


class Watcher(Protocol):
    """Receiver of the metrics of each step."""

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Receive the metrics of a step, by name."""
        ...

    def close(self) -> None:
        """Close when the run ends or is stopped."""
        ...


@dataclass(frozen=True)
class Watched:
    """The run to log."""

    folder: Path  # folder of the run; its name is the name of the run
    after: int  # step after which the run resumes
    key: str  # identifier of the run, unchanged when it is resumed
    settings: Mapping[str, Any]  # JSON-serialisable settings, shown with the curves


class Tracker:
    """Adapter for trackio or wandb, which share three functions.

    Args:
        module: the module, imported only if selected.
        run: the run to log.
        more: further arguments of the module's `init`.
    """

    def __init__(self, module: ModuleType, run: Watched, more: Mapping[str, Any]) -> None:
        self.module = module
        settings = dict(run.settings)
        self.module.init(project=PROJECT, config=settings, resume="allow", **more)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Write one point per metric."""
        self.module.log(dict(figures), step=step)

    def close(self) -> None:
        """Send the remaining data."""
        self.module.finish()


def trackio(run: Watched) -> Watcher:
    """Create a local trackio logger (view with `trackio show --project paraclip`)."""
    name = f"{run.folder.name}-{run.key}"
    return Tracker(needed("trackio"), run, {"name": name, "embed": False})


def wandb(run: Watched) -> Watcher:
    """Create a wandb logger; with WANDB_MODE=offline, no data leaves this machine."""
    own = {"id": run.key, "name": run.folder.name, "dir": str(run.folder)}
    return Tracker(needed("wandb"), run, own)


def needed(name: str) -> ModuleType:
    """Import an optional module."""
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
    """Check before any computation that all trackers are known and installed."""
    for name in names:
        if name not in WATCHERS:
            raise UserError("--track", f"{name!r} is unknown", nearest(name, list(WATCHERS)))
        if name in OF_OTHERS and find_spec(name) is None:
            raise UserError(f"--track {name}", "it is not installed", f"pip install {name}")


class Watchers:
    """All watchers of a run, closed at its end even if it fails.

    Args:
        names: names from `WATCHERS`; duplicates are ignored.
        run: the run to log.

    Raises:
        UserError: if a watcher is not installed.
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
        """Write to all watchers."""
        for watcher in self.every:
            watcher.write(step, figures)

    def close(self) -> None:
        """Close all watchers, even if one fails."""
        self.closing.close()

    def __enter__(self) -> "Watchers":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


@dataclass
class Course:
    """State for detecting divergence and for early stopping."""

    first_loss: float | None = None  # loss of the first step; None before it
    stale: int = 0  # number of evaluations since the lowest held-out loss

    @classmethod
    def of_position(cls, position: Mapping[str, Any]) -> "Course":
        """Restore from a saved state; states of older versions lack these values."""
        return cls(position.get("first_loss"), position.get("stale", 0))

    def judged(self, better: bool) -> None:
        """Record an evaluation of the held-out loss."""
        self.stale = 0 if better else self.stale + 1

    def stops(self, patience: int | None) -> bool:
        """Return whether `patience` evaluations in a row brought no improvement."""
        return patience is not None and self.stale >= patience


def is_judged(options: LoopOptions, step: int, epoch_steps: int, total_steps: int) -> bool:
    """Return whether the held-out loss is evaluated after this step (counted from 1)."""
    every = options.eval_every or epoch_steps
    return step % every == 0 or step == total_steps


def trouble(
    course: Course, divergence: float, figures: Mapping[str, float], chance: float
) -> str | None:
    """Return the problem with a step's values as a clause, or None.

    A loss has diverged if it exceeds `divergence` times the larger of the first step's loss and the
    chance loss, that of a model whose vectors are all equal.

    Args:
        course: state of the run; stores the first loss.
        divergence: factor, see above.
        figures: values of the step, including "loss".
        chance: the weighted sum of ln B over the losses, for B rows per batch.
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
    """Return the peak memory of this process in bytes; on a GPU, the peak GPU memory."""
    if device.type == "cuda":
        return {"peak_memory_bytes": float(torch.cuda.max_memory_allocated(device))}
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak_memory_bytes": float(getrusage(RUSAGE_SELF).ru_maxrss * unit)}


def alignment(a: Tensor, b: Tensor) -> float:
    """Return the mean squared distance between texts and paraphrases; 0 for equal vectors.

    mean over i of |a_i - b_i|^2

    Args:
        a: unit vectors [N, D].
        b: unit vectors [N, D]; row i is the positive of row i.

    Source: Wang & Isola 2020, section 4.1, L_align with alpha = 2.
    """
    return float((a - b).square().sum(1).mean())


def uniformity(vectors: Tensor) -> float:
    """Return how uniformly vectors cover the sphere; lower is more uniform, 0 if all are equal.

    log of the mean over pairs i < j of exp(-2 |x_i - x_j|^2)

    Args:
        vectors: unit vectors [N, D], N at least 2.

    Source: Wang & Isola 2020, section 4.1, L_uniform with t = 2.
    """
    squared = torch.pdist(vectors.double()).square()  # [N (N - 1) / 2]
    return float(torch.logsumexp(-2 * squared, 0)) - math.log(len(squared))


def margin(images: Tensor, texts: Tensor, false_negatives: Tensor | None = None) -> float:
    """Return the mean of each picture's similarity to its text minus that to the nearest other.

    Args:
        images: unit vectors [K, D].
        texts: unit vectors [K, D]; row i belongs to picture i.
        false_negatives: bool [K, K], True where a text is not a negative of a picture; False on
            the diagonal.

    Returns:
        The mean margin, positive if pictures are closest to their own text; NaN without other
        texts.
    """
    similarity = images.double() @ texts.double().T  # [K, K]
    own = similarity.diagonal().clone()
    similarity.fill_diagonal_(-torch.inf)
    if false_negatives is not None:
        similarity.masked_fill_(false_negatives, -torch.inf)
    nearest = similarity.max(1).values
    defined = torch.isfinite(nearest)
    return float((own - nearest)[defined].mean())


def geometry(vectors: Vectors, rows: Rows, image_loss_on: Sequence[str]) -> dict[str, float]:
    """Return `alignment`, `uniformity` and `margin` of a batch, where defined.

    Alignment is the mean over adjacent texts in (caption, paraphrase_1, paraphrase_2), of those
    that the run uses; uniformity is that of the last one; the margin is the mean over the texts in
    L1, where rows that share a text or picture are masked.
    """
    texts = list(vectors.texts.values())  # T of [B, D]
    figures = {"uniformity": uniformity(texts[-1])}
    if len(texts) > 1:
        figures["alignment"] = fmean([alignment(a, b) for a, b in pairwise(texts)])
    if image_loss_on and len(vectors.images) > 1:
        mask, shown = None, rows.with_image
        if rows.false_negatives is not None:
            dense = rows.false_negatives.dense().to(shown.device)  # [B, B + M]
            mask = dense[shown][:, shown]  # [K, K]
        tied = [vectors.texts[name][shown] for name in image_loss_on]  # [K, D] each
        figures["margin"] = fmean([margin(vectors.images, text, mask) for text in tied])
    return {name: value for name, value in figures.items() if math.isfinite(value)}
