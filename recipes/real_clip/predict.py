"""How long the recipe will take, from random weights of the true sizes.

    OMP_NUM_THREADS=1 python -m recipes.real_clip.predict
    python -m recipes.real_clip.predict --again      # other settings, with what was measured

Measures the processor time of training, of pictures, texts and exports here, and peak memory, and
multiplies by what the recipe has to do. Random weights cost as much as trained ones, and processor
time hardly depends on other work on the machine.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

import paraclip
from benchmarks.machine import CPU, GIB, RESULTS, facts_of, forget_peak, keep, markdown, peak_memory
from benchmarks.training.steps import random_clip
from paraclip.data.triples import ENGLISH, choose_wordings, read_triples
from paraclip.files import read_bounded, write_text
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import encode_images, encode_texts
from paraclip.starter import resolve
from paraclip.training.config import TrainOptions
from recipes.real_clip.settings import SETTINGS, Settings, read_settings

NAME = "real_clip_predicted"
CORES = 4  # of a hosted machine
LIMIT = 5.0  # hours that a stage may take there
PICTURES = {
    "tune": 412 + 1_000,  # development pool
    "measure": 5_000 + 5_000 + 20_000 + 3_925,  # two pools, CIFAR's and Imagenette's
    "ARO": 23_937 + 28_748,  # a part of a picture for each case
}
TEXTS = {
    "tune": 3 * 853,  # development pairs
    # pairs, people's, Karpathy's, STS, classes in templates, pairs with averaged rewordings
    "measure": 3 * 3_904 + 2 * 5_000 + 25_010 + 26_289 + 18 * 110 + 70 + 1_600,
    "ARO": 2 * (23_937 + 28_748),
}
"""What the stages encode; pictures once for all models, texts for each."""


def measure_pictures(model: DualEncoder, folder: Path, count: int = 96) -> dict[str, float]:
    """Processor seconds of a picture, and peak memory in bytes."""
    noise = np.random.default_rng(0)
    names = [str(folder / f"{number}.jpg") for number in range(count)]
    for name in names:  # of COCO's size
        coarse = noise.integers(0, 255, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((640, 480)).save(name, quality=90)
    forget_peak(CPU)
    seconds = taken(partial(encode_images, model, names)) / count
    return {"picture": seconds, "peak": float(peak_memory(CPU))}


def measure_texts(
    model: DualEncoder, settings: Settings, rows: int, folder: Path
) -> dict[str, float]:
    """Processor seconds of each kind of work of one text tower, and its peak memory in bytes."""
    vectors = np.random.default_rng(0).standard_normal(
        (settings.bank, model.architecture.embed_dim), np.float32
    )
    np.save(folder / "bank.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    triples = read_triples(resolve("starter")).slice(0, rows).select(
        ["image_id", "caption", "paraphrase_1", "paraphrase_2"]
    )  # fmt: skip
    lines = [json.dumps({"index": n, **row}) for n, row in enumerate(triples.to_pylist())]

    def train(count: int, epochs: int) -> None:
        place = folder / f"{count}-{epochs}"
        write_text(place.with_suffix(".jsonl"), "\n".join(lines[:count]) + "\n")
        # A cache of its own: the teachers' vectors of an earlier call are not read.
        with patch.dict(os.environ, PARACLIP_CACHE=str(place.with_suffix(".cache"))):
            paraclip.train(
                model, place.with_suffix(".jsonl"), place, bank=folder / "bank.npy",
                **{**settings.training, "epochs": epochs},
            )  # fmt: skip

    train(2, 1)  # what happens once in a process is over
    forget_peak(CPU)
    text = taken(partial(encode_texts, model, triples["caption"].to_pylist())) / rows
    one, two = (taken(partial(train, rows, epochs)) for epochs in (1, 2))
    export = taken(partial(paraclip.export, model, folder / "exported", to="onnx"))
    return {
        "text": text,
        "row": (two - one) / rows,
        "teacher": max(0.0, 2 * one - two) / rows,  # MiniLM's vectors and the base's
        "export": export,
        "peak": float(peak_memory(CPU)),
    }


def measure(names: Sequence[str], settings: Settings, rows: int) -> dict[str, dict[str, float]]:
    """What `hours` needs of each model; equal text towers are measured once."""
    measured: dict[str, dict[str, float]] = {}
    towers: dict[Any, dict[str, float]] = {}
    for name in names:
        model = random_clip(name)[1]
        tower = tuple((key, *one.shape) for key, one in model.text_tower.named_parameters())
        with TemporaryDirectory() as folder:
            pictures = measure_pictures(model, Path(folder))
            if tower not in towers:
                towers[tower] = measure_texts(model, settings, rows, Path(folder))
        peak = max(pictures["peak"], towers[tower]["peak"])
        measured[name] = {**pictures, **towers[tower], "peak": peak}
        print(name, measured[name], flush=True)
    return measured


def taken(work: Callable[[], Any]) -> float:
    """Processor seconds of a piece of work, of all threads."""
    began = time.process_time()
    work()
    return time.process_time() - began


def hours(
    found: Mapping[str, float], settings: Settings, rows: int, texts: int
) -> dict[str, float]:
    """Hours of each stage on one core, without downloads.

    Args:
        found: what `measure` found.
        settings: the recipe's.
        rows: rows of the triples.
        texts: their English texts. A step encodes three a row; the teachers read all, once for all
            rates.
    """
    rates, epochs = len(settings.rates), TrainOptions(**settings.training).epochs
    tune = texts / 3 * found["teacher"] + rates * rows * epochs * found["row"]
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
    parser.add_argument("--again", action="store_true", help="use what was measured before")
    chosen = parser.parse_args(arguments)
    settings = read_settings(SETTINGS)
    if chosen.again:
        kept = json.loads(read_bounded(chosen.out / f"{NAME}.json"))
        measured = {name: one["measured"] for name, one in kept["models"].items()}
        facts = {"facts": kept["facts"], "time": kept["time"]}
    else:
        measured, facts = measure(chosen.names, settings, chosen.rows), {"facts": facts_of()}
    triples = read_triples(resolve(settings.triples))
    rows, further = len(triples), sum(map(len, choose_wordings(triples, [ENGLISH])))
    models = {}
    for name, found in measured.items():
        alone = hours(found, settings, rows, texts=3 * rows + further)
        there = {stage: value / CORES for stage, value in alone.items()}
        models[name] = {"measured": found, "hours_there": there}
    batch = TrainOptions(**settings.training).batch_size
    keep(NAME, chosen.out, as_table, models=models, batch=batch, **facts)


def as_table(record: Mapping[str, Any]) -> str:
    """One base per row."""
    heads = [
        "base", "a step", "pictures a second", "texts a second", "tune", "measure", "with ARO also",
        "publish", "peak memory",
    ]  # fmt: skip
    note = (
        f"The first three columns are of one core ({record['facts']}) Hours are for {CORES} cores"
        " that all work, without downloads."
    )
    rows = []
    for name, one in record["models"].items():
        found, there = one["measured"], one["hours_there"].values()
        speeds = [f"{record['batch'] * found['row']:.1f} s", f"{1 / found['picture']:.1f}"]
        cells = [f"{value:.1f}{'' if value < LIMIT else ' (too long)'}" for value in there]
        rows.append([name, *speeds, f"{1 / found['text']:.0f}", *cells, gib(found["peak"])])
    return f"{markdown(heads, rows)}\n\n{note}"


def gib(size: float) -> str:
    """A size in GiB, rounded up to a tenth."""
    return f"{math.ceil(10 * size / GIB) / 10:.1f} GiB"


if __name__ == "__main__":
    main()
