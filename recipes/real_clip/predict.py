"""How long the recipe will take, from random weights of the true sizes.

    OMP_NUM_THREADS=1 python -m recipes.real_clip.predict

Measures the processor time of training, of pictures, texts and exports here, and peak memory, and
multiplies by what the recipe has to do. Random weights cost as much as trained ones, and processor
time hardly depends on other work on the machine.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

import paraclip
from benchmarks.machine import CPU, GIB, RESULTS, facts_of, forget_peak, keep, markdown, peak_memory
from benchmarks.training.steps import random_clip
from paraclip.data.triples import read_triples
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import encode_images, encode_texts
from paraclip.starter import resolve
from recipes.real_clip.settings import SETTINGS, Settings, read_settings

CORES = 4  # of a hosted machine
LIMIT = 5.0  # hours that a stage may take there
PICTURES = {
    "tune": 1_826,  # development pool
    "measure": 5_000 + 5_000 + 20_000 + 3_925,  # two pools, CIFAR's and Imagenette's
    "ARO": 23_937 + 28_748,  # a part of a picture for each case
}
TEXTS = {
    "tune": 3 * 826,  # of each model
    "measure": 3 * 3_931 + 2 * 5_000 + 25_010 + 2 * 36_000 + 18 * 110 + 70,
    "ARO": 2 * (23_937 + 28_748),
}
"""What the stages encode; pictures once for all models, texts for each."""


def measure(model: DualEncoder, settings: Settings, rows: int, folder: Path) -> dict[str, float]:
    """Processor seconds of each kind of work of one model, and its peak memory in bytes."""
    noise = np.random.default_rng(0)
    names = [str(folder / f"{number}.jpg") for number in range(min(rows, 96))]
    for name in names:  # of COCO's size
        coarse = noise.integers(0, 255, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((640, 480)).save(name, quality=90)
    bank = noise.standard_normal((settings.bank, model.architecture.embed_dim), np.float32)
    np.save(folder / "bank.npy", bank / np.linalg.norm(bank, axis=1, keepdims=True))
    triples = read_triples(resolve("starter")).slice(0, rows).select(
        ["image_id", "caption", "paraphrase_1", "paraphrase_2"]
    )  # fmt: skip
    rows_of = [{"index": n, **row} for n, row in enumerate(triples.to_pylist())]
    lines = "".join(json.dumps(row) + "\n" for row in rows_of)
    (folder / "triples.jsonl").write_text(lines)
    forget_peak(CPU)
    found = {
        "picture": taken(partial(encode_images, model, names)) / len(names),
        "text": taken(partial(encode_texts, model, triples["caption"].to_pylist())) / rows,
    }
    one, two = (
        taken(partial(
            paraclip.train, model, folder / "triples.jsonl", folder / str(epochs),
            bank=folder / "bank.npy", **{**settings.training, "epochs": epochs},
        ))
        for epochs in (1, 2)
    )  # fmt: skip
    found["row"] = (two - one) / rows
    found["teacher"] = max(0.0, 2 * one - two) / rows  # MiniLM's vectors and the base's
    export = partial(paraclip.export, model, folder / "exported", to="onnx")
    return {**found, "export": taken(export), "peak": float(peak_memory(CPU))}


def taken(work: Callable[[], Any]) -> float:
    """Processor seconds of a piece of work, of all threads."""
    began = time.process_time()
    work()
    return time.process_time() - began


def hours(found: Mapping[str, float], settings: Settings, rows: int) -> dict[str, float]:
    """Hours of each stage on one core, without downloads."""
    rates, epochs = len(settings.rates), settings.training.get("epochs", 4)
    tune = rates * rows * (found["teacher"] + epochs * found["row"])
    tune += (settings.bank + PICTURES["tune"]) * found["picture"]
    tune += (rates + 1) * TEXTS["tune"] * found["text"]
    seconds = {"tune": tune, "publish": 2 * 5 * found["export"]}
    for name in ("measure", "ARO"):
        seconds[name] = PICTURES[name] * found["picture"] + 3 * TEXTS[name] * found["text"]
    return {name: seconds[name] / 3600 for name in ("tune", "measure", "ARO", "publish")}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--names", nargs="+", default=["ViT-B-32", "ViT-B-32-256", "ViT-B-16"])
    parser.add_argument("--rows", type=int, default=1024, help="triples to train on")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder")
    chosen = parser.parse_args(arguments)
    settings = read_settings(SETTINGS)
    everything, table, measured = read_triples(resolve("starter")).num_rows, [], {}
    for name in chosen.names:
        with TemporaryDirectory() as folder:
            found = measure(random_clip(name)[1], settings, chosen.rows, Path(folder))
        there = {
            stage: value / CORES for stage, value in hours(found, settings, everything).items()
        }
        measured[name] = {"measured": found, "hours_there": there}
        cells = [f"{value:.1f}{'' if value < LIMIT else ' (too long)'}" for value in there.values()]
        batch = settings.training.get("batch_size", 256)
        speeds = [f"{batch * found['row']:.1f} s", f"{1 / found['picture']:.1f}"]
        table.append([name, *speeds, f"{1 / found['text']:.0f}", *cells, gib(found["peak"])])
    heads = [
        "base", "a step", "pictures a second", "texts a second", "tune", "measure", "with ARO also",
        "publish", "peak memory",
    ]  # fmt: skip
    note = (
        f"The first three columns are of one core ({facts_of()}). Hours are for {CORES} cores"
        " that all work, without downloads."
    )
    keep("real_clip_predicted", chosen.out, f"{markdown(heads, table)}\n\n{note}", models=measured)


def gib(size: float) -> str:
    """A size in GiB, rounded up to a tenth."""
    return f"{math.ceil(10 * size / GIB) / 10:.1f} GiB"


if __name__ == "__main__":
    main()
