"""Seconds from an empty environment to the first search, a tuned and a swapped text encoder.

    python -m benchmarks.front_door                              # about 10 minutes on 2 free cores

Each step is a command of its own, as a user types it. No pretrained CLIP can be had where ParaCLIP
is developed: pictures are indexed and the encoder is tuned with the built-in model `mini`, and the
encoder that is swapped has the size of ViT-B/32 and random weights. Processor seconds are those of
all processes of a step; other work on the machine hardly changes them.
"""

import argparse
import itertools
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw

from benchmarks.export.targets import random_clip
from benchmarks.machine import RESULTS, facts_of, keep, say
from paraclip import starter
from paraclip.exporting.run import export_model
from paraclip.models.checkpoint import save_model
from paraclip.models.formats.onnx_graph import write_image_graph
from paraclip.systems import ExportOptions
from paraclip.tables import markdown

ROOT = Path(__file__).parents[1]
EPOCHS = 4
"""Epochs of `paraclip train`, if it is not told otherwise."""


@dataclass(frozen=True)
class Step:
    """What a command took, in seconds."""

    name: str
    wall: float
    processor: float


class NewUser:
    """A folder with nothing in it, and the commands that are run there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.binaries = folder, folder / "environment" / "bin"

    def run(self, name: str, *commands: str) -> Step:
        """Run commands of the environment one after the other."""
        began, before = time.perf_counter(), _processor_seconds()
        for command in commands:
            say(f"  {command}")
            program, *words = command.split()
            path = sys.executable if program == "python" else str(self.binaries / program)
            own = {"PARACLIP_CACHE": str(self.folder / "cache"), "PARACLIP_QUIET": "1"}
            others = {key: text for key, text in os.environ.items() if key != "PYTHONPATH"}
            subprocess.run([path, *words], cwd=self.folder, env=others | own, check=True)
        return Step(name, time.perf_counter() - began, _processor_seconds() - before)


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def draw_pictures(folder: Path, count: int) -> None:
    """Discs and squares of many colours, 640 x 480."""
    chance = random.Random(0)
    folder.mkdir()
    for number in range(count):
        image = Image.new("RGB", (640, 480), tuple(chance.choices(range(256), k=3)))
        pen = ImageDraw.Draw(image)
        for _ in range(8):
            left, top, side = chance.randrange(560), chance.randrange(400), chance.randrange(20, 80)
            shape = chance.choice((pen.ellipse, pen.rectangle))
            fill = tuple(chance.choices(range(256), k=3))
            shape((left, top, left + side, top + side), fill=fill)
        image.save(folder / f"{number:04}.jpg")


def write_immich(folder: Path) -> None:
    """A model cache of immich with a CLIP of random weights, and a tuned checkpoint beside it."""
    base = random_clip("ViT-B-32-quickgelu")
    cache = folder / "cache-of-immich"
    export_model(base, cache, ExportOptions(target="immich", tag="openai"))
    visual = cache / "clip" / "ViT-B-32__openai" / "visual"
    visual.mkdir()
    write_image_graph(base, visual / "model.onnx", ("image", "embedding"))
    with torch.no_grad():
        for parameter in base.text_tower.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    save_model(base, folder / "tuned-clip.safetensors")


def few_rows(path: Path, count: int) -> int:
    """Write the first rows of the starter set; returns the number of all rows."""
    with starter.TRIPLES.open(encoding="utf-8") as lines:
        path.write_text("".join(itertools.islice(lines, count)), encoding="utf-8")
        return count + sum(1 for _ in lines)


def measure(folder: Path, pictures: int, rows: int) -> list[Step]:
    """Run all steps; the last one is predicted from short runs."""
    user = NewUser(folder)
    draw_pictures(folder / "my_pictures", pictures)
    write_immich(folder)
    all_rows = few_rows(folder / "few.jsonl", rows)
    built = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(built, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = folder.glob("*.whl")
    train = "paraclip train few.jsonl --base mini --bank my_pictures"
    installed = user.run(
        "wheel installed, with `builtin`, `export` and `search`",
        "python -m venv environment", f"pip install -q {wheel}[builtin,export,offline,search]",
    )  # fmt: skip
    indexed = user.run(f"index of {pictures} pictures", "paraclip index my_pictures")
    searched = user.run("first search", "paraclip search disc")
    name = f"`train --bank`: {rows} rows of the starter set, 1 epoch"
    once = user.run(name, f"{train} --epochs 1 --out once")
    again = user.run("the same, with the bank embedded", f"{train} --epochs 1 --out again")
    longer = user.run("3 epochs", f"{train} --epochs 3 --out longer")
    start = user.run("nothing left to train", f"{train} --epochs 3 --out longer")
    swapped = user.run(
        "`swap immich`: a ViT-B/32 in its model cache",
        "paraclip swap immich --cache cache-of-immich --tag openai --tuned tuned-clip.safetensors",
    )
    share = all_rows / rows

    def predicted(seconds: Callable[[Step], float]) -> float:
        begin, embedded = seconds(start), seconds(once) - seconds(again)
        first, epoch = seconds(again) - begin, (seconds(longer) - seconds(again)) / 2
        return begin + embedded + share * (first + (EPOCHS - 1) * epoch)

    name = f"`train starter --bank`: {all_rows:,} rows, {EPOCHS} epochs, predicted"
    whole = Step(name, predicted(lambda step: step.wall), predicted(lambda step: step.processor))
    return [installed, indexed, searched, once, swapped, whole]


def main() -> None:
    """Measure, print the table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="paraclip-front-door-") as place:
        steps = measure(Path(place), options.pictures, options.rows)
    keep("front_door", options.out, as_table, steps=[*map(asdict, steps)], facts=facts_of())


def as_table(record: dict[str, Any]) -> str:
    """One step per row; the last one was not run."""
    steps = record["steps"]
    sums = [f"{total:,.0f}" for total in itertools.accumulate(one["wall"] for one in steps[:-1])]
    rows = [
        [one["name"], f"{one['wall']:,.0f}", total, f"{one['processor']:,.0f}"]
        for one, total in zip(steps, [*sums, ""], strict=True)
    ]
    heads = ["", "seconds", "since the empty folder", "processor seconds"]
    return f"{markdown(heads, rows)}\n\n{record['facts']}"


if __name__ == "__main__":
    main()
