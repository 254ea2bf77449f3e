"""What glibc's default allocator costs: the same work with and without freed memory being kept.

    python -m benchmarks.training.allocator    # about 15 minutes on 2 cores

Every measurement is a process of its own, since the setting cannot be undone; the two settings take
turns, and the medians are compared.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

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
from benchmarks.training.steps import (
    OurStep,
    made_up_triples,
    model_of,
    random_features,
    random_pixels,
)
from paraclip.allocator import CONFIGURING, keep_freed_memory
from paraclip.models.features import encode_texts

SETTINGS = {"glibc's default": False, "freed memory kept": True}
REPEATS = 5


def pictures(name: str, batch: int) -> Callable[[], Any]:
    """The image tower on a batch of pictures."""
    model = model_of(name)
    pixels = random_pixels(batch, model.image_size)
    return torch.inference_mode()(lambda: model.embed_pixels(pixels))


def texts(name: str, batch: int) -> Callable[[], Any]:
    """The text tower on a batch of captions."""
    model, captions = model_of(name), made_up_triples(batch)["caption"].to_pylist()
    return lambda: encode_texts(model, captions)


def training(name: str, batch: int) -> Callable[[], Any]:
    """A training step with the three losses."""
    model, triples = model_of(name), made_up_triples(batch)
    with tempfile.TemporaryDirectory() as folder:
        step = OurStep(model, triples, random_features(model, batch), Path(folder))
    return lambda: step(np.arange(batch))


WORK: dict[str, tuple[Callable[[str, int], Callable[[], Any]], str, int]] = {
    "pictures, mini": (pictures, "mini", 32),
    "pictures, ViT-B-32": (pictures, "ViT-B-32", 32),
    "texts, mini": (texts, "mini", 256),
    "texts, ViT-B-32": (texts, "ViT-B-32", 256),
    "training step, mini": (training, "mini", 256),
    "training step, ViT-B-32": (training, "ViT-B-32", 64),
}
"""Kinds of work, with the model and the size of a batch."""


def measured(work: str, kept: bool, tiny: bool) -> dict[str, float]:
    """Seconds, kernel seconds and page faults of the work, and the peak memory of the process."""
    if kept and not keep_freed_memory():
        sys.exit("The allocator cannot be configured here.")
    make, name, batch = WORK[work]
    step = make("tiny" if tiny else name, 4 if tiny else batch)
    step()
    before = resource.getrusage(resource.RUSAGE_SELF)
    seconds = statistics.median(seconds_of(step, CPU) for _ in range(REPEATS))
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": seconds, "kernel_seconds": (after.ru_stime - before.ru_stime) / REPEATS,
        "page_faults": (after.ru_minflt - before.ru_minflt) / REPEATS, "peak": peak_memory(CPU),
    }  # fmt: skip


def in_process(work: str, setting: str, tiny: bool) -> dict[str, float]:
    """`measured` in a process whose environment does not configure malloc."""
    clean = {key: text for key, text in os.environ.items() if not key.startswith(CONFIGURING)}
    words = [sys.executable, "-m", __spec__.name, "--one", work, setting]
    words += ["--tiny"] if tiny else []
    done = subprocess.run(words, env=clean, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def compared(work: str, rounds: int, tiny: bool) -> dict[str, Any]:
    """Medians of both settings, in turns."""
    runs: dict[str, list[dict[str, float]]] = {setting: [] for setting in SETTINGS}
    for _ in range(rounds):
        for setting, found in runs.items():
            found.append(in_process(work, setting, tiny))
    return {
        setting: {name: statistics.median(one[name] for one in found) for name in found[0]}
        for setting, found in runs.items()
    }


def as_row(work: str, found: dict[str, Any]) -> list[str]:
    """A line of the table."""
    before, after = found.values()
    return [
        work, f"{before['seconds'] * 1000:,.0f}", f"{after['seconds'] * 1000:,.0f}",
        f"{before['seconds'] / after['seconds']:.2f}", f"{before['page_faults']:,.0f}",
        f"{after['page_faults']:,.0f}",
        f"{before['peak'] / GIB:.2f}", f"{after['peak'] / GIB:.2f}",
    ]  # fmt: skip


def main() -> None:
    """Measure every kind of work in both settings; print and write the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="processes of each setting")
    parser.add_argument("--tiny", action="store_true", help="tiny models, to test the benchmark")
    parser.add_argument("--one", nargs=2, metavar=("WORK", "SETTING"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of table and JSON")
    options = parser.parse_args()
    if options.one:
        work, setting = options.one
        print(json.dumps(measured(work, SETTINGS[setting], options.tiny)))
        return
    found = {}
    for work in WORK:
        found[work] = compared(work, options.rounds, options.tiny)
        say(" | ".join(as_row(work, found[work])))
    heads = ["", "default, ms", "kept, ms", "times faster", "page faults, default",
             "page faults, kept", "peak GiB, default", "peak GiB, kept"]  # fmt: skip
    table = markdown(heads, [as_row(work, one) for work, one in found.items()])
    keep("allocator", options.out, f"{table}\n\n{facts_of()}", work=found)


if __name__ == "__main__":
    main()
