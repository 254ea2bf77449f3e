"""How much of the agreement of two texts is owed to hubs, pictures that many texts find.

    PARACLIP_DATA=folder python -m study.hubs --rows command    # seconds

From the first twenty results that finished cells keep of each text. A hub is a picture that is
among the first ten of more texts of its set than the mean of all pictures and two standard
deviations (Radovanovic et al. 2010); each model has its own. AO@10 is computed with them and with
the next results in their place. Writes `results/study_BASE_hubs.json` and `.md`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import keep
from paraclip.arrays import Integers
from paraclip.evaluation.compare import Stored
from paraclip.evaluation.metrics import average_overlap
from paraclip.evaluation.report import figure as shown
from paraclip.evaluation.report import spread
from paraclip.evaluation.statistics import Interval, Metric
from paraclip.tables import markdown
from study import run
from study.averaged import read_options
from study.cells import cells_of, scores_of
from study.differences import Draws, Metrics, figures_of
from study.tables import SEARCHED
from study.third.searches import CUTOFF, Searches

WITHOUT = "{}, hubs removed"
TAKEN = "results that are hubs"
FIGURES = {"AO@10": "AO@10", "AO@10 contrast": "AO@10 with the contrast"}


def main() -> None:
    """Compare, write and print."""
    options = read_options(str(__doc__).splitlines()[0], run.GRIDS / "fourth" / "main.toml")
    place = run.Place(Path(options.data), options.out)
    model = run.BASES[options.base](place)
    grid = run.grid_of(options.grid, options.base, place)
    sets = run.SETS[grid.sets](place.data)
    searched = [one for one in sets if isinstance(one, Searches)]
    scored: dict[str, dict[int | None, Metrics]] = {}
    for cell in cells_of(grid, model, place.out / "cells" / options.base):
        if cell.row.name in ("base", *options.rows) and (stored := scores_of(cell, sets)):
            scored.setdefault(cell.row.name, {})[cell.seed] = {
                key: metric
                for one in searched
                for key, metric in metrics_without_hubs(one, stored, cell.row.kind).items()
            }
    keys = list(scored["base"][None])
    draws = Draws(run.RESAMPLES["second"], place.out / "draws")
    figures = figures_of(grid.rows, scored, keys, draws, family=())
    keep(f"study_{options.base}_hubs", options.results, table, figures=figures)


def metrics_without_hubs(one: Searches, stored: Stored, label: str) -> Metrics:
    """Agreement with and without hubs, and the share of first results that are hubs."""
    places = stored.items[f"{one.name}/{label}/first_places"].astype(np.int64)
    hubs = find_hubs(places, len(one.pictures))
    moved = move_to_end(places, hubs)
    made = [Metric(TAKEN, hubs[places[:, :CUTOFF]].mean(axis=1))]
    for name, (first, second, clusters) in one.compared().items():
        for title, kept in ((name, places), (WITHOUT.format(name), moved)):
            overlap = average_overlap(kept[first, :CUTOFF], kept[second, :CUTOFF])
            made.append(Metric(title, overlap, clusters=clusters))
    return {(one.name, metric.name): metric for metric in made}


def find_hubs(places: Integers, pictures: int) -> NDArray[np.bool_]:
    """Which pictures of a pool are hubs [pictures].

    Args:
        places: positions of the results of each text, best first [texts, depth].
        pictures: number of pictures of the pool.
    """
    often = np.bincount(places[:, :CUTOFF].ravel(), minlength=pictures)
    found: NDArray[np.bool_] = often > often.mean() + 2 * often.std()
    return found


def move_to_end(places: Integers, hubs: NDArray[np.bool_]) -> Integers:
    """Each text's results with hubs after all others, so that they fill what nothing else does."""
    order = np.argsort(hubs[places], axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1)


def table(record: Mapping[str, Any]) -> str:
    """A line for each set and agreement: with hubs and without, of base and each row."""
    found = {(one["row"], one["benchmark"], one["figure"]): one for one in record["figures"]}
    rows = list(dict.fromkeys(row for row, *_ in found))

    def cells(row: str, place: tuple[str, str]) -> Sequence[str]:
        one = found[row, *place]
        changes = [Interval(**change["difference"]) for change in one["against"]
                   if change["row"] == "base"]  # fmt: skip
        value = shown(one["value"]["value"])
        return [value] if row == "base" else [value, *(spread(change, True) for change in changes)]

    lines = [
        [label, *(cell for row in rows for cell in cells(row, (benchmark, figure)))]
        for benchmark, said in SEARCHED.items()
        for figure, label in (
            (TAKEN, f"{TAKEN}, {said}"),
            *((name.format(one), f"{name.format(text)}, {said}")
              for one, text in FIGURES.items() for name in ("{}", WITHOUT)),
        )
        if ("base", benchmark, figure) in found
    ]  # fmt: skip
    heads = [head for row in rows for head in ([row] if row == "base" else [row, f"{row} − base"])]
    note = (
        "Percent. A hub is among the first ten of more texts than the mean of the pool's pictures "
        "and two standard deviations; each model has its own. Without them, the next of the first "
        "twenty results take their places. Brackets: 95 % interval of a bootstrap over items."
    )
    return f"{markdown(['', *heads], lines)}\n\n{note}"


if __name__ == "__main__":
    main()
