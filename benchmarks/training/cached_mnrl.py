"""Cached gradients: compare with sentence-transformers' `CachedMultipleNegativesRankingLoss`.

    pip install -e '.[builtin,benchmarks]'
    python -m benchmarks.training.cached_mnrl            # about 6 minutes on 2 free cores

Both compute the gradient of L3 alone, symmetric InfoNCE of the two paraphrases at scale 20, in the
same text model (all-MiniLM-L6-v2, all weights, no dropout), on the same pairs in micro-batches of
the same number of texts. Token ids are computed beforehand for both. First the gradients of a
smaller batch are compared in fp64, where rounding hides nothing; then both are timed in turns, and
the medians are reported.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.machine import (
    CPU,
    RESULTS,
    facts_of,
    forget_peak,
    held_memory,
    keep,
    markdown,
    peak_memory,
    say,
    seconds_of,
)
from benchmarks.training.steps import OurStep, made_up_triples
from paraclip.models.bert import SentenceModel
from paraclip.models.hub import TEXT_FOLDER, TEXT_PACKAGE, wheel_file
from paraclip.training.losses.objective import PARAPHRASE_1, PARAPHRASE_2
from paraclip.training.step import learn_from

SCALE = 20.0
DTYPES = {"fp64": torch.float64, "fp32": torch.float32, "bf16": torch.float32}
"""Dtype of the weights; bf16 is autocast."""
COMPARED = 128
"""Maximum number of pairs in the batch whose gradients are compared."""
EQUAL = 1e-8
Gradient = Callable[[], dict[str, Tensor]]
"""Computes the gradient of a batch and returns it by the names of the weights in the BERT."""


def theirs(pairs: pa.Table, micro_batch: int, precision: str, folder: Path) -> Gradient:
    """The gradient as sentence-transformers computes it; the folder is not used."""
    model = SentenceTransformer(str(wheel_file(TEXT_PACKAGE, TEXT_FOLDER)), device="cpu")
    model.eval().to(DTYPES[precision])  # no dropout; gradients are computed in eval mode too
    loss = CachedMultipleNegativesRankingLoss(
        model, SCALE, mini_batch_size=micro_batch, partition_mode="per_direction",
        directions=("query_to_doc", "doc_to_query"),
    )  # fmt: skip
    texts = [model.preprocess(pairs[name].to_pylist()) for name in (PARAPHRASE_1, PARAPHRASE_2)]

    def gradient() -> dict[str, Tensor]:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss(texts, torch.zeros(0)).backward()
        return gradients(model[0])

    return gradient


def ours(pairs: pa.Table, micro_batch: int, precision: str, folder: Path) -> Gradient:
    """The gradient as `paraclip train --weights 0 0 1` computes it."""
    model = SentenceModel.from_wheel().to(DTYPES[precision])
    if precision == "fp64":  # otherwise its vectors are float32
        model.encode_tokens = lambda ids: normalize(model.text_tower(ids), dim=-1)
    run = OurStep(
        model, pairs, torch.zeros(len(pairs), 0), folder, weights=(0.0, 0.0, 1.0),
        text_temperature=1 / SCALE, micro_batch=micro_batch,
        precision="bf16" if precision == "bf16" else "fp32",
    ).run  # fmt: skip
    model.eval()

    def gradient() -> dict[str, Tensor]:
        model.zero_grad()
        learn_from(run, run.examples.batch(np.arange(len(pairs))))
        return gradients(model.text_tower)

    return gradient


MAKERS = {"sentence-transformers": theirs, "paraclip": ours}


def gradients(module: torch.nn.Module) -> dict[str, Tensor]:
    """Gradients by name, without the name of the BERT itself."""
    return {
        name.split(".", 1)[1]: weight.grad
        for name, weight in module.named_parameters()
        if weight.grad is not None
    }


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Largest difference of any weight's gradient, divided by the largest value of any gradient.

    Raises:
        ValueError: the gradients belong to different weights.
    """
    if one.keys() != other.keys():
        raise ValueError(f"gradients of other weights: {sorted(one.keys() ^ other.keys())}")
    largest = max(float(value.abs().max()) for value in other.values())
    return max(float((one[name] - value).abs().max()) for name, value in other.items()) / largest


def measure(sides: dict[str, Gradient], batch: int, rounds: int) -> list[dict[str, Any]]:
    """Median seconds of each, in turns, and its peak memory in addition to what is allocated."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    beyond = dict.fromkeys(sides, 0)
    for turn in range(rounds):
        for name, gradient in sides.items():
            before = held_memory(CPU)
            forget_peak(CPU)
            seconds[name].append(seconds_of(gradient, CPU))
            beyond[name] = max(beyond[name], peak_memory(CPU) - before)
            say(f"round {turn + 1}/{rounds}  {seconds[name][-1]:6.2f} s  {name}")
    return [
        {
            "gradient": name, "seconds": statistics.median(every), "all_seconds": every,
            "pairs_per_second": batch / statistics.median(every), "beyond": beyond[name],
        }
        for name, every in seconds.items()
    ]  # fmt: skip


def as_table(rows: list[dict[str, Any]], found: float) -> str:
    """Speed and memory of all, and the difference of the gradients."""
    lines = [
        [
            row["gradient"], f"{row['seconds']:.2f}", f"{row['pairs_per_second']:.0f}",
            f"{row['beyond'] / (1 << 20):,.0f}",
        ]
        for row in rows
    ]  # fmt: skip
    table = markdown(("gradient of L3", "seconds", "pairs/s", "MiB beyond the model"), lines)
    return f"{table}\n\nGradients in fp64 differ by {found:.1e} of the largest number in them."


def main() -> None:
    """Compare the gradients, then the speed; print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=1024, help="pairs")
    parser.add_argument("--micro-batch", type=int, default=128, help="texts at once")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    pairs, at_once = made_up_triples(chosen.batch), chosen.micro_batch
    with tempfile.TemporaryDirectory() as folder:
        one, other = (
            make(pairs.slice(0, COMPARED), at_once, "fp64", Path(folder))()
            for make in MAKERS.values()
        )
        found = difference(one, other)
        say(f"gradients differ by {found:.1e}")
        assert found < EQUAL, "the gradients are not the same"
        sides = {
            f"{name}, {precision}": make(pairs, at_once, precision, Path(folder))
            for precision in ("fp32", "bf16")
            for name, make in MAKERS.items()
        }
        rows = measure(sides, chosen.batch, chosen.rounds)
    facts = (
        f"all-MiniLM-L6-v2, {chosen.batch:,} pairs, micro-batches of {at_once} texts, medians of "
        f"{chosen.rounds} rounds in turns; {facts_of(chosen.threads)}"
    )
    table = f"{as_table(rows, found)}\n\n{facts}"
    keep("cached_mnrl", chosen.out, table, rows=rows, difference=found, batch=chosen.batch)


if __name__ == "__main__":
    main()
