"""How a run goes: whether it is judged now, whether it stops early, whether it diverges.

What is counted here is part of the state that a killed run goes on from.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from resource import RUSAGE_SELF, getrusage
from typing import Any

import torch

from paraclip.training.config import LoopOptions


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
        """What `place` in a state says; a state without it is of a run that did not count yet."""
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
    """What is wrong with a step's figures, in words; None where they are as they should be.

    A loss diverges where it passes `divergence` times the larger of the first step's loss
    and of chance, which is what a model gets that tells nothing apart.

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
