"""What the finished cells say: each row's figures over seeds, and what counts against what.

A figure's interval and its differences come from one bootstrap: all cells see the same draws of the
items (they were scored on the same ones), and runs are drawn as a second level. Every p-value of
the table, over all rows, figures and both comparisons, is one family for Holm's correction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paraclip.ablation.plan import Cell, Row
from paraclip.errors import UserError, nearest
from paraclip.evaluation.benchmark import LOWER_IS_BETTER
from paraclip.evaluation.reporting.compare import LEVEL
from paraclip.evaluation.reporting.report import Line
from paraclip.evaluation.reporting.stored import Stored
from paraclip.evaluation.scoring.bootstrap import Interval, interval, resample
from paraclip.evaluation.scoring.significance import holm, over_seeds, p_value

Float = NDArray[np.floating]


@dataclass(frozen=True)
class Figure:
    """A column of the table.

    Args:
        benchmark: whose.
        line: the figure as a report has it.
    """

    benchmark: str
    line: Line

    @property
    def name(self) -> str:
        """As the table's head has it."""
        return self.line.name


@dataclass(frozen=True)
class Change:
    """A row's figure set against that of its base or its control.

    Args:
        against: name of the other row.
        difference: in percent, with its interval.
        p: two-sided, of no difference.
        adjusted: the same after Holm's correction over the table.
        lower: whether less is better.
    """

    against: str
    difference: Interval
    p: float
    adjusted: float = 1.0
    lower: bool = False

    @property
    def verdict(self) -> int:
        """1: better beyond chance; -1: worse; 0: no difference that counts."""
        if not self.adjusted < LEVEL:
            return 0
        return 1 if (self.difference.value > 0) != self.lower else -1


@dataclass(frozen=True)
class Entry:
    """One figure of one row.

    Args:
        value: mean over the seeds in percent, with its interval.
        base: against base; None for base itself and where base is not scored.
        control: against the control with the same settings, on the seeds that both have.
    """

    value: Interval
    base: Change | None = None
    control: Change | None = None

    @property
    def changes(self) -> list[Change]:
        """Those of the two that there are."""
        return [change for change in (self.base, self.control) if change is not None]


@dataclass(frozen=True)
class Results:
    """The table as far as it is done.

    Args:
        figures: its columns.
        rows: of which at least one seed is done.
        seeds: the seeds that are done, by row; none for base.
        entries: by row and place of the figure.
    """

    figures: tuple[Figure, ...]
    rows: tuple[Row, ...]
    seeds: Mapping[str, tuple[int, ...]]
    entries: Mapping[tuple[str, int], Entry]

    @property
    def changes(self) -> list[Change]:
        """Everything that was tested."""
        return [change for entry in self.entries.values() for change in entry.changes]


class Draws:
    """Resamples of the figures of cells, each drawn once.

    Args:
        resamples: draws.
        seed: of the draws; the same for all cells, so that differences are paired.
    """

    def __init__(self, resamples: int, seed: int = 0) -> None:
        self.resamples, self.seed = resamples, seed
        self.known: dict[tuple[Path, str, str], tuple[float, Float]] = {}

    def of(self, stored: Stored, label: str, figure: Figure) -> tuple[float, Float]:
        """Value and resamples [resamples] of a figure of a cell, in percent."""
        key = (stored.path, figure.benchmark, figure.name)
        if key not in self.known:
            metric = stored.metric(figure.benchmark, figure.line, label)
            drawn = 100 * resample(metric, self.resamples, self.seed)
            self.known[key] = 100 * metric.value(), drawn
        return self.known[key]


Scored = Mapping[str, Mapping[int | None, Stored]]
"""Reports of the finished cells by row and seed; base has the seed None."""


def figures_of(stored: Stored, wanted: Sequence[str], missing: bool = False) -> tuple[Figure, ...]:
    """The columns: the wanted figures in order, else every headline figure.

    Args:
        stored: the report of a cell.
        wanted: names of figures.
        missing: whether some may be missing (the benchmarks are not the grid's own).

    Raises:
        UserError: a wanted one is in no benchmark.
    """
    found = [
        Figure(section.name, line) for section in stored.report.sections for line in section.lines
    ]
    names = [figure.name for figure in found]
    for name in wanted:
        if name not in names and not missing:
            what = "is a figure of no benchmark of the grid"
            raise UserError(f"figures: {name}", what, nearest(name, names))
    chosen = tuple(figure for name in wanted for figure in found if figure.name == name)
    return chosen or tuple(figure for figure in found if figure.line.headline)


def assemble(
    rows: Sequence[Row], scored: Scored, figures: Sequence[Figure], draws: Draws
) -> Results:
    """The table of all cells that are scored."""
    done = tuple(row for row in rows if scored.get(row.name))
    seeds = {row.name: tuple(s for s in scored[row.name] if s is not None) for row in done}
    entries: dict[tuple[str, int], Entry] = {}
    for place, figure in enumerate(figures):
        column = Column({row.name: row for row in done}, scored, figure, draws)
        entries |= {(row.name, place): column.entry(row) for row in done}
    return Results(tuple(figures), done, seeds, corrected(entries))


@dataclass(frozen=True)
class Column:
    """One figure of all rows.

    Args:
        rows: by name.
        scored: reports of the cells.
        figure: which.
        draws: of the bootstrap.
    """

    rows: Mapping[str, Row]
    scored: Scored
    figure: Figure
    draws: Draws

    def entry(self, row: Row) -> Entry:
        """The row's value and what it is set against."""
        values, drawn = self.runs(row, list(self.scored[row.name]))
        value = interval(float(values.mean()), over_seeds(drawn, self.draws.seed))
        return Entry(value, self.change(row, row.base), self.change(row, row.control))

    def change(self, row: Row, name: str | None) -> Change | None:
        """The row against another, on the seeds that both have; base is the same on each."""
        other = self.rows.get(name or "")
        if other is None:
            return None
        mine, theirs = self.scored[row.name], self.scored[other.name]
        common = list(mine) if other.kind == "base" else [seed for seed in mine if seed in theirs]
        if not common:
            return None
        values, drawn = self.runs(row, common)
        against, beside = self.runs(other, [None] if other.kind == "base" else common)
        changed = over_seeds(drawn - beside, self.draws.seed)
        difference = interval(float(values.mean() - against.mean()), changed)
        lower = self.figure.name in LOWER_IS_BETTER
        return Change(other.name, difference, p_value(changed), lower=lower)

    def runs(self, row: Row, seeds: Sequence[int | None]) -> tuple[Float, Float]:
        """Values [seeds] and resamples [seeds, resamples] of a row."""
        cells = [self.scored[row.name][seed] for seed in seeds]
        found = [self.draws.of(stored, row.kind, self.figure) for stored in cells]
        return np.array([value for value, _ in found]), np.stack([drawn for _, drawn in found])


def corrected(entries: dict[tuple[str, int], Entry]) -> dict[tuple[str, int], Entry]:
    """The same with Holm's correction over all tests."""
    adjusted = iter(holm([one.p for entry in entries.values() for one in entry.changes]))

    def with_adjusted(change: Change | None) -> Change | None:
        return None if change is None else replace(change, adjusted=next(adjusted))

    return {
        key: replace(entry, base=with_adjusted(entry.base), control=with_adjusted(entry.control))
        for key, entry in entries.items()
    }


def scored_by_row(found: Mapping[Cell, Stored]) -> Scored:
    """Reports of cells by row and seed."""
    by_row: dict[str, dict[int | None, Stored]] = {}
    for cell, stored in found.items():
        by_row.setdefault(cell.row.name, {})[cell.seed] = stored
    return by_row
