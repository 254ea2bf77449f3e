"""The study: what tuning on paraphrases gains, and why, under the protocol of `study/README.md`.

    PARACLIP_DATA=folder python -m study.run                         # everything, hours
    PARACLIP_DATA=folder python -m study.run --cells 'a/main/*/0'    # a part
    PARACLIP_DATA=folder python -m study.run --cells none            # tables alone

A cell is BASE/GRID/ROW/SEED, such as `a/main/consistent/2`; the base's own is `a/main/base`. Grids
are the files of `development/`, which choose settings, and `report/`, which report with settings
frozen; those of `second/`, `third/` and `fourth/` are named `second_GRID` and so on. Bases: a,
`clip-small` of `recipes/clip_small`; a1 and a2, the same pre-trained with other seeds; early, with
fewer passes; half, on half of the pictures; b, `mini` aligned on the same captions. A finished cell
is not repeated and a stopped one resumes; a grid that has a finished cell gets
`results/study_BASE_GRID.json`, its tables and its plots. These take minutes for the fourth report:
with `--no-tables`, cells are trained and scored alone, and a pattern that fits no cell, such as
`a/fourth_main/none`, makes the tables. Several runs may share a folder if they have no row in
common.
"""

import argparse
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.evaluation import mini
from benchmarks.machine import keep, parse_with_data, say
from paraclip.cli import keep_freed_memory
from paraclip.errors import UserError
from paraclip.evaluation.compare import Stored
from paraclip.evaluation.plots import plot_scores
from paraclip.evaluation.report import Line, Report, Section
from paraclip.evaluation.statistics import Interval
from paraclip.files import text_hash, write_text
from paraclip.training.sources import BASE
from study.banks import PICTURES, bank_file, training_pictures
from study.cells import (
    Cell,
    Grid,
    cells_of,
    content_of_grid,
    name_of_grid,
    named_in,
    read_grid,
    run_cell,
    scores_of,
    weights_of,
)
from study.differences import (
    Draws,
    Figure,
    ManyDraws,
    Metrics,
    figures_of,
    metrics_of,
    units_of,
)
from study.plots import trade_off
from study.sets import SETS
from study.tables import (
    ALL_LABELS,
    GOALS,
    KIND_LABELS,
    LABELS,
    LABELS_OF,
    PLOTTED,
    REPORT_LABELS,
    RESULTS,
    TASK_LABELS,
    read_goals,
    tables_of,
)
from study.triples import texts_file, triples_file

GRIDS = Path(__file__).parent
FOLDERS = ("development", "report", "second", "third", "fourth", "paper")
IMAGES = GRIDS / "images"
RESAMPLES = {
    "quick": 5_000, "development": 5_000, "report": 24_000, "second": 36_000, "kinds": 48_000,
    "languages-dev": 12_000, "languages-test": 12_000, "fourth": 100_000,
    "paper": 12_000,
}  # fmt: skip
"""So many that Holm's correction over the differences of a table leaves marks possible."""
MORE_RESAMPLES = {"temperatures": 36_000}
"""Grids with so many rows that their correction takes more."""
MEANS_ALONE = 1_000
"""Resamples of the tables that show means and no marks."""
SINGLED_OUT = ("main", "variations", "second_main", "second_main_b")
"""Grids with further tables: each STS task, and each kind of rewording."""
EARLY_EPOCHS = 4
"""Passes of the base early: of 2, 3, 4 and the 7 of a, those with the best development R@10."""


@dataclass(frozen=True)
class Place:
    """Folders of the research data, of the runs, of tables with JSON, and of plots."""

    data: Path
    out: Path
    results: Path = RESULTS
    images: Path = IMAGES


def clip_small(place: Place, name: str = "clip-small", **options: Any) -> Path:
    """The folder of a base like a, pre-trained with other options unless it is there."""
    folder = place.out / name
    if not (folder / "open_clip_config.json").exists():
        from recipes.clip_small import pretrain

        pretrain.main(_arguments(place, folder, options))
    return folder


def _arguments(place: Place, folder: Path, options: Mapping[str, Any]) -> list[str]:
    """The command line of a recipe of `recipes/clip_small`."""
    given = {"data": place.data / "flickr8k", "out": folder, **options}
    return [text for name, value in given.items() for text in (f"--{name}", str(value))]


def aligned_mini(place: Place) -> Path:
    """The checkpoint of base b, aligned as `evaluation/mini.py` does unless it is there."""
    return mini.aligned(place.data, place.out / "mini")


