"""Triples a second in training: ParaCLIP's step against the same step written plainly.

    python benchmarks/training_throughput.py            # about 4 minutes on 2 free cores

Both train the full text tower of ViT-B/32 (random weights, the same in both) on the same
triples with the three losses and AdamW. The plain step is what one writes with open_clip: texts
padded to 77 tokens, one pass a text, the frozen image tower run on the pixels of every step,
fp32. Between the two lie the steps with one change each. All take turns, round by round, so that
whatever else the machine does falls on all of them alike; the medians are compared. The losses of
the first round are printed too: the weights being the same, they must agree.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pyarrow as pa
import torch
from open_clip.transform import PreprocessCfg
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from paraclip.files import write_text
from paraclip.models.openclip import ClipSpec, OpenClip, build_clip
from paraclip.models.weights import load_open_clip_state
from paraclip.provenance import provenance
from paraclip.training.batches import ALL_TEXTS
from paraclip.training.config import TrainConfig
from paraclip.training.examples import make_examples
from paraclip.training.forward import batch_losses
from paraclip.training.loop import take_step
from paraclip.training.losses import Objective, weighted_sum
from paraclip.training.optimizer import Part, train_only
from paraclip.training.run import Run, Task, precision_of, start

NAME = "ViT-B-32"
RESULTS = Path(__file__).parent / "results"
RATE = 1e-5

WHO = ["a man", "two women", "a small child", "an old fisherman", "three hikers", "a black dog",
       "a girl in a yellow coat", "the players", "a street musician", "some tourists"]  # fmt: skip
DOES = ["holds", "carries", "looks at", "sits beside", "runs past", "photographs", "waits near"]
WHAT = ["a wooden boat", "a red bicycle", "the market stall", "a stone bridge", "an open window",
        "a pile of oranges", "a sleeping cat", "the old tram", "a tall fence"]  # fmt: skip
WHERE = ["", "", "in the rain", "at night", "on a crowded beach", "under a row of trees",
         "in front of a brick house with green shutters",
         "while others watch from a balcony"]  # fmt: skip


@dataclass(frozen=True)
class Data:
    """The same rows for every step.

    Args:
        triples: texts and picture names.
        pixels: prepared pictures float32 [N, 3, 224, 224].
        features: what the image tower makes of them, float32 [N, 512].
    """

    triples: pa.Table
    pixels: Tensor
    features: Tensor


def make_data(rows: int) -> Data:
    """Made-up triples, about 14 tokens a text as captions from the web have, and noise to see."""
    chance = random.Random(0)
    found: dict[str, dict[str, str]] = {}
    while len(found) < rows:
        who, does, what, where = (chance.choice(parts) for parts in (WHO, DOES, WHAT, WHERE))
        caption = " ".join(f"{who} {does} {what} {where}".split())
        found[caption] = {
            "image_id": str(len(found)),
            "caption": caption,
            "paraphrase_1": " ".join(f"{who}: {does} {what}, {where}".split()),
            "paraphrase_2": " ".join(f"{where} there is {what} that {who} {does}".split()),
        }
    maker = torch.Generator().manual_seed(0)
    return Data(
        pa.Table.from_pylist(list(found.values())),
        torch.randn(rows, 3, 224, 224, generator=maker),
        torch.empty(0),
    )


class PlainStep:
    """The three-loss step as written plainly with open_clip; each option is one change to it.

    Args:
        clip: open_clip's model; its text tower and temperature are trained.
        ours: the same weights, for texts shorter than 77 tokens, which open_clip's own model
            does not take.
        data: rows; tokens are made beforehand, for all steps alike.
        cached: take the image vectors from a table instead of running the image tower.
        cut: cut each of the three texts' batches to its longest.
        half: bf16 autocast of both towers.
    """

    def __init__(
        self, clip: nn.Module, ours: OpenClip, data: Data,
        cached: bool = False, cut: bool = False, half: bool = False,
    ) -> None:  # fmt: skip
        self.clip, self.ours, self.data = clip, ours, data
        self.cached, self.cut, self.half = cached, cut, half
        tokenizer = open_clip.get_tokenizer(NAME)
        self.tokens = {name: tokenizer(data.triples[name].to_pylist()) for name in ALL_TEXTS}
        model = ours if cut else clip
        self.weights = [value for value in model.parameters() if value.requires_grad]
        self.scale = model.logit_scale
        self.optimizer = torch.optim.AdamW(self.weights, lr=RATE)

    def encode(self, ids: Tensor) -> Tensor:
        """Unit vectors [B, 512] of ids [B, 77]."""
        if self.cut:
            return self.ours.encode_tokens(ids[:, : int((ids != 0).sum(1).max())])
        return self.clip.encode_text(ids, normalize=True).float()

    def images(self, rows: Tensor) -> Tensor:
        """Unit vectors [B, 512] of the pictures."""
        if self.cached:
            return normalize(self.data.features[rows], dim=-1)
        with torch.no_grad():
            return self.clip.encode_image(self.data.pixels[rows], normalize=True).float()

    def loss(self, rows: Tensor) -> Tensor:
        """L1 + L2 + L3 of these rows."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            caption, first, second = (self.encode(self.tokens[name][rows]) for name in ALL_TEXTS)
            images = self.images(rows)
        pairs = ((images, second), (caption, first), (first, second))
        target = torch.arange(len(rows))
        total = torch.zeros(())
        for a, b in pairs:
            logits = self.scale.exp() * a @ b.T  # [B, B]
            total = total + (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
        return total

    def __call__(self, rows: np.ndarray) -> float:
        """One step; returns the loss."""
        loss = self.loss(torch.from_numpy(rows))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())


