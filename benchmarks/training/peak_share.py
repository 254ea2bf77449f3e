"""Share of the machine's matrix-product peak that a training step reaches.

    python -m benchmarks.training.peak_share            # about 6 minutes on 2 free cores

The peak is measured here: a large square product and the products of the tower's own linear
layers, in turns with the step, in the same precision; the highest median is used. The FLOPs of a
step are those of the products in the text tower, two per multiplication with its addition, for
real tokens and not for padding. For a text of n tokens, L layers of width w, and vectors of D:

    forward    L (24 n w^2 + 4 n^2 w) + 2 w D          backward    twice that

Norms, activations, softmax, similarities and AdamW are not counted as work, only as time. A step is
forward and backward, 3 times forward. Cached gradients compute the forward pass of some chunks
twice, which is counted separately.
"""

import argparse
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.machine import CPU, RESULTS, Taken, facts_of, keep, markdown, say, taken_by
from benchmarks.training.steps import OurStep, made_up_triples, model_of, random_features
from paraclip.models.encoder import DualEncoder
from paraclip.training.loop import batch_of
from paraclip.training.step import sides_of

SQUARE = 4096
STEP, TWICE = "step", "step, with second forward passes"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WHERE = {
    "linear layers": ("aten::mm", "aten::addmm"),
    "attention": ("aten::bmm", "softmax", "attention", "aten::all", "aten::where"),
    "activations and norms": ("gelu", "layer_norm", "sigmoid"),
    "casts and copies": ("aten::copy_", "Memcpy"),
    "sums of gradients": ("aten::add_", "aten::sum", "aten::fill_"),
    "optimiser": ("adam", "vector_norm"),
}
"""Kinds of operations, recognised by parts of their names."""


@dataclass(frozen=True)
class Product:
    """A matrix product [rows, inner] x [inner, columns], as a linear layer multiplies.

    Args:
        left: [rows, inner].
        right: [columns, inner].
        repeats: number of products that are timed together.
    """

    left: Tensor
    right: Tensor
    repeats: int

    def flops(self) -> float:
        """FLOPs of all repeats."""
        return 2.0 * self.left.numel() * len(self.right) * self.repeats

    def run(self) -> None:
        """Run all repeats."""
        for _ in range(self.repeats):
            nn.functional.linear(self.left, self.right)


@dataclass(frozen=True)
class Tower:
    """The shape of a text tower.

    Args:
        layers: number of layers.
        width: width of its states; the hidden layer of each is four times as wide.
        embed_dim: width of the output vectors.
    """

    layers: int
    width: int
    embed_dim: int

    def forward_flops(self, lengths: np.ndarray) -> float:
        """FLOPs of texts with these numbers of tokens."""
        n, w = lengths.astype(float), self.width
        each = self.layers * (24 * n * w * w + 4 * n * n * w) + 2 * w * self.embed_dim
        return float(each.sum())

    def shapes(self) -> dict[str, tuple[int, int]]:
        """Input and output width of the linear layers."""
        w = self.width
        return {"attention in": (w, 3 * w), "attention out": (w, w), "up": (w, 4 * w),
                "down": (4 * w, w)}  # fmt: skip


def tower_of(model: DualEncoder) -> Tower:
    """The shape of a model's text tower: its layers are its longest list of modules."""
    lists = [m for m in model.text_tower.modules() if isinstance(m, nn.ModuleList)]
    width = next(m for m in model.text_tower.modules() if isinstance(m, nn.LayerNorm))
    layers = max((len(found) for found in lists), default=0)
    return Tower(layers, width.normalized_shape[0], model.architecture.embed_dim)


def products_of(
    tower: Tower, rows: int, dtype: torch.dtype, device: torch.device, flops: float,
    square: int = SQUARE,
) -> dict[str, Product]:  # fmt: skip
    """Products whose highest rate is the peak, each repeated to about the given FLOPs.

    Args:
        tower: tower with the linear layers.
        rows: number of tokens processed at once.
        dtype: dtype of the values.
        device: device of the products.
        flops: FLOPs that are timed together.
        square: side of the square product.
    """
    shapes = {f"product: square, {square}": (square, square, square)}
    shapes |= {
        f"product: {name}, {rows} x {inner} x {outer}": (rows, inner, outer)
        for name, (inner, outer) in tower.shapes().items()
    }
    maker = torch.Generator().manual_seed(0)
    found = {}
    for name, (height, inner, outer) in shapes.items():
        left, right = (
            torch.randn(size, inner, generator=maker).to(device, dtype) for size in (height, outer)
        )
        repeats = max(1, round(flops / (2.0 * height * inner * outer)))
        found[name] = Product(left, right, repeats)
    return found


