"""Differences between two models of stored reports, with intervals and p-values.

Each figure of both models gets its difference with a 95 % interval from a bootstrap over items
(paired, with the same draws, if both were scored on the same items), the p-value, and the p-value
after Holm's correction over all figures. Several runs of a model (seeds) are a second level of the
bootstrap.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paraclip.arrays import read_arrays
from paraclip.errors import UserError
from paraclip.evaluation.report import (
    Comparison,
    Difference,
    Line,
    Report,
    Section,
    compared_with,
    read_report,
)
from paraclip.evaluation.statistics import (
    LEVEL,
    VALUES,
    Interval,
    Metric,
    drawn_difference,
    holm,
    interval,
    p_value,
    resample,
)
from paraclip.files import check_input, file_hash

RESAMPLES = 5000  # whose lowest p-value can count among up to 125 figures
_AGAIN = "Evaluate again."
_UNDEFINED = Interval(math.nan, math.nan, math.nan)


def compare_models(
    column: Mapping[str, Metric], labels: list[str], resamples: int, seed: int
) -> Line:
    """Return a metric of models scored on the same items, by label, with their paired differences;
    values of a model of the report without the metric are undefined."""
    value = {label: 100 * metric.value() for label, metric in column.items()}
    # With one seed, all models have the same draws, so that differences are paired.
    drawn = {label: 100 * resample(metric, resamples, seed) for label, metric in column.items()}
    values = {
        label: interval(value[label], drawn[label]) if label in column else _UNDEFINED
        for label in labels
    }
    base, *control = compared_with(labels)
    differences = {
        f"{one} - {other}": interval(value[one] - value[other], drawn[one] - drawn[other])
        if one in column and other in column
        else _UNDEFINED
        for other in (base, *control)
        for one in labels
        if one not in (base, other)
    }
    first = next(iter(column.values()))
    return Line(first.name, first.headline, len(first.items), values, differences, first.statistic)


def compare(
    *reports: Path | str,
    models: Sequence[str] = (),
    all_metrics: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Comparison]:
    """Compare two models of stored reports, each a report.json or its folder.

    One report: two models in it. Two reports: the models with the same label in both, or the only
    model of each. More reports: each is a seed, and two models in every report are compared.

    Args:
        models: labels of the first and second model; by default base and tuned of every report.
        all_metrics: whether to compare all metrics, not only headlines; Holm's correction covers
            all of them.
        resamples: number of bootstrap resamples; no p-value is below 2 / (resamples + 1).

    Raises UserError for a report that is missing or damaged, or if the arguments do not name two
    models.
    """
    pairs = _choose_pairs([read_stored(path) for path in reports], models)
    found = [(*pair, *_compare_pair(*pair, all_metrics, resamples, seed)) for pair in pairs]
    adjusted = iter(holm([row.p for _, _, rows, _ in found for row in rows]))
    figures = sum(len(rows) for _, _, rows, _ in found)
    too_few = f"nothing can count: {resamples} resamples are too few for {figures} figures"
    # Holm's correction multiplies the lowest p-value by the number of figures.
    coarse = [f"{too_few}; give more"] if figures * 2 / (resamples + 1) >= LEVEL else []
    return [
        Comparison(
            first.name, second.name, (len(first.runs), len(second.runs)),
            tuple(replace(row, adjusted=next(adjusted)) for row in rows), (*warnings, *coarse),
        )
        for first, second, rows, warnings in found
    ]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Stored:
    """A report with the score of every item."""

    path: Path  # path of report.json
    report: Report  # the report
    # arrays of items.npz by name, as `_item_arrays` of `run.py` gives them
    items: dict[str, NDArray[Any]]

    def section(self, name: str) -> Section | None:
        """Return the benchmark with that name."""
        return next((section for section in self.report.sections if section.name == name), None)

    def scored(self, section: str, label: str) -> dict[str, Line]:
        """Return the figures that a model has in a benchmark, by name."""
        stored = self.section(section)
        return {
            line.name: line
            for line in (stored.lines if stored else [])
            if label not in line.values  # `metric` reports it
            or math.isfinite(line.values[label].value)
            or f"{section}/{label}/{line.name}" in self.items
        }

    def metric(self, section: str, line: Line, label: str) -> Metric:
        """Return one figure of one model with its items; raises UserError if they are damaged."""
        key = f"{section}/{label}/{line.name}"
        if line.statistic not in VALUES:
            what = f"does not say how {line.name} of {section} is made of its items"
            raise UserError(self.path, what, _AGAIN)
        items_file = self.path.with_name("items.npz")
        if key not in self.items:
            raise UserError(items_file, f"has no {key}, which report.json has", _AGAIN)
        items = self.items[key]
        groups, clusters = (self.items.get(f"{key}:{part}") for part in ("groups", "clusters"))
        # The shapes and types that `Metric` declares.
        columns = {"mean": (), "sampled_spearman": (3,)}.get(line.statistic, (2,))
        count = items.shape[:1]
        fits = items.dtype.kind in "fiub" and items.shape == (*count, *columns) and items.ndim > 0
        for part, shapes in ((groups, (count, (*count, 2))), (clusters, (count,))):
            fits &= part is None or (part.dtype.kind in "iu" and part.shape in shapes)
        if not fits:
            raise UserError(items_file, f"has arrays of {key} that do not fit together", _AGAIN)
        return Metric(line.name, items, line.statistic, groups, clusters)  # type: ignore[arg-type]


def stored_files(path: str | Path) -> tuple[Path, Path]:
    """Return the report.json that a file or folder names, and its items.npz."""
    path = Path(path)
    path = path / "report.json" if path.is_dir() else path
    return path, path.with_name("items.npz")


def read_stored(path: str | Path) -> Stored:
    """Read report.json (or the folder that contains it) and items.npz in the same folder.

    Raises UserError for a file that is missing, broken, or larger than any that ParaCLIP writes.
    """
    check_input(path)
    path, items = stored_files(path)
    report = read_report(path)
    try:
        arrays, found = read_arrays(items), file_hash(items)
    except FileNotFoundError:
        hint = "Keep report.json and items.npz in one folder."
        raise UserError(items, "is not beside its report", hint) from None
    except (OSError, ValueError) as error:
        raise UserError(items, f"cannot be read ({error})", _AGAIN) from error
    if report.items not in (None, found):
        raise UserError(items, f"has the items of another run than {path.name}", _AGAIN)
    for section in report.sections:
        for line in section.lines:
            names = (f"{section.name}/{label}/{line.name}" for label in line.values)
            # Those of the first model are counted; others may have left out pictures.
            first = next((arrays[name] for name in names if name in arrays), None)
            if first is not None and first.ndim and len(first) != line.items:
                what = f"has {len(first):,} items of {line.name} of {section.name}"
                raise UserError(items, f"{what}, and {path.name} has {line.items:,}", _AGAIN)
    return Stored(path, report, arrays)


@dataclass(frozen=True, eq=False)
class _Side:
    """One of the two models compared; its label must be in all of its reports."""

    label: str  # label of the model in its reports
    runs: tuple[Stored, ...]  # a report for each seed

    def __post_init__(self) -> None:
        for run in self.runs:
            if self.label not in run.report.models:
                hint = f"It has {', '.join(run.report.models)}."
                raise UserError(run.path, f"has no model {self.label!r}", hint)

    @property
    def name(self) -> str:
        first = self.runs[0].path
        more = f" and {len(self.runs) - 1} more" if len(self.runs) > 1 else ""
        return f"{self.label} ({first.parent.name}/{first.name}{more})"


def _choose_pairs(reports: Sequence[Stored], models: Sequence[str]) -> list[tuple[_Side, _Side]]:
    """Return the models to compare; see `compare`."""
    if not reports:
        raise UserError("compare", "no report is given", "Name report.json of an evaluation.")
    if len(models) > 2:
        raise UserError("compare", f"{len(models)} models are named", "Name one or two.")
    if len(reports) != 2 or len(models) == 2:  # two models of the same reports
        labels, runs = list(reports[0].report.models), tuple(reports)
        first = models[0] if len(models) == 2 else compared_with(labels)[0]
        default = "tuned" if "tuned" in labels and first != "tuned" else labels[-1]
        second = models[-1] if models else default
        if first == second:
            what = f"there is no model to compare with {first}"
            raise UserError(reports[0].path, what, "Name another report, or two models.")
        return [(_Side(first, runs), _Side(second, runs))]
    ones, others = (list(stored.report.models) for stored in reports)
    named = [(label, label) for label in models or ones if models or label in others]
    if not named:
        if len(ones) > 1 or len(others) > 1:
            what = "the reports have no model of the same label"
            raise UserError("compare", what, "Name the first and the second model.")
        named = [(ones[0], others[0])]
    return [(_Side(x, (reports[0],)), _Side(y, (reports[1],))) for x, y in named]


def _compare_pair(
    first: _Side, second: _Side, all_metrics: bool, resamples: int, seed: int
) -> tuple[list[Difference], tuple[str, ...]]:
    """Return all common figures of two models, and the warnings."""
    shared, left_out = _shared_lines(first, second, all_metrics)
    rows: list[Difference] = []
    warnings: list[str] = []
    sides = (first, second)
    for benchmark, lines in shared.items():
        unlike, same = _compare_origins(
            benchmark, [(run, side.label) for side in sides for run in side.runs]
        )
        warnings += unlike
        for line in lines:
            ones, others = (
                [run.metric(benchmark, line, side.label) for run in side.runs] for side in sides
            )
            # A model that cannot read a picture has fewer items of the same data.
            paired = same and len({len(metric.items) for metric in (*ones, *others)}) == 1
            drawn = drawn_difference(ones, others, resamples, seed, paired)
            was, now = (100 * float(np.mean([m.value() for m in side])) for side in (ones, others))
            rows.append(
                Difference(
                    benchmark, line.name, len(ones[0].items), paired, was, now,
                    interval(now - was, drawn), p_value(drawn), adjusted=1.0,  # by `compare`
                )
            )  # fmt: skip
    if not rows:
        what = f"has no figure in common with {second.name}"
        raise UserError(first.name, what, "Evaluate both in the same benchmarks.")
    return rows, tuple(dict.fromkeys([*warnings, *left_out]))


def _shared_lines(
    first: _Side, second: _Side, all_metrics: bool
) -> tuple[dict[str, list[Line]], list[str]]:
    """Return the figures that all runs have, by benchmark, and a warning for each other one."""
    runs = [(run, side.label) for side in (first, second) for run in side.runs]
    shared: dict[str, list[Line]] = {}
    warnings: list[str] = []
    for name in dict.fromkeys(section.name for run, _ in runs for section in run.report.sections):
        scored = [run.scored(name, label) for run, label in runs]
        if not all(scored):
            warnings += [
                f"{name} is left out: {run.path} has none of {label}"
                for (run, label), known in zip(runs, scored, strict=True)
                if not known
            ]
            continue
        # Reversed, so that the first run decides what is a headline.
        every = {n: line for known in reversed(scored) for n, line in known.items()}
        lines = {n: line for n, line in every.items() if line.headline or all_metrics}
        for (run, label), known in zip(runs, scored, strict=True):
            if lost := [n for n in lines if n not in known]:
                what = f"{', '.join(lost)} left out: {run.path} has none of {label}"
                warnings.append(f"{name}: {what}")
        if common := [x for n, x in lines.items() if all(n in known for known in scored)]:
            shared[name] = common
    return shared, warnings


def _compare_origins(benchmark: str, runs: Sequence[tuple[Stored, str]]) -> tuple[list[str], bool]:
    """Return warnings about runs unlike the first, and whether all are on the same items."""
    warnings: list[str] = []
    same = True
    (run, label), *rest = runs
    for other, other_label in rest:
        section, compared = run.section(benchmark), other.section(benchmark)
        if section is None or compared is None:
            continue
        both = f"{benchmark}: {run.path} and {other.path}"
        skipped = [  # as `left_out` of `benchmark.py` writes them
            [note for note in one.notes if " left out: " in note] for one in (section, compared)
        ]
        if section.data_hash != compared.data_hash:
            same = False
            facts, others = ({"pool in words": s.pool, **s.data} for s in (section, compared))
            unlike = ", ".join(_unlike_facts(facts, others))
            warnings.append(f"{both} were made with other data ({unlike}); nothing is paired")
        elif skipped[0] != skipped[1]:
            same = False
            warnings.append(f"{both} have left out other items; nothing is paired")
        made = _made_with(run, section, label), _made_with(other, compared, other_label)
        warnings += [f"{both} were made with other {fact}" for fact in _unlike_facts(*made, "({})")]
    return warnings, same


def _unlike_facts(one: dict[str, Any], other: dict[str, Any], form: str = "{}") -> list[str]:
    """Return the names of the facts that differ, each with both values, cut to 60 characters."""
    found = []
    for name in {**one, **other}:
        if one.get(name) != other.get(name):
            first, second = (
                text if len(text) <= 60 else f"{text[:57]}..."
                for text in (str(one.get(name)), str(other.get(name)))
            )
            found.append(f"{name} " + form.format(f"{first} and {second}"))
    return found


def _made_with(run: Stored, section: Section, label: str) -> dict[str, Any]:
    """Return precision and versions used for a model's figures in a benchmark."""
    versions = run.report.provenance.get("versions")
    versions = versions if isinstance(versions, dict) else {}
    named = {f"{name} version": versions.get(name) for name in ("paraclip", "torch")}
    return {"precision": section.made.get(label, {}).get("precision"), **named}
