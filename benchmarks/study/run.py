"""The study: what tuning on paraphrases gains, and why, under the protocol of `docs/results.md`.

    PARACLIP_DATA=folder python -m benchmarks.study.run                         # everything, hours
    PARACLIP_DATA=folder python -m benchmarks.study.run --cells 'a/main/*/0'    # a part
    PARACLIP_DATA=folder python -m benchmarks.study.run --cells none            # tables alone

A cell is BASE/GRID/ROW/SEED, such as `a/main/consistent/2`; the base's own is `a/main/base`. Grids
are the files of `study/development/`, which choose settings, and `study/report/`, which report
with settings frozen. Bases: a, `clip-small` of `recipes/clip_small`; b, `mini` aligned on the same
captions. A finished cell is not repeated and a killed one resumes; every grid that has a finished
cell gets `results/study_BASE_GRID.json` and `.md`, and a plot in `docs/images/`.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from benchmarks.evaluation import mini
from benchmarks.machine import RESULTS, keep, parse_with_data, say
from benchmarks.study.plots import IMAGES, trade_off
from benchmarks.study.sets import HOW, SETS
from benchmarks.study.tables import (
    KIND_LABELS,
    LABELS,
    TASK_LABELS,
    KeptDraws,
    as_json,
    differences_tables,
    gains_table,
    means_table,
    overview_table,
    short_table,
    wanted_figures,
)
from benchmarks.study.triples import named_files, replayed_file
from paraclip.ablation.cells import CellEvaluation
from paraclip.ablation.config import AblateConfig
from paraclip.ablation.grid import Grid, read_grid
from paraclip.ablation.plan import Cell, make_plan
from paraclip.ablation.results import Results, assemble_results, scored_by_row
from paraclip.ablation.study import Study
from paraclip.ablation.table import as_report
from paraclip.allocator import keep_freed_memory
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Benchmark
from paraclip.evaluation.plots import plot_scores
from paraclip.files import cache_folder, locked

ROOT = Path(__file__).parents[2]
GRIDS = Path(__file__).parent
RESAMPLES = {"development": 5_000, "report": 24_000}
"""So many that Holm's correction over the differences of a table leaves marks possible."""
MORE_RESAMPLES = {"temperatures": 36_000}
"""Grids with so many rows that their correction takes more."""
MEANS_ALONE = 1_000
"""Resamples of the tables that show means and no marks."""
SINGLED_OUT = ("main", "variations")
"""Grids with further tables: each STS task, and each kind of rewording."""


@dataclass(frozen=True)
class Place:
    """Where a run of the study reads and writes.

    Args:
        data: research data.
        out: folder of bases, triples, cells and draws.
        results: folder of tables and JSON.
        images: folder of plots.
    """

    data: Path
    out: Path
    results: Path = RESULTS
    images: Path = IMAGES


def clip_small(place: Place) -> Path:
    """The folder of base a, pre-trained unless it is there."""
    folder = place.out / "clip-small"
    if not (folder / "open_clip_config.json").exists():
        sys.path.insert(0, str(ROOT))
        from recipes.clip_small import pretrain

        pretrain.main(["--data", str(place.data / "flickr8k"), "--out", str(folder)])
    return folder


def aligned_mini(place: Place) -> Path:
    """The checkpoint of base b, aligned as `evaluation/mini.py` does unless it is there."""
    return mini.aligned(place.data, place.out / "mini")


BASES: Mapping[str, Callable[[Place], Path]] = {"a": clip_small, "b": aligned_mini}
OPTIONS_OF_BASE: Mapping[str, Mapping[str, Any]] = {
    "b": {"epochs": 4, "learning_rate": 5e-5, "weight_decay": 0.01, "dropout": 0.1}
}
"""Options in place of a grid's common ones: the rates of `evaluation/flickr8k.py`."""


class Part(Study):
    """A grid of which the wanted cells alone are run.

    Attributes:
        base: letter of the base.
        patterns: of the names of the wanted cells.
    """

    base: str
    patterns: Sequence[str]

    def unfinished(self) -> Iterator[tuple[int, Cell]]:
        """Wanted cells that are not finished, with their numbers, in the order of the patterns."""
        left = {cell: number for number, cell in super().unfinished()}
        for pattern in self.patterns:
            for cell in [one for one in left if self.is_named(one, pattern)]:
                yield left.pop(cell), cell

    def is_named(self, cell: Cell, pattern: str) -> bool:
        """Whether the pattern fits the cell's name."""
        return fnmatch(cell_name(self.base, self.plan.grid, cell), pattern)

    def write(self) -> None:
        """Nothing after each cell: the tables are made once, at the end."""


def cell_name(base: str, grid: Grid, cell: Cell) -> str:
    """BASE/GRID/ROW/SEED; without a seed for a base."""
    seed = "" if cell.seed is None else f"/{cell.seed}"
    return f"{base}/{grid.path.stem}/{cell.row.name}{seed}"


def kind_of(path: Path) -> str:
    """`development` or `report`: which sets score a grid."""
    return path.parent.name


def resamples_of(path: Path) -> int:
    """Bootstrap resamples of a grid's tables."""
    return MORE_RESAMPLES.get(path.stem, RESAMPLES[kind_of(path)])


def grid_files(folder: Path) -> list[Path]:
    """Grids in the order in which they are run: development first, then main, then the others."""
    found = [*folder.glob("development/*.toml"), *folder.glob("report/*.toml")]
    return sorted(found, key=lambda path: (kind_of(path), path.stem != "main", path.stem))


