"""What base and a tuned model find together, and what the tuned one loses of base's right results.

    PARACLIP_DATA=folder python -m study.oracles --rows taught "starter taught"    # seconds

From the results that finished cells of the third report keep of each text. The oracle finds a right
picture if either model has one among its first ten. Of the texts that find theirs with base at the
first rank, or at ranks 6 to 10, some find none among the first ten of the tuned model: these are
lost. Writes `results/study_BASE_oracles.json` and `.md`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import keep, markdown
from paraclip.evaluation.metrics import shared_results
from paraclip.evaluation.report import figure as shown
from study import run
from study.averaged import read_options
from study.cells import cells_of, scores_of
from study.tables import SEARCHED

SETS = {**SEARCHED, "image-text-retrieval": "text to image, Flickr8k test"}
CUTOFF = 10
FIGURES = {
    "base": "R@10 of base", "tuned": "R@10 of the row", "oracle": "oracle",
    "lost_first": "rank 1 lost", "lost_last": "ranks 6 to 10 lost", "stayed": "results that stay",
}  # fmt: skip
Kept = Mapping[str, NDArray[Any]]
"""Arrays of a model and set: `first_places`, `first_scores` and `first_rank`, a row for a text."""


def main() -> None:
    """Compare, write and print."""
    options = read_options(str(__doc__).splitlines()[0], run.GRIDS / "third" / "main.toml")
    place = run.Place(Path(options.data), options.out)
    model = run.BASES[options.base](place)
    grid = run.grid_of(options.grid, options.base, place)
    sets = run.SETS[grid.sets](place.data)
    found: dict[str, list[dict[str, Kept]]] = {}
    for cell in cells_of(grid, model, place.out / "cells" / options.base):
        if cell.row.name in ("base", *options.rows) and (stored := scores_of(cell, sets)):
            kept = {name: kept_of(stored.items, f"{name}/{cell.row.kind}/") for name in SETS}
            found.setdefault(cell.row.name, []).append(kept)
    (base,) = found.pop("base")
    lines = [
        {"set": name, "row": row, "seeds": len(cells), **means}
        for name in SETS if base[name]
        for row, cells in found.items()
        for means in [mean_of(compare(base[name], cell[name]) for cell in cells)]
    ]  # fmt: skip
    keep(f"study_{options.base}_oracles", options.results, table, oracles=lines)


def kept_of(items: Kept, place: str) -> Kept:
    """The arrays of a model and set; none if the set was not scored."""
    names = ("first_places", "first_rank")
    return {name: items[place + name] for name in names if place + name in items}


def compare(base: Kept, row: Kept) -> dict[str, float]:
    """The figures of a row, in percent, over the texts of which a right picture is known."""
    known = base["first_rank"] >= 0
    theirs, mine = base["first_rank"][known], row["first_rank"][known]
    before, after = theirs < CUTOFF, mine < CUTOFF
    first, last = theirs == 0, (theirs >= CUTOFF // 2) & before
    places = (kept["first_places"][known, :CUTOFF].astype(np.int64) for kept in (base, row))
    shares = {
        "base": before, "tuned": after, "oracle": before | after,
        "lost_first": ~after[first], "lost_last": ~after[last],
        "stayed": shared_results(*places) / CUTOFF,
    }  # fmt: skip
    return {
        name: 100 * float(values.mean()) if len(values) else float("nan")
        for name, values in shares.items()
    }


def mean_of(cells: Iterator[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each figure over the seeds."""
    found = list(cells)
    return {name: float(np.mean([one[name] for one in found])) for name in FIGURES}


def table(record: Mapping[str, Any]) -> str:
    """A line for each set and row."""
    lines = [
        [f"{SETS[one['set']]}, *{one['row']}*", *(shown(one[name]) for name in FIGURES)]
        for one in record["oracles"]
    ]
    seeds = ", ".join(f"{row} {count}" for row, count in dict.fromkeys(
        (one["row"], one["seeds"]) for one in record["oracles"]))  # fmt: skip
    note = (
        "Percent, mean over seeds. The oracle has a right picture among the first ten if base or "
        "the row has one. *Lost*: base has the right picture at the first rank, or at ranks 6 to "
        "10, and the row has none among its first ten. *Results that stay*: share of base's first "
        f"ten that are among the row's. Seeds: {seeds}."
    )
    return f"{markdown(['set and row', *FIGURES.values()], lines)}\n\n{note}"


if __name__ == "__main__":
    main()
