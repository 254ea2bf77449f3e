"""Memory and speed of a training step by batch size, from 256 triples to 32,768.

    python -m benchmarks.training.large_batch   # about 40 minutes on 2 free cores
    python -m benchmarks.training.large_batch --ends   # only the smallest and the largest batches
    python -m benchmarks.training.large_batch --models mini --batches 256 2048

Every case runs in a separate process with its own peak. There, one small step creates the
optimiser's moments; the peak is reported in addition to the memory of model and optimiser after it.
`plain` processes all rows of a text in one pass and computes all similarities at once, in the same
precision and on the same truncated texts; it is run as far as the machine's memory allows. Where
both fit, the gradients of both in float32 are compared.
"""

import argparse
import multiprocessing
import resource
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from benchmarks.machine import (
    CPU,
    GIB,
    RESULTS,
    available_memory,
    facts_of,
    forget_peak,
    held_memory,
    keep,
    markdown,
    peak_memory,
    say,
    seconds_of,
)
from benchmarks.training.steps import (
    OurStep,
    PlainStep,
    made_up_triples,
    model_of,
    plain_step,
    random_features,
)
from paraclip.models.encoder import DualEncoder

BATCHES = {"ViT-B-32": (256, 1024, 4096, 8192), "mini": (256, 2048, 8192, 32768)}
PLAIN = {"ViT-B-32": (256, 1024), "mini": (256, 2048, 8192)}
WARM_UP = 64
NO_ROOM = ("memory", "alloc", "could not create a primitive")
"""Messages of PyTorch, C++ and oneDNN when memory does not suffice."""
SHORT = 1024
"""Maximum number of triples of a step that is timed several times; larger ones take minutes."""


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Args:
        model: "mini" or a name that open_clip knows.
        step: paraclip or plain.
        batch: number of triples.
        precision: fp32 or bf16.
        threads: number of PyTorch threads.
        limit: maximum memory of the process in bytes.
        rounds: number of times that a step of at most `SHORT` triples is timed.
    """

    model: str
    step: str
    batch: int
    precision: str
    threads: int
    limit: int
    rounds: int = 3


def measure(case: Case) -> dict[str, Any]:
    """Seconds and peak memory of a case, or that it did not fit."""
    torch.set_num_threads(case.threads)
    model, triples, features = data_of(case)
    step = step_of(case, model, triples, features)
    step(np.arange(min(WARM_UP, case.batch)))
    before = held_memory(CPU)
    forget_peak(CPU)
    try:
        found = time_steps(step, case.batch, case.rounds)
    except (RuntimeError, MemoryError) as error:
        if not any(word in str(error) for word in NO_ROOM):
            raise
        return {**asdict(case), "fits": False}
    return {
        **asdict(case), **found, "fits": True, "model_and_optimiser": before,
        "beyond": peak_memory(CPU) - before,
    }  # fmt: skip


def data_of(case: Case) -> tuple[DualEncoder, pa.Table, torch.Tensor]:
    """Model, triples and image features."""
    model = model_of(case.model)
    return model, made_up_triples(case.batch), random_features(model, case.batch)


def step_of(
    case: Case, model: DualEncoder, triples: pa.Table, features: torch.Tensor
) -> OurStep | PlainStep:
    """The step of a case."""
    if case.step == "plain":
        return plain_step(model, triples, features, half=case.precision == "bf16")
    return OurStep(model, triples, features, precision=case.precision)


def time_steps(step: Callable[[np.ndarray], float], batch: int, rounds: int) -> dict[str, Any]:
    """Median seconds of a step, and triples a second."""
    rows = np.arange(batch)
    every = [seconds_of(lambda: step(rows), CPU) for _ in range(rounds if batch <= SHORT else 1)]
    seconds = statistics.median(every)
    return {"seconds": seconds, "all_seconds": every, "triples_per_second": batch / seconds}


def difference(case: Case) -> float:
    """Norm of the difference between our cached and the plain gradient, relative to the plain one.

    Both in float32 without dropout; ours in micro-batches of 128 texts.
    """
    torch.set_num_threads(case.threads)
    model, triples, features = data_of(case)
    rows, plain = np.arange(case.batch), plain_step(model, triples, features)
    model.eval()
    plain.loss(rows).backward()
    wanted = torch.cat([weight.grad.flatten() for weight in plain.weights])
    model.zero_grad()
    step = OurStep(model, triples, features, precision="fp32", micro_batch=128)
    model.eval()
    step.backward(step.batch(rows))
    found = torch.cat([weight.grad.flatten() for weight in plain.weights])
    return float((found - wanted).norm() / wanted.norm())


def limit_memory(size: int) -> None:
    """Limit the memory of this process to a number of bytes."""
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def alone(work: Callable[[Case], Any], case: Case) -> Any:
    """The result of a function in a separate process; None if the system killed it."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, limit_memory, (case.limit,)) as pool:
        try:
            return pool.submit(work, case).result()
        except BrokenProcessPool:
            return None