def study_of(path: Path, base: str, place: Place, sets: Sequence[Benchmark]) -> Part:
    """The study of a grid on a base, with its triples written."""
    grid = on_base(with_replay(read_grid(path), place), base)
    options = [{**grid.common, **variant} for variant in grid.variants.values()]
    names = {str(one.get("triples", "strong")) for one in options}
    folder = place.out / kind_of(path)
    config = AblateConfig(
        grid=str(path), model=str(BASES[base](place)),
        triples=named_files(names, place.data, place.out / "triples"),
        out=str(folder / base / grid.path.stem), cells=str(folder / base / "cells"),
        resamples=resamples_of(path),
    )  # fmt: skip
    settings = {
        "k": (10,), "precision": HOW.precision, "seed": 0, "resamples": 100,
        "cache": cache_folder() / "image_features", "results": cache_folder() / "results",
    }  # fmt: skip
    plan = make_plan(grid, config)
    part = Part(plan, CellEvaluation(sets, settings), config)
    part.base = base
    return part


def with_replay(grid: Grid, place: Place) -> Grid:
    """A grid with the file of the training captions where a variant names `captions`."""
    named = {
        name: {**one, "replay": str(replayed_file(place.data, place.out / "triples"))}
        for name, one in grid.variants.items()
        if one.get("replay") == "captions"
    }
    return replace(grid, variants={**grid.variants, **named})


def on_base(grid: Grid, base: str) -> Grid:
    """A grid with the common options of a base."""
    return replace(grid, common={**grid.common, **OPTIONS_OF_BASE.get(base, {})})


def run_grid(path: Path, base: str, place: Place, patterns: Sequence[str]) -> list[str]:
    """Run the wanted cells of a grid and write its results; returns the failed cells."""
    if not any(is_part(pattern, base, path.stem) for pattern in patterns):
        return []
    if "none" in patterns and not (place.out / kind_of(path) / base / "cells").is_dir():
        return []
    part = study_of(path, base, place, SETS[kind_of(path)](place.data))
    part.patterns = patterns
    with locked(part.plan.root):
        part.find()
        for number, cell in list(part.unfinished()):
            say(f"[{number}/{len(part.plan.cells)}] {cell_name(base, part.plan.grid, cell)}")
            part.attempt(cell)
    if part.finished:
        write_results(part, place)
    return part.failed_names()


def is_part(pattern: str, base: str, grid: str) -> bool:
    """Whether a pattern may name cells of this grid; `none` names none and is a part of all."""
    head = "/".join(pattern.split("/")[:2])
    return pattern in ("*", "none") or fnmatch(f"{base}/{grid}", head)


def write_results(part: Part, place: Place) -> None:
    """Write the tables, the JSON and the plots of what is finished."""
    grid, first = part.plan.grid, next(iter(part.finished.values()))
    draws = KeptDraws(part.config.resamples, place.out / "draws")
    scored, rows = scored_by_row(part.finished), part.plan.rows
    results = assemble_results(rows, scored, wanted_figures(first, LABELS), draws)
    name = f"study_{part.base}_{grid.path.stem}".replace("-", "_")
    facts: dict[str, Any] = {
        "kind": kind_of(grid.path),
        "sets": {section.name: section.pool for section in first.report.sections},
        "settings": {
            "common": grid.common,
            "variants": {row: dict(variant) for row, variant in grid.variants.items()},
        },
        "figures": as_json(results), "failed": part.failed_names(),
    }  # fmt: skip
    keep(name, place.results, means_table(results), base=part.base, **facts)
    for more, text in further_tables(grid, results).items():
        keep(f"{name}_{more}", place.results, text, base=part.base)
    if grid.path.stem in SINGLED_OUT:
        write_single_figures(part, place, name)
    place.images.mkdir(parents=True, exist_ok=True)
    plot_scores(as_report(results, first.report.sections), place.images / f"{name}.png")
    trade_off(facts, place.images / f"{name}_trade_off.png")


def further_tables(grid: Grid, results: Results) -> Mapping[str, str]:
    """The tables of differences and of a few figures, by the end of their names."""
    tables = {"differences": differences_tables(results)}
    if grid.path.stem == "main":
        return tables | {"gains": gains_table(results), "short": short_table(results)}
    return tables | {"overview": overview_table(results)}


def write_single_figures(part: Part, place: Place, name: str) -> None:
    """Write the tables of the STS tasks and of the kinds of rewording, one by one."""
    first, draws = next(iter(part.finished.values())), KeptDraws(MEANS_ALONE, place.out / "draws")
    scored, rows = scored_by_row(part.finished), part.plan.rows
    for more, labels in (("tasks", TASK_LABELS), ("kinds", KIND_LABELS)):
        results = assemble_results(rows, scored, wanted_figures(first, labels), draws)
        if results.figures:
            text, figures = means_table(results), as_json(results)
            keep(f"{name}_{more}", place.results, text, base=part.base, figures=figures)


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--cells", nargs="+", default=["*"], help="patterns of BASE/GRID/ROW/SEED")
    made.add_argument("--out", type=Path, default=Path("runs/study"), help="folder of the runs")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of table and JSON")
    made.add_argument("--images", type=Path, default=IMAGES, help="folder of plots")
    return made


def main() -> int:
    """Every grid on every base, as far as it is wanted."""
    keep_freed_memory()
    options = parse_with_data(parser())
    place = Place(Path(options.data), options.out, options.results, options.images)
    failed: list[str] = []
    for base in BASES:
        for path in grid_files(GRIDS):
            try:
                failed += run_grid(path, base, place, options.cells)
            except UserError as error:
                failed.append(f"{base}/{path.stem}: {error}")
    for name in failed:
        print(f"failed: {name}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
