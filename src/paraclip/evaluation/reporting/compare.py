"""What changed between two models, by how much, and whether it counts.

For every figure that both have: the difference with its 95 % interval from a bootstrap over items
(paired where both were scored on the same items: they then see the same draws), a p-value of it,
and that p-value after Holm's correction over all figures compared. Several runs of a model (seeds)
are a second level of the bootstrap.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Metric
from paraclip.evaluation.reporting.report import Line
from paraclip.evaluation.reporting.stored import Stored
from paraclip.evaluation.reporting.unlike import unlike
from paraclip.evaluation.scoring.bootstrap import Interval, interval, resample
from paraclip.evaluation.scoring.significance import holm, over_seeds, p_value

Float = NDArray[np.floating]

LEVEL = 0.05
APART = 1_000_003  # added to the seed of the second model where nothing is paired


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two models compared, as one run or several.

    Args:
        label: of the model in its reports.
        runs: a report for each seed.
    """

    label: str
    runs: tuple[Stored, ...]

    @property
    def name(self) -> str:
        """Label with its file, for people."""
        first = self.runs[0].path
        more = f" and {len(self.runs) - 1} more" if len(self.runs) > 1 else ""
        return f"{self.label} ({first.parent.name}/{first.name}{more})"


@dataclass(frozen=True)
class Row:
    """One figure of both models, in percent (correlations times 100).

    Args:
        benchmark: where it is from.
        metric: its name.
        items: how many items of the first model.
        paired: whether both were scored on the same items.
        first: figure of the first model, mean over its seeds.
        second: of the second.
        difference: second less first with its interval.
        p: two-sided p-value of no difference.
        adjusted: the same after Holm's correction over all rows.
    """

    benchmark: str
    metric: str
    items: int
    paired: bool
    first: float
    second: float
    difference: Interval
    p: float
    adjusted: float

    @property
    def counts(self) -> bool:
        """Whether the difference counts at the 5 % level."""
        return self.adjusted < LEVEL


@dataclass(frozen=True)
class Comparison:
    """Two models set against each other.

    Args:
        first: name of the first.
        second: name of the second.
        seeds: runs of either.
        rows: a figure each.
        warnings: what makes the comparison less than fair, each a sentence with names.
    """

    first: str
    second: str
    seeds: tuple[int, int]
    rows: tuple[Row, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Drawing:
    """How the bootstrap is done.

    Args:
        resamples: draws.
        seed: of the draws.
        every_metric: take figures too that are no headlines.
    """

    resamples: int = 5000
    seed: int = 0
    every_metric: bool = False


def compare(pairs: Sequence[tuple[Side, Side]], how: Drawing) -> list[Comparison]:
    """Compare each first with its second; Holm's correction is over the figures of all pairs.

    Raises:
        UserError: two have no figure in common, or the items are missing.
    """
    found = [(first, second, *compare_rows(first, second, how)) for first, second in pairs]
    adjusted = iter(holm([row.p for _, _, rows, _ in found for row in rows]))
    return [
        Comparison(
            first.name, second.name, (len(first.runs), len(second.runs)),
            tuple(with_adjusted(row, next(adjusted)) for row in rows), warnings,
        )
        for first, second, rows, warnings in found
    ]  # fmt: skip


def with_adjusted(row: Row, adjusted: float) -> Row:
    """The row with its corrected p-value."""
    return Row(**{**vars(row), "adjusted": adjusted})


def compare_rows(first: Side, second: Side, how: Drawing) -> tuple[list[Row], tuple[str, ...]]:
    """All figures in common, and what is unlike."""
    warnings: list[str] = []
    rows = []
    for benchmark, lines in shared_lines(first, second, how.every_metric):
        sections = [
            (run.path, run.report, run.section(benchmark), side.label)
            for side in (first, second)
            for run in side.runs
        ]
        told, same = unlike(benchmark, sections)
        warnings += told
        rows += [compare_line(first, second, benchmark, line, how, same) for line in lines]
    if not rows:
        what = f"has no figure in common with {second.name}"
        raise UserError(first.name, what, "Evaluate both in the same benchmarks.")
    return rows, tuple(dict.fromkeys([*warnings, *alone(first, second)]))


def shared_lines(first: Side, second: Side, every_metric: bool) -> Iterator[tuple[str, list[Line]]]:
    """Benchmarks that all runs have, with the figures that all runs have."""
    runs = [(run, side.label) for side in (first, second) for run in side.runs]
    for section in runs[0][0].report.sections:
        names = [run.scored(section.name, label) for run, label in runs]
        if all(names):
            wanted = (line for line in section.lines if line.headline or every_metric)
            if lines := [line for line in wanted if all(line.name in known for known in names)]:
                yield section.name, lines


def alone(first: Side, second: Side) -> list[str]:
    """A warning for each benchmark in which not every run was scored."""
    runs = [(run, side.label) for side in (first, second) for run in side.runs]
    names = dict.fromkeys(section.name for run, _ in runs for section in run.report.sections)
    return [
        f"{name} is left out: {run.path} has none of {label}"
        for name in names
        for run, label in runs
        if not run.scored(name, label)
    ]


def compare_line(
    first: Side, second: Side, benchmark: str, line: Line, how: Drawing, same: bool
) -> Row:
    """One figure."""
    ones, others = (
        [run.metric(benchmark, line, side.label) for run in side.runs] for side in (first, second)
    )
    paired = same and len({len(metric.items) for metric in (*ones, *others)}) == 1
    drawn = drawn_difference(ones, others, how, paired)
    was, now = (100 * float(np.mean([m.value() for m in side])) for side in (ones, others))
    difference = interval(now - was, drawn)
    size = len(ones[0].items)
    return Row(benchmark, line.name, size, paired, was, now, difference, p_value(drawn), 1.0)


def drawn_difference(
    ones: Sequence[Metric], others: Sequence[Metric], how: Drawing, paired: bool
) -> Float:
    """Resampled differences [resamples] in percent, second less first.

    As many runs of one as of the other are paired in their order; else runs are drawn apart.
    """
    first = drawn_runs(ones, how, how.seed)
    second = drawn_runs(others, how, how.seed if paired else how.seed + APART)
    if len(first) == len(second):
        return over_seeds(second - first, how.seed)
    return over_seeds(second, how.seed + APART) - over_seeds(first, how.seed)


def drawn_runs(runs: Sequence[Metric], how: Drawing, seed: int) -> Float:
    """Resamples of every run [runs, resamples], in percent, all with the same draws."""
    return np.stack([100 * resample(metric, how.resamples, seed) for metric in runs])