def measure(step: OurStep, products: Mapping[str, Product], rounds: int) -> dict[str, Any]:
    """Rates of the products and of the step on all of its rows, in turns; one round warms up."""
    device, rows = step.run.device, np.arange(len(step.run.examples))
    works = {**{name: product.run for name, product in products.items()}, STEP: lambda: step(rows)}
    taken: dict[str, list[Taken]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            found = taken_by(work, device)
            say(f"round {turn}/{rounds}  {found.wall:.2f} s  {name}")
            if turn:
                taken[name].append(found)
    tower = tower_of(step.run.model)
    flops = {name: product.flops() for name, product in products.items()}
    flops[STEP] = 3 * tower.forward_flops(step.text_lengths())
    flops[TWICE] = flops[STEP] + repeated_flops(step, tower, rows)
    return as_shares({**taken, TWICE: taken[STEP]}, flops)


def repeated_flops(step: OurStep, tower: Tower, rows: np.ndarray) -> float:
    """FLOPs of the second forward pass, for the chunks that do not keep their graph."""
    side = sides_of(step.run, batch_of(step.run, rows))[0]
    pad = step.run.examples.tokens.pad
    chunks = side.micro_batches[side.kept :]
    return sum(tower.forward_flops((ids != pad).sum(1).cpu().numpy()) for ids in chunks)


def as_shares(taken: Mapping[str, list[Taken]], flops: Mapping[str, float]) -> dict[str, Any]:
    """Medians, and shares of the peak.

    Args:
        taken: times of each product, of the step, and of the step with second forward passes.
        flops: FLOPs of each.
    """
    wall = {name: statistics.median(one.wall for one in every) for name, every in taken.items()}
    work = {name: statistics.median(one.work for one in every) for name, every in taken.items()}
    products = [name for name in taken if name not in (STEP, TWICE)]
    rates = {name: flops[name] / seconds for name, seconds in wall.items()}
    of_work = {name: flops[name] / seconds for name, seconds in work.items()}
    peak, peak_of_work = (max(found[name] for name in products) for found in (rates, of_work))
    return {
        "seconds": wall, "processor_seconds": work, "flops": dict(flops), "rates": rates,
        "shares": {name: rate / peak for name, rate in rates.items()},
        "processor_shares": {name: rate / peak_of_work for name, rate in of_work.items()},
        "all_seconds": {name: [one.wall for one in every] for name, every in taken.items()},
    }  # fmt: skip


def where_time_goes(step: OurStep) -> dict[str, float]:
    """Shares of a profiled step's time by kind of operation."""
    on_gpu = step.run.device.type == "cuda"
    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with profile(activities=kinds) as found:
        step(np.arange(len(step.run.examples)))
    sums = dict.fromkeys([*WHERE, "rest"], 0.0)
    for event in found.key_averages():
        if event.device_type != DeviceType.CPU:  # a kernel, counted with what started it
            continue
        taken = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        kind = (k for k, names in WHERE.items() if any(name in event.key for name in names))
        sums[next(kind, "rest")] += taken
    return {kind: taken / (sum(sums.values()) or 1) for kind, taken in sums.items()}


def show(rate: float) -> str:
    """FLOP/s as text."""
    return f"{rate / 1e12:.1f} TFLOP/s" if rate > 1e13 else f"{rate / 1e9:.0f} GFLOP/s"


def as_table(found: dict[str, Any], where: dict[str, float]) -> str:
    """Products, then the step, and how its time is spent."""
    rows = [
        [
            name, f"{found['seconds'][name]:.2f}", show(rate), f"{found['shares'][name]:.0%}",
            f"{found['processor_shares'][name]:.0%}",
        ]
        for name, rate in found["rates"].items()
    ]  # fmt: skip
    shares = ", ".join(f"{kind} {share:.0%}" for kind, share in where.items())
    heads = ("", "seconds", "achieved", "share of the peak", "in processor time")
    return f"{markdown(heads, rows)}\n\nWhere the step's time goes: {shares}."


def main() -> None:
    """Measure products and step in turns; print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ViT-B-32", help="mini, or a name of open_clip")
    parser.add_argument("--batch", type=int, default=1024, help="triples of the step")
    parser.add_argument("--precision", default="bf16", choices=tuple(DTYPES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--square", type=int, default=SQUARE, help="side of the square product")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    model, triples = model_of(chosen.model), made_up_triples(chosen.batch)
    with tempfile.TemporaryDirectory() as folder:
        step = OurStep(
            model, triples, random_features(model, chosen.batch), Path(folder),
            precision=chosen.precision,
        )  # fmt: skip
    tower = tower_of(model)
    tokens = round(step.text_lengths().mean() * step.run.examples.chunk)
    flops = 2.0 * chosen.square**3
    dtype = DTYPES[chosen.precision]
    products = products_of(tower, tokens, dtype, CPU, flops, chosen.square)
    found = measure(step, products, chosen.rounds)
    where = where_time_goes(step)
    facts = (
        f"{chosen.model} text tower, {chosen.precision}, batch {chosen.batch:,}, "
        f"{step.text_lengths().mean():.1f} tokens a text, medians of {chosen.rounds} rounds in "
        f"turns; {facts_of(chosen.threads)}"
    )
    table = f"{as_table(found, where)}\n\n{facts}"
    keep("peak_share", chosen.out, table, **found, where=where, tower=asdict(tower))


if __name__ == "__main__":
    main()