class OurStep:
    """`paraclip train`'s own step.

    Args:
        model: its text tower and temperature are trained.
        data: rows.
        precision: as the command line has it.
        out: an empty folder.
    """

    def __init__(self, model: OpenClip, data: Data, precision: str, out: Path) -> None:
        texts = {name: data.triples[name].to_pylist() for name in ALL_TEXTS}
        ids = data.triples["image_id"].to_pylist()
        config = TrainConfig(triples="made up", learning_rate=RATE, epochs=100, held_out=0.0)
        rows = make_examples(model, texts, ids, data.features, ALL_TEXTS)
        task = Task(model, rows, Objective(), (Part(model.text_tower, RATE),), config)
        identity = {"precision": precision_of(precision, model.device)}
        self.run: Run = start(task, identity, out)
        self.run.train_mode()

    def __call__(self, rows: np.ndarray) -> float:
        """One step; returns the loss."""
        return take_step(self.run, rows)["loss"]


Step = PlainStep | OurStep


def same_weights() -> tuple[nn.Module, OpenClip]:
    """open_clip's model with random weights, and ours with the same."""
    torch.manual_seed(0)
    clip = open_clip.create_model(NAME).eval()
    config = open_clip.get_model_config(NAME)
    spec = ClipSpec(NAME, config, asdict(PreprocessCfg()))
    inside = build_clip(spec)
    load_open_clip_state(inside, clip.state_dict(), "random", NAME)
    ours = OpenClip(spec, inside)
    clip.visual.requires_grad_(False)
    train_only(ours, (Part(ours.text_tower, RATE),), freeze_temperature=False)
    return clip, ours


def make_steps(data: Data, folder: Path) -> dict[str, Step]:
    """All steps, the plain one first."""
    clip, ours = same_weights()
    with torch.no_grad():
        parts = [clip.encode_image(part).float() for part in data.pixels.split(64)]
    data = replace(data, features=torch.cat(parts))
    return {
        "plain open_clip: 77 tokens, image tower each step, fp32": PlainStep(clip, ours, data),
        "plain, image features cached": PlainStep(clip, ours, data, cached=True),
        "plain, texts cut to the longest": PlainStep(clip, ours, data, cut=True),
        "plain, bf16": PlainStep(clip, ours, data, half=True),
        "paraclip, fp32": OurStep(ours, data, "fp32", folder),
        "paraclip": OurStep(ours, data, "auto", folder),
    }


@dataclass(frozen=True)
class Taken:
    """Seconds of one step: on the clock, and of all threads' work together."""

    wall: float
    work: float


