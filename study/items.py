"""The score of every item of the cells of reports, small enough for the repository.

    python -m study.items --keep a/second_main a/fourth_main   # of cells, after study.run
    python -m study.items                                      # recompute figures; minutes

`REPORT/items/BASE_GRID.npz` has the items of each cell's main figures (`tables.KEPT`): values that
repeat as a table and codes, exactly; the cosines of a rank correlation as their rank in 256 steps,
which changes a correlation by less than 0.1 points. The second command computes values, intervals
and differences from these files alone, and exits with 1 if one differs from `results/` by more.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZIP_LZMA, ZipFile

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import parse_with_data, say
from paraclip.arrays import Float, read_arrays
from paraclip.evaluation.statistics import Metric
from paraclip.files import atomic_path
from study import run
from study.cells import Row, cells_of, name_of_grid, scores_of
from study.differences import Draws, Metrics, Scored, figures_of, metrics_of
from study.tables import KEPT, RESULTS

REPORTS = Path(__file__).parent
"""The files of a report are in its folder."""
STEPS = 256
TOLERANCE = 0.1
"""In points, as much as a table shows."""


class Packed:
    """Arrays by number, each once."""

    def __init__(self) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}
        self.numbers: dict[tuple[Any, ...], str] = {}

    def add(self, array: NDArray[Any] | None) -> str | None:
        """The name of an array; None for none."""
        if array is None:
            return None
        name = self.numbers.setdefault(
            (array.dtype.str, array.shape, array.tobytes()), str(len(self.numbers))
        )
        self.arrays[name] = array
        return name

    def coded(self, values: Float) -> list[str | None]:
        """The names of the table of the values and of the place of each value [items] in it."""
        table, places = np.unique(values, return_inverse=True)
        return [self.add(table), self.add(smallest(places))]

    def items(self, metric: Metric) -> list[list[str | None]]:
        """The names of what `unpacked` makes the items of; a list for each column."""
        if metric.statistic == "mean":
            return [self.coded(metric.items)]
        cosines, gold = metric.items.T
        ranks = np.searchsorted(np.sort(cosines), cosines)
        return [self.coded(ranks * STEPS // len(ranks)), self.coded(gold)]


def smallest(numbers: NDArray[np.integer]) -> NDArray[np.integer]:
    """Numbers in the smallest type that holds them."""
    return numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))))


def write_items(path: Path, rows: Sequence[Row], scored: Scored) -> None:
    """Write the figures of the cells with their items."""
    packed, cells = Packed(), []
    for row in rows:
        for seed, metrics in scored.get(row.name, {}).items():
            found = [
                {"key": key, "statistic": one.statistic, "items": packed.items(one),
                 "groups": packed.add(None if one.groups is None else smallest(one.groups)),
                 "clusters": packed.add(None if one.clusters is None else smallest(one.clusters))}
                for key, one in metrics.items()
            ]  # fmt: skip
            cells.append({"row": row.name, "seed": seed, "figures": found})
    named = [{"name": row.name, "kind": row.kind, "control": row.control,
              "reference": row.reference} for row in rows if row.name in scored]  # fmt: skip
    index = np.array(json.dumps({"rows": named, "cells": cells}))
    path.parent.mkdir(parents=True, exist_ok=True)
    # numpy reads what zipfile does, but writes no LZMA, which takes a tenth less.
    with atomic_path(path) as temporary, ZipFile(temporary, "w", ZIP_LZMA) as parts:
        for name, array in {"index": index, **packed.arrays}.items():
            with parts.open(f"{name}.npy", "w") as part:
                np.lib.format.write_array(part, array, allow_pickle=False)


def read_items(path: Path) -> tuple[list[Row], Scored]:
    """The rows of a file with their figures."""
    arrays = read_arrays(path)
    index = json.loads(str(arrays["index"]))
    rows = [Row(one["name"], one["kind"], {}, None, one["control"], one["reference"])
            for one in index["rows"]]  # fmt: skip
    scored: dict[str, dict[int | None, Metrics]] = {row.name: {} for row in rows}

    def metric_of(one: Mapping[str, Any]) -> Metric:
        columns = [arrays[table][arrays[places]] for table, places in one["items"]]
        items = columns[0] if len(columns) == 1 else np.stack(columns, axis=1).astype(np.float64)
        parts = (None if one[name] is None else arrays[one[name]].astype(np.int64)
                 for name in ("groups", "clusters"))  # fmt: skip
        return Metric(one["key"][1], items, one["statistic"], *parts)

    for cell in index["cells"]:
        found = {tuple(one["key"]): metric_of(one) for one in cell["figures"]}
        scored[cell["row"]][cell["seed"]] = found
    return rows, scored


def differing(path: Path, record: Mapping[str, Any], draws: Draws) -> list[str]:
    """The figures of a stored record that the items of a file do not give."""
    rows, scored = read_items(path)
    made = {(one["row"], one["benchmark"], one["figure"]): one
            for one in figures_of(rows, scored, KEPT[record["kind"]], draws)}  # fmt: skip
    stored = {(one["row"], one["benchmark"], one["figure"]): one for one in record["figures"]}
    return [
        f"{path.stem}: {', '.join(key)}"
        for key, one in made.items()
        if key not in stored or np.abs(numbers_of(one) - numbers_of(stored[key])).max() > TOLERANCE
    ]


def numbers_of(figure: Mapping[str, Any]) -> Float:
    """A figure's value and differences with their intervals, in one row."""
    found = [figure["value"], *(change["difference"] for change in figure["against"])]
    return np.array([[one["value"], one["low"], one["high"]] for one in found]).ravel()


def keep_items(name: str, place: run.Place, reports: Path = REPORTS) -> Path:
    """Write the items of the finished cells of BASE/GRID into the folder of its report."""
    base, _, grid_name = name.partition("/")
    (path,) = (path for path in run.grid_files() if name_of_grid(path) == grid_name)
    grid = run.grid_of(path, base, place)
    sets = run.SETS[grid.sets](place.data)
    scored: dict[str, dict[int | None, Metrics]] = {}
    for cell in cells_of(grid, run.BASES[base](place), place.out / "cells" / base):
        if stored := scores_of(cell, sets):
            metrics = metrics_of(stored, cell.row.kind, KEPT[grid.sets])
            scored.setdefault(cell.row.name, {})[cell.seed] = metrics
    file = reports / path.parent.name / "items" / f"{base}_{grid_name}.npz"
    write_items(file, grid.rows, scored)
    return file


def main() -> int:
    """Keep items, or compare those that are kept with the results."""
    made = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    made.add_argument("--keep", nargs="+", default=[], help="BASE/GRID whose items are written")
    made.add_argument("--out", type=Path, default=Path("runs/study"), help="folder of the runs")
    options = parse_with_data(made)
    for name in options.keep:
        path = keep_items(name, run.Place(Path(options.data), options.out))
        say(f"{path}: {path.stat().st_size:,} bytes")
    if options.keep:
        return 0
    differ: list[str] = []
    for path in sorted(REPORTS.glob("*/items/*.npz")):
        record = json.loads((RESULTS / f"study_{path.stem}.json").read_text("utf-8"))
        grid = path.stem.partition("_")[2]
        differ += differing(path, record, run.draws_of(grid, record["kind"], options.out))
    for line in differ:
        print(f"differs: {line}", file=sys.stderr)
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
