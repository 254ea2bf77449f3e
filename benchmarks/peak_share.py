"""Share of the machine's matrix-product peak that a training step achieves.

    python benchmarks/peak_share.py            # about 6 minutes on 2 free cores

The peak is measured here: a large square product and the products of the tower's own linear
layers, in turns with the step, in the same precision; the highest of their medians counts.

Counted are the products of the text tower, two FLOPs to a multiplication with its addition, of
real tokens and not of padding. A text of n tokens, in L layers of width w with vectors of D:

    forward    L (24 n w^2 + 4 n^2 w) + 2 w D          backward    twice that

Norms, activations, softmax, similarities and AdamW count as no work at all, only as time. A step
is forward and backward, 3 times forward; where its batch is larger than one graph that fits,
cached gradients take the forward pass twice, and what the machine did then is 4 times forward.
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

from machine import CPU, RESULTS, facts_of, keep, markdown, say, seconds_of
from paraclip.models.encoder import DualEncoder
from paraclip.training.forward import sides_of
from training_steps import OurStep, made_up_triples, model_of, random_features

SQUARE = 4096
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WHERE = {
    "linear layers": ("aten::mm", "aten::addmm"),
    "attention": ("aten::bmm", "softmax", "attention", "aten::all", "aten::where"),
    "activations and norms": ("gelu", "layer_norm", "sigmoid"),
    "casts and copies": ("aten::copy_", "Memcpy"),
    "sums of gradients": ("aten::add_", "aten::sum", "aten::fill_"),
    "optimiser": ("adam", "vector_norm"),
}
"""Kinds of operations by what is in their names."""


@dataclass(frozen=True)
class Product:
    """A matrix product [rows, inner] x [inner, columns], as a linear layer multiplies.

    Args:
        left: [rows, inner].
        right: [columns, inner].
        repeats: products that are timed together.
    """

    left: Tensor
    right: Tensor
    repeats: int

    def rate(self) -> float:
        """FLOP/s of all repeats."""
        seconds = seconds_of(self.run, self.left.device)
        return 2.0 * self.left.numel() * len(self.right) * self.repeats / seconds

    def run(self) -> None:
        """All repeats."""
        for _ in range(self.repeats):
            nn.functional.linear(self.left, self.right)


@dataclass(frozen=True)
class Tower:
    """The shape of a text tower.

    Args:
        layers: how many.
        width: of its states; the hidden layer of each is four times as wide.
        embed_dim: numbers of a vector.
    """

    layers: int
    width: int
    embed_dim: int

    def forward_flops(self, lengths: np.ndarray) -> float:
        """FLOPs of texts of so many tokens."""
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
    """What the peak is the highest of, each repeated to about so many FLOPs.

    Args:
        tower: whose linear layers they are.
        rows: tokens that go through it at once.
        dtype: of the numbers.
        device: where.
        flops: to be timed together.
        square: side of the square product.
    """
    shapes = {f"square, {square}": (square, square, square)}
    shapes |= {
        f"{name}, {rows} x {inner} x {outer}": (rows, inner, outer)
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


def measure(
    step: OurStep, products: Mapping[str, Product], rounds: int, label: str = "round"
) -> dict[str, Any]:
    """Rates of the products and seconds of the step on all of its rows, in turns; one warms up."""
    device, examples = step.run.device, step.run.task.examples
    rows = np.arange(len(examples))
    rates: dict[str, list[float]] = {name: [] for name in products}
    seconds = []
    for turn in range(rounds + 1):
        found = {name: product.rate() for name, product in products.items()}
        taken = seconds_of(lambda: step(rows), device)
        say(
            f"{label} {turn}/{rounds}  step {taken:.2f} s, best product {show(max(found.values()))}"
        )
        if turn:
            seconds.append(taken)
            for name, rate in found.items():
                rates[name].append(rate)
    forward = tower_of(step.run.task.model).forward_flops(step.text_lengths())
    return as_shares(rates, seconds, forward, again=not keeps_graph(step, rows))


def keeps_graph(step: OurStep, rows: np.ndarray) -> bool:
    """Whether the step keeps the whole graph and so takes one forward pass only."""
    run = step.run
    return sides_of(run, run.task.examples.batch(rows))[0].keep_graph


def as_shares(
    rates: Mapping[str, list[float]], seconds: list[float], forward: float, again: bool
) -> dict[str, Any]:
    """What the medians say.

    Args:
        rates: FLOP/s of each product, round by round.
        seconds: of the step, round by round.
        forward: FLOPs of the forward pass.
        again: whether the forward pass is taken twice.
    """
    products = {name: statistics.median(every) for name, every in rates.items()}
    taken, peak = statistics.median(seconds), max(products.values())
    done = {"step": 3 * forward, "step and second forward pass": (4 if again else 3) * forward}
    return {
        "products": products, "all_products": dict(rates), "seconds": taken,
        "all_seconds": seconds, "peak": peak, "flops": done,
        "rates": {name: flops / taken for name, flops in done.items()},
        "shares": {name: flops / taken / peak for name, flops in done.items()},
    }  # fmt: skip


def where_time_goes(step: OurStep) -> dict[str, float]:
    """Shares of a profiled step's time by kind of operation."""
    on_gpu = step.run.device.type == "cuda"
    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with profile(activities=kinds) as found:
        step(np.arange(len(step.run.task.examples)))
    sums = dict.fromkeys([*WHERE, "rest"], 0.0)
    for event in found.key_averages():
        if event.device_type != DeviceType.CPU:  # a kernel, counted with what started it
            continue
        taken = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        kind = (k for k, names in WHERE.items() if any(name in event.key for name in names))
        sums[next(kind, "rest")] += taken
    return {kind: taken / sum(sums.values()) for kind, taken in sums.items()}


def show(rate: float) -> str:
    """FLOP/s for people."""
    return f"{rate / 1e12:.1f} TFLOP/s" if rate > 1e13 else f"{rate / 1e9:.0f} GFLOP/s"


def as_table(found: dict[str, Any], where: dict[str, float]) -> str:
    """Products, then the step, and where its time goes."""
    peak = found["peak"]
    rows = [
        [f"product: {name}", "", show(rate), f"{rate / peak:.0%}"]
        for name, rate in found["products"].items()
    ]
    rows += [
        [name, f"{found['seconds']:.2f}", show(rate), f"{found['shares'][name]:.0%}"]
        for name, rate in found["rates"].items()
    ]
    said = ", ".join(f"{kind} {share:.0%}" for kind, share in where.items())
    heads = ("", "seconds", "achieved", "share of the peak")
    return f"{markdown(heads, rows)}\n\nWhere the step's time goes: {said}."


def main() -> None:
    """Measure products and step in turns; print the table and write it."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", default="ViT-B-32", help="mini, or a name of open_clip")
    options.add_argument("--batch", type=int, default=1024, help="triples of the step")
    options.add_argument("--precision", default="bf16", choices=tuple(DTYPES))
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--square", type=int, default=SQUARE, help="side of the square product")
    options.add_argument("--out", type=Path, default=RESULTS)
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    model, triples = model_of(chosen.model), made_up_triples(chosen.batch)
    with tempfile.TemporaryDirectory() as folder:
        step = OurStep(
            model, triples, random_features(model, chosen.batch), Path(folder),
            precision=chosen.precision,
        )  # fmt: skip
    tower = tower_of(model)
    tokens = round(step.text_lengths().mean() * step.run.task.examples.chunk)
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
