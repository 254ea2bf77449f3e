"""Speed of `paraclip index` compared with its image tower alone.

    python -m benchmarks.search.index_speed --data DATA            # about 3 minutes on 2 free cores

The tower alone embeds pixels from memory, in the batches of the index. `paraclip index` reads the
files, decodes them, makes pixels and thumbnails and writes the table, all concurrently with the
tower and on the same cores. The goal is 90 % of the tower's speed. The processor time of reading is
measured separately, because nothing hides it on cores that the tower keeps busy. The pictures are
Flickr8k's; ViT-B/32 has random weights. Each figure is the better of two runs, done in turns.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.export.targets import random_clip
from benchmarks.machine import RESULTS, facts_of, keep, markdown, parse_with_data, say
from paraclip.data.config import Columns
from paraclip.data.problems import Problems
from paraclip.image_search.build import IMAGES_AT_ONCE, build_index
from paraclip.image_search.sources import PictureReader, picture_source
from paraclip.models.checkpoint import save_model
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import embed, project
from paraclip.models.loading import load_model

RUNS = 2


def tower_alone(model: DualEncoder, pixels: torch.Tensor) -> float:
    """Pictures per second of the image tower."""
    began = time.perf_counter()
    for start in range(0, len(pixels), IMAGES_AT_ONCE):
        project(model, embed(model, pixels[start : start + IMAGES_AT_ONCE], "fp32"))
    return len(pixels) / (time.perf_counter() - began)


def whole_index(name: str, folder: str) -> float:
    """Pictures per second of an index run, including writing."""
    with tempfile.TemporaryDirectory() as place:
        summary = build_index(folder, f"{place}/index", name, Problems(1.0))
    return summary.embedded / summary.seconds


def measured(label: str, name: str, folder: str) -> list[str]:
    """A row of the table."""
    model = load_model(name, "cpu")
    reader = PictureReader(model.preprocess, model.image_size, {})
    found = list(picture_source(folder, Columns()).pictures(Problems(1.0)))
    worked = time.process_time()
    pixels = torch.stack([reader.read(one).pixels for one in found])  # type: ignore[union-attr]
    reading = 1000 * (time.process_time() - worked) / len(found)
    runs = [(tower_alone(model, pixels), whole_index(name, folder)) for _ in range(RUNS)]
    tower, index = (max(rates) for rates in zip(*runs, strict=True))
    say(f"{label}: {tower:.1f} and {index:.1f} pictures a second")
    share = f"{100 * index / tower:.0f} %"
    return [label, f"{tower:.1f}", f"{index:.1f}", share, f"{reading:.1f}"]


def main() -> None:
    """Measure, print the table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=256)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parse_with_data(parser)
    images = sorted((Path(options.data) / "flickr8k" / "images").iterdir())[: options.pictures]
    with tempfile.TemporaryDirectory() as place:
        os.environ["PARACLIP_CACHE"] = f"{place}/cache"
        folder = Path(place) / "pictures"
        folder.mkdir()
        for image in images:
            (folder / image.name).write_bytes(image.read_bytes())
        large = str(save_model(random_clip("ViT-B-32"), Path(place) / "vit.safetensors"))
        rows = [
            measured("`mini` (EfficientNet-Lite0)", "mini", str(folder)),
            measured("ViT-B/32, random weights", large, str(folder)),
        ]
    keep("index_speed", options.out, as_table, rows=rows, pictures=len(images), facts=facts_of())


def as_table(record: dict[str, Any]) -> str:
    """A row for each tower."""
    heads = ["", "tower alone, pictures/s", "index, pictures/s", "share", "reading, processor ms"]
    note = f"{record['pictures']} pictures of 224 x 224. {record['facts']}"
    return f"{markdown(heads, record['rows'])}\n\n{note}"


if __name__ == "__main__":
    main()
