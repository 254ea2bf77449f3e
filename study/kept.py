"""How much of base's own results a tuned model keeps: an index's users know these.

    PARACLIP_DATA=folder python -m study.kept --rows ranked "starter ranked"    # minutes

Compares what a model finds for a caption, for its rewordings and for the contrast with what *base*
finds for the caption, on the second report's captions of Flickr8k, and with the right picture; from
finished cells of `second/main.toml`; nothing is trained. Writes `results/study_BASE_kept.json` and
`.md`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import keep, markdown
from paraclip.arrays import Float, Integers
from paraclip.evaluation.benchmark import image_vectors, text_vectors
from paraclip.evaluation.metrics import average_overlap, jaccard
from paraclip.evaluation.pairs import Wording
from paraclip.evaluation.pictures import read_pool
from paraclip.evaluation.report import spread
from paraclip.evaluation.statistics import Interval, Metric, interval, over_seeds
from paraclip.exact_search import top_k
from paraclip.files import cache_folder
from paraclip.models.encoder import DualEncoder
from paraclip.models.loading import load_model
from study import run
from study.averaged import read_options
from study.cells import cells_of
from study.differences import Draws, over
from study.sets import HOW
from study.wordings import SECOND, read_new_wordings

TEXTS = ("the caption", "a rewording", "the contrast")
RIGHT = TEXTS[:2]
"""Texts that mean the caption's picture."""
OVERLAPS = {"AO@10": average_overlap, "JS@10": jaccard}
Ranked = Mapping[str, Integers]
"""First ten pictures [items, texts, 10] by the name of the kind of text."""


def main() -> None:
    """Compare, write and print."""
    options = read_options(str(__doc__).splitlines()[0])
    place = run.Place(Path(options.data), options.out)
    base = run.BASES[options.base](place)
    model, pool = load_model(str(base)), read_pool(place.data / "flickr8k" / "images")
    # Of all models: tuning does not change the image encoder.
    images, good, _ = image_vectors(model, pool.references, cache_folder() / "image_features", HOW)
    items = read_new_wordings(SECOND, place.data)["flickr8k"].items
    names = [Path(one).name for one in pool.references]
    right = np.array([names.index(one.image) for one in items])
    theirs = ranked(model, images, good, items)
    scored: dict[str, dict[int | None, dict[str, Metric]]] = {
        "base": {None: metrics_of(theirs, theirs, right)}
    }
    grid = run.grid_of(options.grid, options.base, place)
    for cell in cells_of(grid, base, place.out / "cells" / options.base):
        last = cell.run / "last.safetensors"
        if cell.row.name in options.rows and cell.row.merge is None and last.exists():
            found = metrics_of(ranked(load_model(str(last)), images, good, items), theirs, right)
            scored.setdefault(cell.row.name, {})[cell.seed] = found
    draws = Draws(run.RESAMPLES["quick"], place.out / "draws")
    figures = []
    for row, seeds in scored.items():
        for name in seeds[next(iter(seeds))]:
            drawn = {(row, seed): draws.of(found[name]) for seed, found in seeds.items()}
            value, resampled = over(drawn, row, list(seeds))
            spanned = asdict(interval(value, over_seeds(resampled, 0)))
            figures.append({"row": row, "figure": name, "seeds": len(seeds), **spanned})
    keep(f"study_{options.base}_kept", options.results, table, kept=figures)


def ranked(model: DualEncoder, images: Float, good: Integers, items: Sequence[Wording]) -> Ranked:
    """What a model finds for each kind of text.

    Args:
        model: the model.
        images: unit vectors of the pictures [good, width].
        good: their numbers in the pool [good].
        items: captions with their rewordings and contrasts.
    """
    texts = {
        "the caption": [[one.caption] for one in items],
        "a rewording": [[text for _, text in one.rewordings] for one in items],
        "the contrast": [[one.contrast] for one in items],
    }
    found = {}
    for name, of_items in texts.items():
        flat = [text for of_item in of_items for text in of_item]
        places = good[top_k(text_vectors(model, flat, HOW, name), images, 10)]
        found[name] = places.reshape(len(items), -1, 10)
    return found


def metrics_of(found: Ranked, theirs: Ranked, right: Integers) -> dict[str, Metric]:
    """The overlap of each kind of text's results with those of base for the caption, and R@10.

    Args:
        found: what a model finds.
        theirs: what base finds.
        right: the picture of each caption [items].
    """
    metrics = {}
    for text in TEXTS:
        count = found[text].shape[1]
        wanted = np.repeat(theirs["the caption"], count, axis=1).reshape(-1, 10)
        for name, overlap in OVERLAPS.items():
            values = overlap(found[text].reshape(-1, 10), wanted).reshape(-1, count).mean(axis=1)
            metrics[f"{name}, {text}"] = Metric(f"{name}, {text}", values)
    for text in RIGHT:
        values = (found[text] == right[:, None, None]).any(axis=2).mean(axis=1)
        metrics[f"R@10, {text}"] = Metric(f"R@10, {text}", values)
    return metrics


def table(record: Mapping[str, Any]) -> str:
    """A row for each model."""
    figures = record["kept"]
    found = {
        (one["row"], one["figure"]): spread(Interval(one["value"], one["low"], one["high"]), False)
        for one in figures
    }
    names = [
        *(f"{overlap}, {text}" for text in TEXTS for overlap in OVERLAPS),
        *(f"R@10, {text}" for text in RIGHT),
    ]
    rows = dict.fromkeys(row for row, _ in found)
    lines = [[str(row), *(found[row, name] for name in names)] for row in rows]
    seeds = {str(one["row"]): one["seeds"] for one in figures}
    note = (
        "Overlap of what a model finds for each text with what base finds for the caption, in "
        "percent, with 95 % intervals of a bootstrap over captions and seeds ("
        + ", ".join(f"{row} {count}" for row, count in seeds.items() if row != "base")
        + "). R@10 is the share of texts that find their own picture. 300 captions, four "
        "rewordings and a contrast each, among 8,091 pictures."
    )
    return f"{markdown(['', *names], lines)}\n\n{note}"


if __name__ == "__main__":
    main()
