"""Speed and memory of a training step in each arithmetic: fp32, TF32, bf16, torch.compile.

    python -m benchmarks.training.arithmetic   # the processor, about 5 minutes on 2 cores
    python -m benchmarks.training.arithmetic --device cuda --batch 1024

The three-loss step of `paraclip train` on a text tower with random weights. Compilation is not part
of the measured time: two steps run before those that are timed. `gpu.py` writes the same table.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import (
    GIB,
    RESULTS,
    facts_of,
    forget_peak,
    keep,
    markdown,
    peak_memory,
    say,
    seconds_of,
)
from benchmarks.training.steps import OurStep, made_up_triples, random_clip, random_features
from paraclip.errors import UserError
from paraclip.training.run import arithmetic_of

WAYS: dict[str, dict[str, Any]] = {
    "fp32": {"precision": "fp32"},
    "fp32, TF32": {"precision": "fp32", "tf32": True},
    "fp32, compiled": {"precision": "fp32", "compile": True},
    "bf16": {"precision": "bf16"},
    "bf16, compiled": {"precision": "bf16", "compile": True},
}
AT_ONCE = 4
"""Number of steps between two readings of the clock."""


def measure(steps: Callable[[int], Any], batch: int, rounds: int, device: torch.device) -> Any:
    """Seconds per step and peak memory, after two warm-up steps; None if memory does not suffice.

    Args:
        steps: runs the given number of steps.
        batch: number of triples per step.
        rounds: number of times that four steps are timed; the median is returned.
        device: device of the steps.
    """
    try:
        steps(2)
        forget_peak(device)
        taken = [seconds_of(lambda: steps(AT_ONCE), device) for _ in range(rounds)]
    except torch.OutOfMemoryError:
        return None
    seconds = statistics.median(taken) / AT_ONCE
    return {
        "seconds": seconds, "triples_per_second": batch / seconds, "peak": peak_memory(device),
    }  # fmt: skip


def our_steps(
    name: str, batch: int, rounds: int, device: torch.device, **options: Any
) -> dict[str, Any] | None:
    """Measure our step with these options of `paraclip train`; None if memory does not suffice."""
    model = random_clip(name)[1].to(device)
    features = random_features(model, batch)
    with tempfile.TemporaryDirectory() as folder:
        step = OurStep(model, made_up_triples(batch), features, Path(folder), **options)
    rows = np.arange(batch)
    with arithmetic_of(step.run.options, model) if options else nullcontext():
        found = measure(lambda count: [step(rows) for _ in range(count)], batch, rounds, device)
    torch.compiler.reset()
    return found


def ways(
    name: str, batch: int, rounds: int, device: torch.device, compiled: bool = True
) -> list[dict[str, Any]]:
    """Our step in each supported arithmetic; without `compiled`, none is compiled."""
    found = []
    for way, options in WAYS.items():
        of_gpus = options.get("tf32")
        if of_gpus and device.type != "cuda":
            continue
        if options.get("compile") and not compiled:
            continue
        try:
            taken = our_steps(name, batch, rounds, device, **options)
        except (UserError, RuntimeError) as error:  # compilation fails, at least for this tower
            say(f"{way}: {error}")
            continue
        found.append({"step": f"paraclip, {way}", "batch": batch, **(taken or {})})
        say(" | ".join(as_row(found[-1])))
    return found


def as_row(found: dict[str, Any]) -> list[str]:
    """A line of a table."""
    named = [found["step"], f"{found['batch']:,}"]
    if "seconds" not in found:
        return [*named, "has no room", "", ""]
    return [
        *named, f"{found['seconds'] * 1000:,.0f}", f"{found['triples_per_second']:,.1f}",
        f"{found['peak'] / GIB:.1f}",
    ]  # fmt: skip


def as_table(rows: list[dict[str, Any]]) -> str:
    """Speed and memory."""
    heads = ("step", "triples", "milliseconds", "triples/s", "peak GiB")
    return markdown(heads, [as_row(row) for row in rows])


def main() -> None:
    """Measure every arithmetic; print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    parser.add_argument("--model", default="ViT-B-32", help="a name that open_clip knows, or tiny")
    parser.add_argument("--batch", type=int, default=64, help="triples a step")
    parser.add_argument("--rounds", type=int, default=3, help="how often four steps are timed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-compile", action="store_true", help="nothing through torch.compile")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    device = torch.device(chosen.device)
    rows = ways(chosen.model, chosen.batch, chosen.rounds, device, not chosen.no_compile)
    facts = f"{chosen.model} text tower, three losses. {facts_of(chosen.threads)}"
    keep("arithmetic", chosen.out, f"{as_table(rows)}\n\n{facts}", rows=rows)


if __name__ == "__main__":
    main()
