"""Training on a GPU: share of its peak, memory, and speed compared with open_clip's own loop.

    python -m benchmarks.training.gpu   # about 10 minutes on one GPU, no network
    python -m benchmarks.training.gpu --device cpu --tiny   # all parts in a minute, for tests

Weights, texts and pictures are synthetic, so nothing is downloaded. Four tables:

- the share of the matrix-product peak, as in `peak_share.py`;
- a comparison with `open_clip_train`'s own `train_one_epoch` with a locked image tower
  (--lock-image) on the same rows: its step ties picture and caption, like our control; ours ties
  three texts;
- float32, TF32, bf16 and torch.compile, as in `arithmetic.py`;
- the three-loss step written plainly with open_clip, as in `throughput.py`.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import open_clip
import torch
from open_clip_train.train import train_one_epoch
from torch import Tensor, nn

from benchmarks.machine import RESULTS, facts_of, keep, say
from benchmarks.training import peak_share, throughput
from benchmarks.training.arithmetic import as_row, as_table, measure, our_steps, ways
from benchmarks.training.steps import (
    OurStep,
    made_up_triples,
    open_clip_adamw,
    random_clip,
    random_features,
    random_pixels,
)

OURS: dict[str, dict[str, Any]] = {
    "paraclip, control: picture and caption": {"control": True},
    "paraclip, three losses": {},
}
DIFFERENT = 64
"""Number of different pictures; larger batches repeat them."""


@dataclass(frozen=True)
class Size:
    """Sizes of the measurements.

    Args:
        model: a name that open_clip knows, or tiny.
        batches: triples per step in the comparison with open_clip's loop.
        batch: triples per step in the other tables.
        square: side of the square matrix product.
        rounds: number of steps that are timed.
    """

    model: str = "ViT-B-32"
    batches: tuple[int, ...] = (256, 1024, 4096, 8192)
    batch: int = 1024
    square: int = 8192
    rounds: int = 5


TINY = Size("tiny", (8,), 8, 128, 1)


@dataclass(frozen=True)
class Rows:
    """Data for open_clip's loop: the same batch repeatedly.

    Args:
        images: prepared pictures [B, 3, side, side].
        texts: ids [B, 77].
        num_batches: number of repetitions.
    """

    images: Tensor
    texts: Tensor
    num_batches: int

    @property
    def num_samples(self) -> int:
        """Number of rows per epoch."""
        return len(self.images) * self.num_batches

    @property
    def dataloader(self) -> "Rows":
        """Itself."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Do nothing, because all epochs are equal."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(self.num_batches):
            yield self.images, self.texts


class TheirLoop:
    """`open_clip_train`'s loop, as run with `--lock-image --precision amp_bf16`.

    Args:
        clip: open_clip's model; its image tower is locked.
        batch: number of rows per step.
        device: device of the model.
    """

    def __init__(self, clip: Any, batch: int, device: torch.device) -> None:
        self.clip, self.device = clip.to(device), device
        clip.output_dict = True
        clip.lock_image_tower()
        weights = [value for value in clip.parameters() if value.requires_grad]
        self.optimizer = open_clip_adamw(weights)
        texts = open_clip.get_tokenizer("ViT-B-32")(made_up_triples(batch)["caption"].to_pylist())
        some = random_pixels(DIFFERENT, clip.visual.image_size[0])
        images = some.repeat(-(-batch // DIFFERENT), 1, 1, 1)[:batch]
        on_gpu = device.type == "cuda"
        self.images = images.pin_memory() if on_gpu else images
        self.texts = texts.pin_memory() if on_gpu else texts
        self.options = SimpleNamespace(
            device=str(device), precision="amp_bf16", distill=False, accum_freq=1,
            skip_scheduler=True, horovod=False, grad_clip_norm=1.0, rank=0, world_size=1,
            batch_size=batch, log_every_n_steps=1_000_000, wandb=False,
        )  # fmt: skip

    def epoch(self, steps: int) -> None:
        """Run the given number of steps."""
        data = {"train": Rows(self.images, self.texts, steps)}
        train_one_epoch(
            self.clip, data, open_clip.ClipLoss(), 0, self.optimizer, None, None, None, self.options
        )


def beside_open_clip(size: Size, device: torch.device) -> list[dict[str, Any]]:
    """open_clip's loop, our control and our three losses at every batch size."""
    found = []
    for batch in size.batches:
        clip: nn.Module = random_clip(size.model)[0]
        loop = TheirLoop(clip, batch, device)
        sides = {"open_clip, --lock-image": measure(loop.epoch, batch, size.rounds, device)}
        del clip, loop
        for name, options in OURS.items():
            sides[name] = our_steps(
                size.model, batch, size.rounds, device, precision="bf16", **options
            )
        for name, taken in sides.items():
            found.append({"step": name, "batch": batch, **(taken or {})})
            say(" | ".join(as_row(found[-1])))
    return found


def share(size: Size, device: torch.device) -> tuple[dict[str, Any], str]:
    """The share of the peak in bf16, and its table."""
    model = random_clip(size.model)[1].to(device)
    with tempfile.TemporaryDirectory() as folder:
        features = random_features(model, size.batch)
        options = {"precision": "bf16"}
        step = OurStep(model, made_up_triples(size.batch), features, Path(folder), **options)
    examples = step.run.examples
    tokens = round(step.text_lengths().mean() * min(examples.chunk, 3 * size.batch))
    products = peak_share.products_of(
        peak_share.tower_of(model), tokens, torch.bfloat16, device, 20.0 * size.square**3,
        size.square,
    )  # fmt: skip
    found = peak_share.measure(step, products, size.rounds)
    where = peak_share.where_time_goes(step)
    return {**found, "where": where}, peak_share.as_table(found, where)


def plain(size: Size, device: torch.device) -> tuple[list[dict[str, Any]], str]:
    """The three-loss step written plainly and ours, and their table."""
    batch = min(256, size.batch)
    with tempfile.TemporaryDirectory() as folder:
        steps = throughput.make_steps(size.model, 2 * batch, Path(folder), device)
        courses = throughput.time_steps(steps, 2 * batch, batch, size.rounds + 1)
    rows = throughput.as_rows(courses, batch)
    return rows, throughput.as_table(rows, f"Batch {batch}, {size.model} text tower.")


def main() -> int:
    """Measure all four; print and write the tables.

    Returns:
        2 without a GPU, 1 if a part failed.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu")
    parser.add_argument("--tiny", action="store_true", help="a tiny model: only to see it run")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    device, size = torch.device(chosen.device), TINY if chosen.tiny else Size()
    if device.type == "cuda" and not torch.cuda.is_available():
        print("No CUDA device here: this benchmark needs one.", file=sys.stderr)
        return 2
    parts: dict[str, Callable[[], tuple[Any, str]]] = {
        "plain": lambda: plain(size, device),
        "loops": lambda: with_table(beside_open_clip(size, device)),
        "ways": lambda: with_table(
            ways(size.model, size.batch, size.rounds, device, device.type == "cuda")
        ),
        "share": lambda: share(size, device),
    }
    found: dict[str, Any] = {}
    tables: list[str] = []
    for name, part in parts.items():  # each is written at once; a failure does not stop the others
        try:
            found[name], table = part()
            tables.append(table)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
            say(f"{name} failed: {found[name]}")
        keep("gpu", chosen.out, "\n\n".join([*tables, facts_of()]), **found)
    return 1 if len(tables) < len(parts) else 0


def with_table(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """Rows with their table."""
    return rows, as_table(rows)


if __name__ == "__main__":
    sys.exit(main())
