"""How much of base's own results a tuned model keeps: an index's users know these.

    PARACLIP_DATA=folder python -m study.kept --rows ranked "starter ranked"    # minutes

Compares what a model finds for a caption, for its rewordings and for the contrast with what *base*
finds for the caption, on the second report's captions of Flickr8k, from finished cells of
`second/main.toml`; nothing is trained. Writes `results/study_BASE_kept.json` and `.md`.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import keep, markdown, parse_with_data
from paraclip.arrays import Integers
from paraclip.evaluation.benchmark import image_vectors, text_vectors
from paraclip.evaluation.metrics import average_overlap, jaccard
from paraclip.evaluation.pictures import read_pool
from paraclip.evaluation.report import spread
from paraclip.evaluation.statistics import Interval, Metric, interval, over_seeds
from paraclip.exact_search import top_k
from paraclip.files import cache_folder
from paraclip.models.encoder import DualEncoder
from paraclip.models.loading import load_model
from study import run
from study.cells import cells_of, model_of
from study.differences import Draws, over
from study.sets import HOW
from study.tables import RESULTS
from study.wordings import second_wordings

GRID = run.GRIDS / "second" / "main.toml"
TEXTS = ("the caption", "a rewording", "the contrast")
OVERLAPS = {"AO@10": average_overlap, "JS@10": jaccard}
Ranked = Mapping[str, Integers]
"""First ten pictures [items, texts, 10] by the name of the kind of text."""


def main() -> None:
    """Compare, write and print."""
    made = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    made.add_argument("--rows", nargs="+", required=True, help="rows of the grid")
    made.add_argument("--base", default="a", choices=list(run.BASES))
    made.add_argument("--grid", type=Path, default=GRID, help="of the rows")
    made.add_argument("--out", type=Path, default=Path("runs/study"), help="folder of the runs")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of table and JSON")
    options = parse_with_data(made)
    place = run.Place(Path(options.data), options.out)
    base = run.BASES[options.base](place)
    theirs = ranked(load_model(str(base)), place.data)
    scored: dict[str, dict[int | None, dict[str, Metric]]] = {
        "base": {None: metrics_of(theirs, theirs)}
    }
    grid = run.grid_of(options.grid, options.base, place)
    for cell in cells_of(grid, base, place.out / "cells" / options.base):
        if cell.row.name in options.rows and (cell.run / "summary.json").exists():
            found = metrics_of(ranked(model_of(cell, base), place.data), theirs)
            scored.setdefault(cell.row.name, {})[cell.seed] = found
    draws = Draws(run.RESAMPLES["quick"], place.out / "draws")
    figures = []
    for row, seeds in scored.items():
        for name in seeds[next(iter(seeds))]:
            drawn = {(row, seed): draws.of(found[name]) for seed, found in seeds.items()}
            value, resampled = over(drawn, row, list(seeds))
            spanned = asdict(interval(value, over_seeds(resampled, 0)))
            figures.append({"row": row, "figure": name, "seeds": len(seeds), **spanned})
    keep(f"study_{options.base}_kept", options.results, table(figures), kept=figures)


def ranked(model: DualEncoder, data: Path) -> Ranked:
    """What a model finds for each kind of text among the pictures of Flickr8k."""
    pool = read_pool(data / "flickr8k" / "images")
    cache = cache_folder() / "image_features"
    images, good, _ = image_vectors(model, pool.references, cache, HOW)
    items = second_wordings(data)["flickr8k"].items
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


def metrics_of(found: Ranked, theirs: Ranked) -> dict[str, Metric]:
    """The overlap of each kind of text's results with those of base for the caption."""
    metrics = {}
    for text in TEXTS:
        count = found[text].shape[1]
        wanted = np.repeat(theirs["the caption"], count, axis=1).reshape(-1, 10)
        for name, overlap in OVERLAPS.items():
            values = overlap(found[text].reshape(-1, 10), wanted).reshape(-1, count).mean(axis=1)
            metrics[f"{name}, {text}"] = Metric(f"{name}, {text}", values)
    return metrics


def table(figures: Sequence[Mapping[str, Any]]) -> str:
    """A row for each model."""
    found = {
        (one["row"], one["figure"]): spread(Interval(one["value"], one["low"], one["high"]), False)
        for one in figures
    }
    names = [f"{overlap}, {text}" for text in TEXTS for overlap in OVERLAPS]
    rows = dict.fromkeys(row for row, _ in found)
    lines = [[str(row), *(found[row, name] for name in names)] for row in rows]
    seeds = {str(one["row"]): one["seeds"] for one in figures}
    note = (
        "Overlap of what a model finds for each text with what base finds for the caption, in "
        "percent, with 95 % intervals of a bootstrap over captions and seeds ("
        + ", ".join(f"{row} {count}" for row, count in seeds.items() if row != "base")
        + "). 300 captions, four rewordings and a contrast each, among 8,091 pictures."
    )
    return f"{markdown(['', *names], lines)}\n\n{note}"


if __name__ == "__main__":
    main()