def clip_teacher(place: Place, name: str = "clip-teacher", **options: Any) -> Path:
    """The folder of a teacher like c, which is trained with other options unless it is there."""
    folder = place.out / name
    if not (folder / "open_clip_config.json").exists():
        from recipes.clip_small import teacher

        start = {"start": options.get("start") or aligned_mini(place)}
        teacher.main(_arguments(place, folder, {**options, **start}))
    return folder


def half_of_the_pictures(place: Place, name: str, *, first: bool) -> Path:
    """A file of the names of half of the training pictures, written unless it is there."""
    path = place.out / f"{name}.txt"
    if not path.exists():
        names = sorted(picture.name for picture in training_pictures(place.data))
        random.Random(0).shuffle(names)
        middle = len(names) // 2
        write_text(path, "\n".join(names[:middle] if first else names[middle:]) + "\n")
    return path


def half(place: Place) -> Path:
    """The folder of a base like a that knows half of the training pictures."""
    pictures = half_of_the_pictures(place, "clip-small-half", first=True)
    return clip_small(place, "clip-small-half", pictures=pictures)


def other_half(place: Place) -> Path:
    """The folder of a teacher like c that knows the other half, from MiniLM as it comes."""
    pictures = half_of_the_pictures(place, "clip-teacher-half", first=False)
    return clip_teacher(place, "clip-teacher-half", start="mini", pictures=pictures)


BASES: Mapping[str, Callable[[Place], Path]] = {
    "a": clip_small,
    "a1": partial(clip_small, name="clip-small-1", seed=1),
    "a2": partial(clip_small, name="clip-small-2", seed=2),
    "early": partial(clip_small, name="clip-small-early", epochs=EARLY_EPOCHS),
    "half": half,
    "b": aligned_mini,
}
TEACHERS: Mapping[str, Callable[[Place], Path]] = {
    **BASES, "c": clip_teacher, "other half": other_half,
}  # fmt: skip
"""Models by the name that a grid gives them as teachers."""
USUAL_BASES = ("a", "b")
"""Bases of the grids that name none."""
OPTIONS_OF_BASE: Mapping[str, Mapping[str, Any]] = {
    "b": {"epochs": 4, "learning_rate": 5e-5, "dropout": 0.1},
}
"""In place of the common options of a grid without `bases`."""


def grid_files() -> list[Path]:
    """Grids in the order in which they are run: development first, then main, then the others."""
    found = [path for name in FOLDERS for path in GRIDS.glob(f"{name}/*.toml")
             if path.name != GOALS]  # fmt: skip
    return sorted(found, key=lambda path: (path.parent.name, path.stem != "main", path.stem))


def run_grid(
    path: Path, base: str, place: Place, patterns: Sequence[str], tables: bool = True
) -> list[str]:
    """Run the wanted cells of a grid and write its results, if wanted; returns the failed cells."""
    root, bases = place.out / "cells" / base, content_of_grid(path).get("bases")
    heads = ["/".join(pattern.split("/")[:2]) for pattern in patterns]
    here = f"{base}/{name_of_grid(path)}"
    wanted = [head for head in heads if fnmatch(here, head) or head == "*"]
    if not (wanted or ("none" in patterns and root.is_dir())) or base not in (bases or USUAL_BASES):
        return []
    grid, model = grid_of(path, base, place), BASES[base](place)
    sets = SETS[grid.sets](place.data)
    root.mkdir(parents=True, exist_ok=True)
    failed = []
    cells = list(cells_of(grid, model, root))
    for pattern in patterns:
        for number, cell in enumerate(cells, start=1):
            name = cell_name(base, grid, cell)
            if not fnmatch(name, pattern) or scores_of(cell, sets):
                continue
            say(f"[{number}/{len(cells)}] {name}")
            try:
                run_cell(cell, model, sets)
            except UserError as error:
                failed.append(f"{name}: {error}")
    finished = {cell: found for cell in cells if (found := scores_of(cell, sets))}
    if finished and tables:
        write_results(base, grid, finished, place)
    return failed


def grid_of(path: Path, base: str, place: Place) -> Grid:
    """A grid with its files: triples and banks, made unless they are there."""
    made, model = place.out / "triples", BASES[base](place)
    vectors = place.out / "banks" / text_hash(" ".join(weights_of(model)))
    makers: dict[str, Callable[[str], Path]] = {
        "triples": lambda name: triples_file(name, place.data, made),
        "texts": lambda name: texts_file(name, place.data, made),
        "bank": lambda name: bank_file(name, model, place.data, vectors),
        "teacher": lambda name: TEACHERS[name](place),
    }
    files = {
        option: {name: make(name) for name in named_in(path, option) - {PICTURES, BASE}}
        for option, make in makers.items()
    }
    further = {} if "bases" in content_of_grid(path) else OPTIONS_OF_BASE.get(base, {})
    return read_grid(path, further, files)


