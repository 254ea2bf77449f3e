"""Differences between two models, with their intervals and p-values.

Each figure of both models gets its difference with a 95 % interval from a bootstrap over items
(paired, with the same draws, if both were scored on the same items), the p-value, and the p-value
after Holm's correction over all figures. Several runs of a model (seeds) are a second level of the
bootstrap.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from paraclip.errors import UserError, printable
from paraclip.evaluation.benchmark import LOWER_IS_BETTER, Metric
from paraclip.evaluation.config import CompareConfig
from paraclip.evaluation.reporting.report import Line
from paraclip.evaluation.reporting.sides import ComparedModel, choose_pairs
from paraclip.evaluation.reporting.stored import differences_in_origin
from paraclip.evaluation.reporting.tables import aligned, figure, spread
from paraclip.evaluation.scoring.bootstrap import Interval, interval, resample
from paraclip.evaluation.scoring.significance import MARGIN, holm, not_inferior, over_seeds, p_value

Float = NDArray[np.floating]

LEVEL = 0.05
APART = 1_000_003  # added to the seed of the second model if draws are not paired
HEAD = ["", "items", "first", "second", "difference [95 %]", "p", "Holm", "counts", "not inferior"]


@dataclass(frozen=True)
class Difference:
    """One figure of both models, in percent (correlations times 100).

    Args:
        benchmark: name of the benchmark.
        metric: name of the metric.
        items: number of items of the first model.
        paired: whether both were scored on the same items.
        first: figure of the first model, mean over its seeds.
        second: figure of the second model.
        difference: second minus first, with its interval.
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
        """Whether the difference is significant at the 5 % level."""
        return self.adjusted < LEVEL

    @property
    def not_inferior(self) -> bool:
        """Whether the interval excludes that the second is worse by the margin or more."""
        return not_inferior(self.difference, self.metric in LOWER_IS_BETTER)

    @property
    def gain(self) -> float:
        """The difference, positive if the second is better."""
        return -self.difference.value if self.metric in LOWER_IS_BETTER else self.difference.value


@dataclass(frozen=True)
class Comparison:
    """The figures of two models.

    Args:
        first: name of the first.
        second: name of the second.
        seeds: number of runs of each model.
        rows: one row per figure.
        warnings: differences in data, precision or versions, each a sentence with names.
    """

    first: str
    second: str
    seeds: tuple[int, int]
    rows: tuple[Difference, ...]
    warnings: tuple[str, ...]

    def table(self) -> str:
        """Warnings, figures and verdict as text for the console."""
        lines = [f"warning: {warning}" for warning in self.warnings]
        lines += [f"first:  {self.first}", f"second: {self.second}", ""]
        rows: list[list[str]] = [HEAD]
        for benchmark, members in groupby(self.rows, lambda row: row.benchmark):
            rows += [[benchmark], *map(cells, members)]
        return "\n".join(map(printable, [*lines, *aligned(rows), "", *verdict(self)]))


@dataclass(frozen=True)
class Drawing:
    """Settings of the bootstrap."""

    resamples: int = 5000  # number of draws
    seed: int = 0  # seed of the draws
    every_metric: bool = False  # also compare metrics that are not headlines


def compare_reports(config: CompareConfig) -> list[Comparison]:
    """Compare the models that the options select.

    Raises:
        UserError: a report is missing or damaged, or the options do not name two models.
    """
    how = Drawing(config.resamples, config.seed, config.all_metrics)
    return compare(choose_pairs(config), how)


def compare(pairs: Sequence[tuple[ComparedModel, ComparedModel]], how: Drawing) -> list[Comparison]:
    """Compare each first with its second; Holm's correction covers the figures of all pairs."""
    compared = [(first, second, *compare_rows(first, second, how)) for first, second in pairs]
    adjusted = iter(holm([row.p for _, _, rows, _ in compared for row in rows]))
    return [
        Comparison(
            first.name, second.name, (len(first.runs), len(second.runs)),
            tuple(replace(row, adjusted=next(adjusted)) for row in rows), warnings,
        )
        for first, second, rows, warnings in compared
    ]  # fmt: skip


def compare_rows(
    first: ComparedModel, second: ComparedModel, how: Drawing
) -> tuple[list[Difference], tuple[str, ...]]:
    """All common figures, and the warnings."""
    warnings: list[str] = []
    rows = []
    for benchmark, lines in shared_lines(first, second, how.every_metric):
        sections = [
            (run.path, run.report, run.section(benchmark), side.label)
            for side in (first, second)
            for run in side.runs
        ]
        unlike, same = differences_in_origin(benchmark, sections)
        warnings += unlike
        rows += [compare_line(first, second, benchmark, line, how, same) for line in lines]
    if not rows:
        what = f"has no figure in common with {second.name}"
        raise UserError(first.name, what, "Evaluate both in the same benchmarks.")
    warnings += [*alone(first, second), *unshared(first, second, how.every_metric)]
    return rows, tuple(dict.fromkeys(warnings))