def time_steps(
    steps: dict[str, Step], rows: int, batch: int, rounds: int
) -> dict[str, list[Taken]]:
    """What every step took, in turns."""
    order = np.random.default_rng(0)
    taken: dict[str, list[Taken]] = {name: [] for name in steps}
    for done in range(rounds):
        chosen = order.permutation(rows)[:batch]
        for name, step in steps.items():
            began, worked = time.perf_counter(), time.process_time()
            step(chosen)
            taken[name].append(Taken(time.perf_counter() - began, time.process_time() - worked))
            print(f"round {done + 1}/{rounds}  {taken[name][-1].wall:7.2f} s  {name}", flush=True)
    return taken


def first_losses(steps: dict[str, Step], batch: int) -> dict[str, float]:
    """Loss of the same rows by every step while the weights are still the same; warms up too."""
    rows = np.arange(batch)
    found = {}
    with torch.no_grad():
        for name, step in steps.items():
            if isinstance(step, PlainStep):
                found[name] = float(step.loss(torch.from_numpy(rows)))
            else:
                task = step.run.task
                losses = batch_losses(step.run, task.examples.batch(rows))
                found[name] = float(weighted_sum(losses, task.objective))
    return found


def as_rows(
    taken: dict[str, list[Taken]], losses: dict[str, float], batch: int
) -> list[dict[str, Any]]:
    """Medians of every step, and how they compare with the first, the plain one."""
    wall = {name: statistics.median(one.wall for one in every) for name, every in taken.items()}
    work = {name: statistics.median(one.work for one in every) for name, every in taken.items()}
    plain = next(iter(taken))
    return [
        {
            "step": name, "seconds": wall[name], "processor_seconds": work[name],
            "all_seconds": [one.wall for one in every],
            "triples_per_second": batch / wall[name], "ratio": wall[plain] / wall[name],
            "processor_ratio": work[plain] / work[name], "first_loss": losses[name],
        }
        for name, every in taken.items()
    ]  # fmt: skip


def as_table(result: dict[str, Any]) -> str:
    """The result in Markdown."""
    lines = [
        "| step | seconds | triples/s | times plain | in processor time | first loss |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        figures = f"{row['seconds']:.2f} | {row['triples_per_second']:.1f} | {row['ratio']:.1f}"
        figures += f" | {row['processor_ratio']:.1f}"
        lines.append(f"| {row['step']} | {figures} | {row['first_loss']:.4f} |")
    facts = (
        f"ViT-B/32 text tower, batch {result['batch']}, {result['tokens_mean']:.1f} tokens a text "
        f"(longest {result['tokens_longest']}), {result['threads']} threads, medians of "
        f"{result['rounds']} rounds in turns; {result['machine']['processor']}, "
        f"load average {result['load_average']:.0f}."
    )
    return "\n".join([*lines, "", facts, ""])


def main() -> None:
    """Time all steps in turns; write and print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--batch", type=int, default=64, help="triples a step")
    options.add_argument("--rounds", type=int, default=3, help="steps of each kind")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--out", type=Path, default=RESULTS)
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    data = make_data(2 * chosen.batch)
    with tempfile.TemporaryDirectory() as folder:
        steps = make_steps(data, Path(folder))
        losses = first_losses(steps, 16)
        taken = time_steps(steps, len(data.triples), chosen.batch, chosen.rounds)
    lengths = np.diff(steps["paraclip"].run.task.examples.tokens.offsets)
    rows = as_rows(taken, losses, chosen.batch)
    result = {
        "rows": rows, "batch": chosen.batch, "rounds": chosen.rounds, "threads": chosen.threads,
        "tokens_mean": float(lengths.mean()), "tokens_longest": int(lengths.max()),
        "load_average": os.getloadavg()[0], **provenance(),
        "command": f"python benchmarks/training_throughput.py --batch {chosen.batch}",
    }  # fmt: skip
    write_text(chosen.out / "training_throughput.json", json.dumps(result, indent=1) + "\n")
    write_text(chosen.out / "training_throughput.md", as_table(result))
    print(as_table(result))


if __name__ == "__main__":
    main()
