"""Figures of the rows over seeds, and their differences from base and control.

Differences from a further row, the reference, are included if the grid names one.

Intervals and differences come from one bootstrap: all cells use the same draws of the items, and
runs are drawn as a second level. All p-values of the table, over rows, figures and both
comparisons, form one family for Holm's correction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paraclip.ablation.plan import Cell, GridRow
from paraclip.errors import UserError, nearest
from paraclip.evaluation.compare import Stored
from paraclip.evaluation.report import Line
from paraclip.evaluation.statistics import (
    LEVEL,
    LOWER_IS_BETTER,
    Interval,
    holm,
    interval,
    over_seeds,
    p_value,
    resample,
)

Float = NDArray[np.floating]


@dataclass(frozen=True)
class TableFigure:
    """A column of the table."""

    benchmark: str  # its benchmark
    line: Line  # line of the report

    @property
    def name(self) -> str:
        """Name in the table's header."""
        return self.line.name


@dataclass(frozen=True)
class Change:
    """Difference of a row's figure from that of its base or control."""

    against: str  # name of the other row
    difference: Interval  # in percent, with its interval
    p: float  # two-sided, of no difference
    adjusted: float = 1.0  # the same after Holm's correction over the table
    lower: bool = False  # whether lower is better

    @property
    def verdict(self) -> int:
        """1 if better beyond chance, -1 if worse, else 0."""
        if not self.adjusted < LEVEL:
            return 0
        return 1 if (self.difference.value > 0) != self.lower else -1


@dataclass(frozen=True)
class TableEntry:
    """One figure of one row."""

    value: Interval  # mean over the seeds in percent, with its interval
    # difference from base; None for base itself and until base is scored
    base: Change | None = None
    control: Change | None = None  # difference from the control, over the seeds that both have
    # difference from the grid's reference, over the seeds that both have
    reference: Change | None = None

    @property
    def changes(self) -> list[Change]:
        """The differences that are not None."""
        all_changes = (self.base, self.control, self.reference)
        return [change for change in all_changes if change is not None]


@dataclass(frozen=True)
class Results:
    """The table of the finished cells."""

    figures: tuple[TableFigure, ...]  # its columns
    rows: tuple[GridRow, ...]  # rows with at least one finished seed
    seeds: Mapping[str, tuple[int, ...]]  # finished seeds by row; empty for base
    entries: Mapping[tuple[str, int], TableEntry]  # by row and index of the figure

    @property
    def changes(self) -> list[Change]:
        """All comparisons."""
        return [change for entry in self.entries.values() for change in entry.changes]


class Draws:
    """Bootstrap resamples of the figures of cells, cached.

    Args:
        resamples: number of draws.
        seed: seed of the draws; the same for all cells, so that differences are paired.
    """

    def __init__(self, resamples: int, seed: int = 0) -> None:
        self.resamples, self.seed = resamples, seed
        self.known: dict[tuple[Path, str, str], tuple[float, Float]] = {}

    def of(self, stored: Stored, label: str, figure: TableFigure) -> tuple[float, Float]:
        """Value and resamples [resamples] of a figure of a cell, in percent."""
        key = (stored.path, figure.benchmark, figure.name)
        if key not in self.known:
            metric = stored.metric(figure.benchmark, figure.line, label)
            drawn = 100 * resample(metric, self.resamples, self.seed)
            self.known[key] = 100 * metric.value(), drawn
        return self.known[key]


Scored = Mapping[str, Mapping[int | None, Stored]]
"""Reports of the finished cells by row and seed; base has the seed None."""


def figures_of(
    stored: Stored, wanted: Sequence[str], missing: bool = False
) -> tuple[TableFigure, ...]:
    """The columns: the requested figures in order; by default every headline figure."""
    figures = [
        TableFigure(section.name, line)
        for section in stored.report.sections
        for line in section.lines
    ]
    names = [figure.name for figure in figures]
    for name in wanted:
        if name not in names and not missing:
            what = "is not a figure of the grid's benchmarks"
            raise UserError(f"figures: {name}", what, nearest(name, names))
    chosen = tuple(figure for name in wanted for figure in figures if figure.name == name)
    return chosen or tuple(figure for figure in figures if figure.line.headline)


def assemble_results(
    rows: Sequence[GridRow], scored: Scored, figures: Sequence[TableFigure], draws: Draws
) -> Results:
    """The table of all scored cells."""
    scored_rows = tuple(row for row in rows if scored.get(row.name))
    seeds = {row.name: tuple(s for s in scored[row.name] if s is not None) for row in scored_rows}
    entries: dict[tuple[str, int], TableEntry] = {}
    for index, figure in enumerate(figures):
        column = Column({row.name: row for row in scored_rows}, scored, figure, draws)
        entries |= {(row.name, index): column.entry(row) for row in scored_rows}
    return Results(tuple(figures), scored_rows, seeds, corrected(entries))


@dataclass(frozen=True)
class Column:
    """One figure of all rows."""

    rows: Mapping[str, GridRow]  # by name
    scored: Scored  # reports of the cells
    figure: TableFigure  # the figure
    draws: Draws  # draws of the bootstrap

    def entry(self, row: GridRow) -> TableEntry:
        """The row's value and its differences."""
        values, drawn = self.runs(row, list(self.scored[row.name]))
        value = interval(float(values.mean()), over_seeds(drawn, self.draws.seed))
        others = (row.base, row.control, row.reference)
        return TableEntry(value, *(self.change(row, name) for name in others))

    def change(self, row: GridRow, name: str | None) -> Change | None:
        """Difference of a row from another, over the seeds that both have; base has no seed."""
        other = self.rows.get(name or "")
        if other is None:
            return None
        mine, theirs = self.scored[row.name], self.scored[other.name]
        common = list(mine) if other.kind == "base" else [seed for seed in mine if seed in theirs]
        if not common:
            return None
        values, drawn = self.runs(row, common)
        others, others_drawn = self.runs(other, [None] if other.kind == "base" else common)
        changed = over_seeds(drawn - others_drawn, self.draws.seed)
        difference = interval(float(values.mean() - others.mean()), changed)
        lower = self.figure.name in LOWER_IS_BETTER
        return Change(other.name, difference, p_value(changed), lower=lower)

    def runs(self, row: GridRow, seeds: Sequence[int | None]) -> tuple[Float, Float]:
        """Values [seeds] and resamples [seeds, resamples] of a row."""
        cells = [self.scored[row.name][seed] for seed in seeds]
        draws = [self.draws.of(stored, row.kind, self.figure) for stored in cells]
        return np.array([value for value, _ in draws]), np.stack([drawn for _, drawn in draws])


def corrected(entries: dict[tuple[str, int], TableEntry]) -> dict[tuple[str, int], TableEntry]:
    """The entries with Holm's correction over all comparisons."""
    adjusted = iter(holm([one.p for entry in entries.values() for one in entry.changes]))

    def with_adjusted(change: Change | None) -> Change | None:
        return None if change is None else replace(change, adjusted=next(adjusted))

    return {
        key: replace(
            entry,
            base=with_adjusted(entry.base),
            control=with_adjusted(entry.control),
            reference=with_adjusted(entry.reference),
        )
        for key, entry in entries.items()
    }


def scored_by_row(finished: Mapping[Cell, Stored]) -> Scored:
    """Reports of cells by row and seed."""
    by_row: dict[str, dict[int | None, Stored]] = {}
    for cell, stored in finished.items():
        by_row.setdefault(cell.row.name, {})[cell.seed] = stored
    return by_row