def shared_lines(
    first: ComparedModel, second: ComparedModel, every_metric: bool
) -> Iterator[tuple[str, list[Line]]]:
    """Common benchmarks of all runs, with their common figures."""
    runs = [(run, side.label) for side in (first, second) for run in side.runs]
    for section in runs[0][0].report.sections:
        names = [run.scored(section.name, label) for run, label in runs]
        if all(names):
            wanted = (line for line in section.lines if line.headline or every_metric)
            if lines := [line for line in wanted if all(line.name in known for known in names)]:
                yield section.name, lines


def alone(first: ComparedModel, second: ComparedModel) -> list[str]:
    """A warning for each benchmark in which not all runs were scored."""
    runs = [(run, side.label) for side in (first, second) for run in side.runs]
    names = dict.fromkeys(section.name for run, _ in runs for section in run.report.sections)
    return [
        f"{name} is left out: {run.path} has none of {label}"
        for name in names
        for run, label in runs
        if not run.scored(name, label)
    ]


def unshared(first: ComparedModel, second: ComparedModel, every_metric: bool) -> Iterator[str]:
    """A warning for each run of a common benchmark that lacks a figure of another run."""
    runs = [(run, side.label) for side in (first, second) for run in side.runs]
    for name in (section.name for section in runs[0][0].report.sections):
        scored = [run.scored(name, label) for run, label in runs]
        if not all(scored):
            continue  # `alone` reports it
        lines = (line for run, _ in runs if (its := run.section(name)) for line in its.lines)
        wanted = [line.name for line in lines if line.headline or every_metric]
        found = [metric for metric in dict.fromkeys(wanted) if any(metric in of for of in scored)]
        for (run, label), known in zip(runs, scored, strict=True):
            if lost := [metric for metric in found if metric not in known]:
                yield f"{name}: {', '.join(lost)} left out: {run.path} has none of {label}"


def compare_line(
    first: ComparedModel,
    second: ComparedModel,
    benchmark: str,
    line: Line,
    how: Drawing,
    same: bool,
) -> Difference:
    """One figure."""
    ones, others = (
        [run.metric(benchmark, line, side.label) for run in side.runs] for side in (first, second)
    )
    paired = same and len({len(metric.items) for metric in (*ones, *others)}) == 1
    drawn = drawn_difference(ones, others, how, paired)
    was, now = (100 * float(np.mean([m.value() for m in side])) for side in (ones, others))
    difference = interval(now - was, drawn)
    size = len(ones[0].items)
    return Difference(benchmark, line.name, size, paired, was, now, difference, p_value(drawn), 1.0)


def drawn_difference(
    ones: Sequence[Metric], others: Sequence[Metric], how: Drawing, paired: bool
) -> Float:
    """Resampled differences [resamples] in percent, second less first.

    Equal numbers of runs are paired in order; otherwise, runs are drawn separately.
    """
    first = drawn_runs(ones, how, how.seed)
    second = drawn_runs(others, how, how.seed if paired else how.seed + APART)
    if len(first) == len(second):
        return over_seeds(second - first, how.seed)
    return over_seeds(second, how.seed + APART) - over_seeds(first, how.seed)


def drawn_runs(runs: Sequence[Metric], how: Drawing, seed: int) -> Float:
    """Resamples of every run [runs, resamples], in percent, all with the same draws."""
    return np.stack([100 * resample(metric, how.resamples, seed) for metric in runs])


def cells(row: Difference) -> list[str]:
    """A row of the table."""
    p, adjusted = (f"{p:.4f}" if math.isfinite(p) else "-" for p in (row.p, row.adjusted))
    return [
        f"  {row.metric}" + ("" if row.paired else " unpaired"), f"{row.items:,}",
        figure(row.first), figure(row.second), spread(row.difference, signed=True), p, adjusted,
        "yes" if row.counts else "no", "yes" if row.not_inferior else "no",
    ]  # fmt: skip


def verdict(comparison: Comparison) -> list[str]:
    """The significant figures, below the table."""
    counting = [row for row in comparison.rows if row.counts]
    better, worse = (
        ", ".join(f"{x.benchmark} {x.metric} {figure(x.difference.value, True)}" for x in rows)
        for rows in ([x for x in counting if x.gain > 0], [x for x in counting if x.gain < 0])
    )
    lines = [
        f"better: {better or 'nothing that counts'}",
        f"worse: {worse or 'nothing that counts'}",
        f"no change that counts: {len(comparison.rows) - len(counting)} of {len(comparison.rows)} "
        "figures",
        f"counts: p under {LEVEL:g} after Holm's correction over all figures compared",
        f"not inferior: {sum(row.not_inferior for row in comparison.rows)} of "
        f"{len(comparison.rows)} figures; the interval excludes a loss of {MARGIN:g} point or more",
    ]
    first, second = comparison.seeds
    if max(first, second) > 1:
        lines.append(f"runs (seeds): {first} of the first, {second} of the second")
    return lines
