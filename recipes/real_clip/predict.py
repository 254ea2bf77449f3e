"""How long the recipe will take, from random weights of the true sizes.

    OMP_NUM_THREADS=1 python -m recipes.real_clip.predict
    python -m recipes.real_clip.predict --again      # measures only what was not measured before

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
from datetime import datetime
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
from paraclip.provenance import provenance
from paraclip.starter import resolve
from paraclip.training.config import TrainOptions
from recipes.real_clip.settings import SETTINGS, Settings, read_settings

NAME = "real_clip_predicted"
CORES = 4  # of a hosted machine
LIMIT = 5.0  # hours that a stage may take there
MODELS = 4  # base, tuned, merged, taught
PICTURES = {
    "tune": 412 + 1_000,  # development pool
    "rivals": 5_000 + 5_000,  # two pools
    "measure": 5_000 + 5_000 + 20_000 + 3_925,  # these, CIFAR's and Imagenette's
    "ARO": 23_937 + 28_748,  # a part of a picture for each case
}
PAIRS = 3 * 3_904
TEXTS = {
    "tune": 3 * 853,  # development pairs
    "rivals": PAIRS + 2 * 5_000 + 25_010,  # people's, Karpathy's
    # these, pairs again, STS, classes in templates
    "measure": 2 * PAIRS + 2 * 5_000 + 25_010 + 26_289 + 18 * 110 + 70,
    "ARO": 2 * (23_937 + 28_748),
}
"""What the stages encode; pictures once for all models of an index, texts for each."""


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


def measure_teacher(name: str, settings: Settings) -> dict[str, Any]:
    """Processor seconds of a picture and of a text of the teacher, and its peak memory in bytes."""
    model = random_clip(name)[1]
    texts = read_triples(resolve(settings.triples))["caption"].to_pylist()[:128]
    with TemporaryDirectory() as folder:
        found = measure_pictures(model, Path(folder), count=16)
    text = taken(partial(encode_texts, model, texts)) / len(texts)
    peak = max(found["peak"], float(peak_memory(CPU)))
    return {"name": name, **found, "text": text, "peak": peak}


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
    found: Mapping[str, float], teacher: Mapping[str, float], settings: Settings,
    rows: int, texts: int,
) -> dict[str, float]:  # fmt: skip
    """Hours of each stage on one core, without downloads, and of tuning without the teacher.

    Args:
        found: what `measure` found.
        teacher: what `measure_teacher` found.
        settings: the recipe's.
        rows: rows of the triples.
        texts: their English texts. A step encodes three a row, and one of a text without
            rewordings; the teachers read all of a recipe, once for all rates.
    """
    rates, epochs = len(settings.rates), TrainOptions(**settings.training).epochs
    chosen = (rates + 1) * TEXTS["tune"] * found["text"]
    tuned = texts / 3 * found["teacher"] + rates * rows * epochs * found["row"] + chosen
    tuned += (settings.bank + PICTURES["tune"]) * found["picture"]
    read, rows_alone = texts + settings.texts, settings.texts / 3
    taught = read / 3 * found["teacher"] + rates * (rows + rows_alone) * epochs * found["row"]
    taught += settings.bank * teacher["picture"] + read * teacher["text"] + chosen
    seconds = {"tuned": tuned, "tune": tuned + taught, "publish": 2 * 5 * found["export"]}
    for name in ("measure", "ARO"):
        seconds[name] = PICTURES[name] * found["picture"] + MODELS * TEXTS[name] * found["text"]
    seconds["measure"] += PICTURES["rivals"] * teacher["picture"]
    seconds["measure"] += 2 * TEXTS["rivals"] * teacher["text"]  # Drift-Adapter's too
    seconds["ARO"] += seconds["measure"]  # one stage, which must not take too long
    return {name: seconds[name] / 3600 for name in ("tuned", "tune", "measure", "ARO", "publish")}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--names", nargs="+", default=["ViT-B-32", "ViT-B-32-256", "ViT-B-16"])
    parser.add_argument("--rows", type=int, default=1024, help="triples to train on")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder")
    parser.add_argument("--teacher", help="default: that of the settings")
    parser.add_argument("--again", action="store_true", help="use what was measured before")
    chosen = parser.parse_args(arguments)
    settings = read_settings(SETTINGS)
    if chosen.again:
        kept = json.loads(read_bounded(chosen.out / f"{NAME}.json"))
        measured = {name: one["measured"] for name, one in kept["models"].items()}
        facts = {"facts": kept["facts"], "time": kept["time"]}
        teacher = kept.get("teacher", {})
    else:
        measured, facts = measure(chosen.names, settings, chosen.rows), {"facts": facts_of()}
        teacher = {}
    name = chosen.teacher or settings.teacher.partition(":")[0]
    if teacher.get("name") != name:
        made = {"facts": facts_of(), "time": provenance()["time"]}
        teacher = {**measure_teacher(name, settings), **made}
    triples = read_triples(resolve(settings.triples))
    rows, further = len(triples), sum(map(len, choose_wordings(triples, [ENGLISH])))
    models = {}
    for name, found in measured.items():
        alone = hours(found, teacher, settings, rows, texts=3 * rows + further)
        there = {stage: value / CORES for stage, value in alone.items()}
        models[name] = {"measured": found, "hours_there": there}
    batch = TrainOptions(**settings.training).batch_size
    keep(NAME, chosen.out, as_table, models=models, teacher=teacher, batch=batch, **facts)


def as_table(record: Mapping[str, Any]) -> str:
    """One base per row, and the teacher."""
    heads = [
        "base", "a step", "pictures a second", "texts a second", "tuned alone", "tune", "measure",
        "with ARO also", "publish", "peak memory",
    ]  # fmt: skip
    teacher, rows = record["teacher"], []
    day = datetime.fromisoformat(teacher["time"])
    note = (
        f"The first three columns are of one core ({record['facts']} The teacher: {day.day}"
        f" {day:%B}, {teacher['facts']}) Hours are for {CORES} cores that all work, without"
        " downloads. The memory of a base is with the teacher's."
    )
    for name, one in record["models"].items():
        found, there = one["measured"], one["hours_there"].values()
        speeds = [f"{record['batch'] * found['row']:.1f} s", f"{1 / found['picture']:.1f}"]
        cells = [f"{value:.1f}{'' if value < LIMIT else ' (too long)'}" for value in there]
        memory = gib(found["peak"] + teacher["peak"])
        rows.append([name, *speeds, f"{1 / found['text']:.0f}", *cells, memory])
    speeds = [f"{1 / teacher['picture']:.1f}", f"{1 / teacher['text']:.0f}"]
    rows.append([f"{teacher['name']}, the teacher", "-", *speeds, *"-----", gib(teacher["peak"])])
    return f"{markdown(heads, rows)}\n\n{note}"


def gib(size: float) -> str:
    """A size in GiB, rounded up to a tenth."""
    return f"{math.ceil(10 * size / GIB) / 10:.1f} GiB"


if __name__ == "__main__":
    main()