def cases(chosen: argparse.Namespace) -> list[Case]:
    """Ours at all batch sizes, then the plain ones, for each model."""
    limit = min(int(chosen.limit * GIB), available_memory() - GIB)
    found = []
    for name in chosen.models:
        sizes = chosen.batches or BATCHES.get(name, BATCHES["mini"])
        sizes = [sizes[0], sizes[-1]] if chosen.ends else sizes
        plain = [size for size in sizes if size in PLAIN.get(name, PLAIN["mini"])]
        every = [("paraclip", size) for size in sizes] + [("plain", size) for size in plain]
        found += [
            Case(name, step, size, chosen.precision, chosen.threads, limit, chosen.rounds)
            for step, size in every
        ]
    return found


def as_row(found: dict[str, Any]) -> list[str]:
    """A line of the table."""
    named = [f"{found['model']}, {found['step']}", f"{found['batch']:,}"]
    if not found["fits"]:
        return [*named, "does not fit", "", ""]
    return [
        *named, f"{found['beyond'] / GIB:.2f}", f"{found['seconds']:.1f}",
        f"{found['triples_per_second']:.1f}",
    ]  # fmt: skip


def as_table(rows: list[dict[str, Any]], differences: list[dict[str, Any]], limit: int) -> str:
    """All cases, and the differences of the gradients."""
    heads = ["step", "triples", "GiB beyond model and optimiser", "seconds", "triples/s"]
    held = {row["model"]: row["model_and_optimiser"] / GIB for row in rows if row["fits"]}
    resident = ", ".join(f"{name} {size:.1f} GiB" for name, size in held.items())
    lines = [
        f"Text tower whole, {rows[0]['precision']}; resident with model and optimiser: {resident}. "
        f"A process may take {limit / GIB:.0f} GiB. {facts_of(rows[0]['threads'])}"
    ]
    lines += [
        f"Gradient of {found['batch']:,} triples in fp32, {found['model']}, ours in micro-batches "
        f"of 128 texts: differs from the plain one by {found['difference']:.1e} of its norm."
        for found in differences
    ]
    return "\n\n".join([markdown(heads, [as_row(row) for row in rows]), *lines])


def main() -> None:
    """Measure every case; print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["ViT-B-32", "mini"])
    parser.add_argument("--batches", nargs="+", type=int, help="triples a step")
    parser.add_argument("--ends", action="store_true", help="only the smallest and the largest")
    parser.add_argument("--rounds", type=int, default=3, help="steps timed of a small batch")
    parser.add_argument("--compare", type=int, default=256, help="triples of the gradients")
    parser.add_argument("--precision", default="bf16", choices=("fp32", "bf16"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, default=20.0, help="GiB that a process may take")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    rows = []
    every = cases(chosen)
    for number, case in enumerate(every, 1):
        rows.append(alone(measure, case) or {**asdict(case), "fits": False})
        say(f"{number}/{len(every)}  {' | '.join(as_row(rows[-1]))}")
    differences = []
    for name in chosen.models:
        case = replace(every[0], model=name, batch=chosen.compare)
        found = alone(difference, case)
        differences.append({"model": name, "batch": chosen.compare, "difference": found})
        say(f"gradients of {name} compared: {found:.1e}")
    table = as_table(rows, differences, every[0].limit)
    keep("large_batch", chosen.out, table, rows=rows, gradients=differences)


if __name__ == "__main__":
    main()
