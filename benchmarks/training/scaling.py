"""Triples per second with 1, 2 and 4 processes on one machine, and the share of communication.

    python -m benchmarks.training.scaling            # about 6 minutes on 2 free cores

The batch is the same for all: each process computes its part of it. torchrun starts them, and gloo
connects them. All start with the same weights, so the losses of their steps must be the same too; a
difference larger than the arithmetic explains is an error. The share of communication is the time
in collective calls, including the time spent waiting for slower processes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from benchmarks.machine import (
    CPU,
    GIB,
    RESULTS,
    facts_of,
    keep,
    markdown,
    peak_memory,
    say,
    seconds_of,
)
from benchmarks.training.steps import OurStep, made_up_triples, model_of, random_features
from paraclip.training.processes import joined

TOLERANCE = {"fp32": 1e-4, "bf16": 1e-2}
"""Maximum relative difference between losses, since processes sum in a different order."""
COLLECTIVES = ("all_gather", "all_reduce")


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Args:
        processes: number of processes.
        threads: number of threads per process.
    """

    processes: int
    threads: int


class Talk:
    """Seconds in collective calls since `listen`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def listen(self) -> None:
        """Start to time all calls of this process."""
        for name in COLLECTIVES:
            setattr(dist, name, self.timed(getattr(dist, name)))

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, with its time added to the total."""

        def wrapped(*words: Any, **options: Any) -> Any:
            began = time.perf_counter()
            result = call(*words, **options)
            self.seconds += time.perf_counter() - began
            return result

        return wrapped


def work(chosen: argparse.Namespace) -> None:
    """Work of each process: train; the first one writes the times."""
    torch.set_num_threads(chosen.threads)
    rows, talk = np.arange(chosen.batch), Talk()
    with joined("cpu") as (processes, _), tempfile.TemporaryDirectory() as folder:
        model = model_of(chosen.model)
        features = random_features(model, chosen.batch)
        options = {"precision": chosen.precision, "dropout": 0.0}
        step = OurStep(model, made_up_triples(chosen.batch), features, Path(folder), **options)
        losses = [step(rows)]  # warms up
        talk.listen()
        seconds, talked = [], []
        for _ in range(chosen.rounds):
            processes.wait()
            before = talk.seconds
            seconds.append(seconds_of(lambda: losses.append(step(rows)), CPU))
            talked.append(talk.seconds - before)
        if processes.first:
            found = {
                "losses": losses, "all_seconds": seconds, "talked": talked,
                "peak": peak_memory(CPU),
            }  # fmt: skip
            chosen.worker.write_text(json.dumps(found))


def measure(case: Case, chosen: argparse.Namespace) -> dict[str, Any]:
    """Start the processes of a case; medians measured by the first one."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", str(case.processes), "-m", __spec__.name, "--worker", str(found)),
            *("--model", chosen.model, "--batch", str(chosen.batch)),
            *("--rounds", str(chosen.rounds), "--precision", chosen.precision),
            *("--threads", str(case.threads)),
        ]
        environment = os.environ | {"OMP_NUM_THREADS": str(case.threads), "PARACLIP_QUIET": "1"}
        subprocess.run(command, env=environment, check=True)
        record = json.loads(found.read_text())
    seconds = statistics.median(record["all_seconds"])
    return {
        **asdict(case), **record, "seconds": seconds,
        "triples_per_second": chosen.batch / seconds,
        "talking": statistics.median(record["talked"]) / seconds,
    }  # fmt: skip


def unlike(rows: list[dict[str, Any]]) -> float:
    """Largest relative difference between the losses of one process and those of others."""
    first = rows[0]["losses"]
    return max(
        abs(own - one) / abs(one)
        for row in rows
        for own, one in zip(row["losses"], first, strict=True)
    )


def as_table(rows: list[dict[str, Any]]) -> str:
    """Speed of each case against the first."""
    heads = (
        "processes x threads",
        "seconds",
        "triples/s",
        "times one",
        "communication",
        "GiB of each",
    )
    base = rows[0]["seconds"]
    lines = [
        [
            f"{row['processes']} x {row['threads']}", f"{row['seconds']:.2f}",
            f"{row['triples_per_second']:.1f}", f"{base / row['seconds']:.2f}",
            f"{row['talking']:.1%}", f"{row['peak'] / GIB:.1f}",
        ]
        for row in rows
    ]  # fmt: skip
    return markdown(heads, lines)


def notes(rows: list[dict[str, Any]], chosen: argparse.Namespace, found: float) -> str:
    """What the table does not say."""
    cores = os.cpu_count() or 1
    most = max(row["processes"] for row in rows)
    limit = f"This machine has {cores} cores: {most} processes take turns on them and cannot be "
    limit = f"{limit}faster than {cores}. " if most > cores else ""
    return (
        f"{limit}The losses of {len(rows[0]['losses'])} steps differ by at most {found:.1e} of "
        f"themselves between the cases. {chosen.model} text tower, {chosen.precision}, batch "
        f"{chosen.batch}, gloo, medians of {chosen.rounds} steps; {facts_of(1)}"
    )


def main() -> None:
    """Measure all cases; print the table and write it. With --worker: be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ViT-B-32", help="mini, or a name of open_clip")
    parser.add_argument("--batch", type=int, default=256, help="triples of a step, of all")
    parser.add_argument("--rounds", type=int, default=3, help="steps that are timed")
    parser.add_argument("--precision", default="bf16", choices=tuple(TOLERANCE))
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.worker is not None:
        work(chosen)
        return
    rows = []
    for case in [*(Case(count, 1) for count in chosen.processes), Case(1, os.cpu_count() or 1)]:
        rows.append(measure(case, chosen))
        say(f"{case}: {rows[-1]['seconds']:.2f} s a step")
    found = unlike(rows)
    if found > TOLERANCE[chosen.precision]:
        sys.exit(f"the losses differ by {found:.1e}: {[row['losses'] for row in rows]}")
    table = f"{as_table(rows)}\n\n{notes(rows, chosen, found)}"
    keep("scaling", chosen.out, table, rows=rows, unlike=found, batch=chosen.batch)


if __name__ == "__main__":
    main()
