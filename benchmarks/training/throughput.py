"""Triples per second in training: ParaCLIP's step compared with the same step written plainly.

    python -m benchmarks.training.throughput            # about 6 minutes on 2 free cores

Both train the full text tower of ViT-B/32 (random weights, equal in all) on the same triples with
the three losses and AdamW. The plain step is what one writes with open_clip: texts padded to 77
tokens, one pass per text, the frozen image tower run on the pixels of every step, fp32. Further
steps differ from it by one change each. All are timed in turns, round by round, so that other work
on the machine affects all of them alike; the medians are compared. Each trains a separate copy of
the weights on the same batches, so their losses, round by round, must agree.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from torch import Tensor, nn

from benchmarks.machine import RESULTS, Taken, facts_of, keep, say, taken_by
from benchmarks.training.steps import (
    OurStep,
    PlainStep,
    plain_step,
    random_clip,
    random_pixels,
    some_triples,
)
from paraclip.starter import TEXTS
from paraclip.tables import markdown
from paraclip.training.data import TrainingData

Step = Callable[[np.ndarray], float]
"""Takes a step on some rows, and returns the loss; ours is an `OurStep`."""


def make_steps(name: str, rows: int) -> dict[str, Step]:
    """All steps, the plain one first, each with its own copy of the same weights."""
    clip, ours = random_clip(name)
    triples, pixels = some_triples(rows), random_pixels(rows, ours.image_size)
    with torch.no_grad():
        features = torch.cat([clip.encode_image(part).float() for part in pixels.split(64)])
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    tokens = {text: tokenizer(triples[text].to_pylist()) for text in TEXTS}
    plain = "plain open_clip: 77 tokens, image tower each step, fp32"
    return {
        plain: padded_step(deepcopy(clip), tokens, pixels),
        "plain, image features cached": padded_step(deepcopy(clip), tokens, pixels, features),
        "plain, texts cut to the longest": seeing(
            plain_step(deepcopy(ours), triples, features), clip, pixels
        ),
        "plain, bf16": padded_step(deepcopy(clip), tokens, pixels, half=True),
        "plain, image features cached, texts cut": plain_step(deepcopy(ours), triples, features),
        "the same, bf16": plain_step(deepcopy(ours), triples, features, half=True),
        "paraclip, fp32": OurStep(
            TrainingData(deepcopy(ours), triples, features), precision="fp32"
        ),
        "paraclip": OurStep(TrainingData(deepcopy(ours), triples, features)),
    }


def padded_step(
    clip: nn.Module, tokens: dict[str, Tensor], pixels: Tensor,
    features: Tensor | None = None, half: bool = False,
) -> PlainStep:  # fmt: skip
    """The plain step with open_clip's own model on texts padded to 77 tokens.

    Args:
        clip: model; its text tower and temperature are trained.
        tokens: ids [N, 77] of each text.
        pixels: prepared pictures float32 [N, 3, 224, 224].
        features: float32 [N, D] instead of the pixels, or None.
        half: whether to use bf16 autocast for both towers.
    """
    step = PlainStep(
        tokens,
        lambda ids: clip.encode_text(ids, normalize=True).float(),
        lambda rows: nn.functional.normalize(features[rows], dim=-1),
        [value for value in clip.parameters() if value.requires_grad],
        clip.logit_scale,
        half,
    )
    return step if features is not None else seeing(step, clip, pixels)


def seeing(step: PlainStep, clip: nn.Module, pixels: Tensor) -> PlainStep:
    """The same step, with the frozen image tower run on the pixels."""

    def images(rows: Tensor) -> Tensor:
        with torch.no_grad():
            return clip.encode_image(pixels[rows], normalize=True).float()

    step.images = images
    return step


@dataclass(frozen=True)
class Course:
    """Results of all rounds of one step.

    Args:
        taken: seconds of each round.
        losses: losses of each round.
    """

    taken: list[Taken]
    losses: list[float]

    def go(self, step: Step, rows: np.ndarray) -> None:
        """Run one round."""
        self.losses.append(step(rows))


def time_steps(steps: Mapping[str, Step], rows: int, batch: int, rounds: int) -> dict[str, Course]:
    """Run the rounds of all steps, in turns."""
    order = np.random.default_rng(0)
    courses = {name: Course([], []) for name in steps}
    for done in range(rounds):
        chosen = order.permutation(rows)[:batch]
        for name, step in steps.items():
            course = courses[name]
            course.taken.append(taken_by(partial(course.go, step, chosen)))
            progress = f"{course.taken[-1].wall:7.2f} s  loss {course.losses[-1]:.4f}  {name}"
            say(f"round {done + 1}/{rounds}  {progress}")
    return courses


def as_rows(courses: dict[str, Course], batch: int) -> list[dict[str, Any]]:
    """Medians of every step, and comparison with the first, plain one."""
    wall = {name: statistics.median(t.wall for t in c.taken) for name, c in courses.items()}
    work = {name: statistics.median(t.work for t in c.taken) for name, c in courses.items()}
    plain = next(iter(courses))
    return [
        {
            "step": name, "seconds": wall[name], "processor_seconds": work[name],
            "all_seconds": [one.wall for one in course.taken],
            "triples_per_second": batch / wall[name], "ratio": wall[plain] / wall[name],
            "processor_ratio": work[plain] / work[name], "losses": course.losses,
        }
        for name, course in courses.items()
    ]  # fmt: skip


def as_table(record: dict[str, Any]) -> str:
    """The result in Markdown."""
    rows, tokens = record["rows"], record["tokens"]
    count = len(rows[0]["losses"])
    heads = [
        *("step", "seconds", "triples/s", "times plain", "in processor time"),
        f"losses of steps 1 to {count}",
    ]
    lines = [
        [
            row["step"], f"{row['seconds']:.2f}", f"{row['triples_per_second']:.1f}",
            f"{row['ratio']:.1f}", f"{row['processor_ratio']:.1f}",
            " ".join(f"{loss:.3f}" for loss in row["losses"]),
        ]
        for row in rows
    ]  # fmt: skip
    facts = (
        f"{record['model']} text tower, batch {record['batch']}, {tokens['mean']:.1f} tokens a text"
        f" (longest {tokens['longest']}), medians of {count} rounds in turns. Our loop waits for"
        f" its rows {record['input_wait']:.1%} of the time. {record['facts']}"
    )
    return f"{markdown(heads, lines)}\n\n{facts}"


def make_parser(description: str) -> argparse.ArgumentParser:
    """The options of a benchmark of steps."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--model", default="ViT-B-32", help="a name that open_clip knows")
    parser.add_argument("--batch", type=int, default=64, help="rows a step")
    parser.add_argument("--rounds", type=int, default=5, help="steps of each kind")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser


def time_and_keep(
    name: str, make: Callable[[int], Mapping[str, Step]], chosen: argparse.Namespace
) -> None:
    """Time the steps that are made for a number of rows, in turns; write and print the table."""
    torch.set_num_threads(chosen.threads)
    rows = 2 * chosen.batch
    steps = make(rows)
    courses = time_steps(steps, rows, chosen.batch, chosen.rounds)
    ours = steps["paraclip"]
    lengths = ours.text_lengths()
    keep(
        name, chosen.out, as_table, rows=as_rows(courses, chosen.batch),
        model=chosen.model, batch=chosen.batch, facts=facts_of(chosen.threads),
        tokens={"mean": float(lengths.mean()), "longest": int(lengths.max())},
        input_wait=ours.input_wait(chosen.rounds),
    )  # fmt: skip


def main() -> None:
    """Time all steps in turns; write and print the table."""
    chosen = make_parser(__doc__).parse_args()
    time_and_keep("training_throughput", partial(make_steps, chosen.model), chosen)


if __name__ == "__main__":
    main()