def cell_name(base: str, grid: Grid, cell: Cell) -> str:
    """BASE/GRID/ROW/SEED; without a seed for a base."""
    seed = "" if cell.seed is None else f"/{cell.seed}"
    return f"{base}/{grid.name}/{cell.row.name}{seed}"


def draws_of(name: str, sets: str, out: Path) -> Draws:
    """The draws of the items of a grid."""
    resamples = MORE_RESAMPLES.get(name, RESAMPLES[sets])
    return (ManyDraws if sets in LABELS_OF else Draws)(resamples, out / "draws")


def write_results(base: str, grid: Grid, finished: Mapping[Cell, Stored], place: Place) -> None:
    """Write the JSON, the tables and the plots of what is finished."""
    scored: dict[str, dict[int | None, Metrics]] = {}
    for cell, stored in finished.items():
        found = metrics_of(stored, cell.row.kind, ALL_LABELS)
        scored.setdefault(cell.row.name, {})[cell.seed] = found
    declares = grid.sets in REPORT_LABELS
    declared = read_goals(grid.sets, base) if declares else []
    goals = [one for one in declared if one["row"] in scored]
    family = {(one["row"], (one["benchmark"], one["figure"])) for one in goals}
    figures = figures_of(
        grid.rows, scored, list(LABELS_OF.get(grid.sets, LABELS)),
        draws_of(grid.name, grid.sets, place.out), family if declares else None,
    )  # fmt: skip
    sections = next(iter(finished.values())).report.sections
    name, first = f"study_{base}_{grid.name}", next(iter(scored.values()))
    units = units_of(next(iter(first.values())))
    variants = {row: dict(variant) for row, variant in grid.variants.items()}
    record: dict[str, Any] = {
        "base": base, "kind": grid.sets,
        "sets": {section.name: section.pool for section in sections}, "units": units,
        "settings": {"common": dict(grid.common), "variants": variants}, "figures": figures,
    }  # fmt: skip
    record |= {"goals": goals} if declares else {}
    keep(name, place.results, tables_of, **record)
    for more, labels in (("tasks", TASK_LABELS), ("kinds", KIND_LABELS)):
        single = f"{name}_{more}"
        if grid.name in SINGLED_OUT:
            single_figures = figures_of(
                grid.rows, scored, list(labels), Draws(MEANS_ALONE, place.out / "draws")
            )
            keep(single, place.results, tables_of, base=base, figures=single_figures, units=units)
    place.images.mkdir(parents=True, exist_ok=True)
    wanted = PLOTTED.get(grid.sets, tuple(LABELS))
    shown = [one for one in figures if (one["benchmark"], one["figure"]) in wanted]
    if plot := plot_scores(as_report(shown, sections)):
        (place.images / f"{name}.png").write_bytes(plot)
    trade_off(record, place.images / f"{name}_trade_off.png")


def as_report(figures: Sequence[Figure], sections: Sequence[Section]) -> Report:
    """The figures as a report over rows, for the plots."""
    lines: dict[tuple[str, str], Line] = {}
    items = {(section.name, line.name): line for section in sections for line in section.lines}
    for one in figures:
        key = one["benchmark"], one["figure"]
        empty = Line(key[1], True, items[key].items, {}, {}, items[key].statistic)
        line = lines.setdefault(key, empty)
        line.values[one["row"]] = Interval(**one["value"])
        for change in one["against"]:
            if change["row"] == "base":
                line.differences[f"{one['row']} - base"] = Interval(**change["difference"])
    converted = [
        Section(section.name, section.pool, section.data, found)
        for section in sections
        if (found := [lines[key] for key in ALL_LABELS if key[0] == section.name and key in lines])
    ]
    return Report({row: {} for row in dict.fromkeys(one["row"] for one in figures)}, converted, {})


def main() -> int:
    """Every grid on every base, as far as it is wanted."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--cells", nargs="+", default=["*"], help="patterns of BASE/GRID/ROW/SEED")
    made.add_argument("--no-tables", action="store_true", help="train and score alone")
    made.add_argument("--out", type=Path, default=Path("runs/study"), help="folder of the runs")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of tables and JSON")
    made.add_argument("--images", type=Path, default=IMAGES, help="folder of plots")
    options = parse_with_data(made)
    keep_freed_memory()
    place = Place(Path(options.data), options.out, options.results, options.images)
    failed = [
        name
        for base in BASES
        for path in grid_files()
        for name in run_grid(path, base, place, options.cells, not options.no_tables)
    ]
    for name in failed:
        print(f"failed: {name}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
