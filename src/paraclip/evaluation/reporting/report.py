"""The report of an evaluation: its figures, its JSON, and its table for the console."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from paraclip.data.untrusted_json import read_json_object
from paraclip.errors import UserError, printable
from paraclip.evaluation.benchmark import LOWER_IS_BETTER
from paraclip.evaluation.reporting.tables import aligned, counts, figure
from paraclip.evaluation.scoring.bootstrap import Interval
from paraclip.evaluation.scoring.significance import MARGIN, not_inferior
from paraclip.files import text_hash, write_text

FORMAT = "paraclip-report-1"
HINT = "Name a report.json written by `paraclip evaluate`."


def null_as_nan(interval: Any) -> Any:
    """An interval from JSON, with null as NaN."""
    if not isinstance(interval, dict):
        return interval
    return {name: math.nan if value is None else value for name, value in interval.items()}


Intervals = dict[str, Annotated[Interval, BeforeValidator(null_as_nan)]]


@dataclass(frozen=True)
class Line:
    """One figure of every model, in percent (correlations times 100).

    Args:
        name: name of the metric.
        headline: whether it is in the short table and the plot.
        items: number of items.
        values: figure with its interval, by model.
        differences: paired difference with its interval, by "tuned - base".
        statistic: "mean", "spearman" or "pearson", over the items; None in older reports.
    """

    name: str
    headline: bool
    items: int
    values: Intervals
    differences: Intervals
    statistic: str | None = None


@dataclass(frozen=True)
class Section:
    """One benchmark.

    Args:
        name: name on the command line.
        pool: description of what is searched or compared, with its size.
        data: sources, hashes, sizes.
        lines: its figures.
        notes: remarks that qualify the figures.
        made: how the scores of each model were computed: weights hash, data hash, pool size,
            precision, seed, time, seconds, and whether they are from an earlier run.
    """

    name: str
    pool: str
    data: dict[str, Any]
    lines: Annotated[list[Line], Field(alias="metrics")]
    notes: list[str] = field(default_factory=list)
    made: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def data_hash(self) -> str:
        """Sixteen hex digits that identify the data and the pool."""
        return data_hash(self.pool, self.data)


def data_hash(pool: str, data: dict[str, Any]) -> str:
    """A hash that identifies a benchmark's data."""
    return text_hash(json.dumps([pool, data], sort_keys=True, default=str))


@dataclass(frozen=True)
class Report:
    """All benchmarks of all models.

    Args:
        models: facts about each model (weights, architecture) by its label, in order.
        sections: one section per benchmark.
        provenance: versions, machine, command, time, settings.
    """

    models: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    sections: Annotated[list[Section], Field(alias="benchmarks")]
    provenance: dict[str, Any]

    def line(self, name: str) -> Line | None:
        """The first figure with that name."""
        lines = (line for section in self.sections for line in section.lines)
        return next((line for line in lines if line.name == name), None)

    def table(self) -> str:
        """The headline figures as text: one column per model, with differences from base."""
        labels = list(self.models)
        rows, last = [["", *labels]], None
        for section, name, cells in headline_rows(self):
            if section != last:
                rows.append([section])
            rows.append([f"  {name}", *cells])
            last = section
        notes = [f"{section.name}: {section.pool}" for section in self.sections]
        notes += [f"{section.name}: {note}" for section in self.sections for note in section.notes]
        return "\n".join(map(printable, [*aligned(rows), "", *notes, legend(labels)])).rstrip()


def compared_with(labels: list[str]) -> list[str]:
    """The models that others are compared with: base, or else the first; and control."""
    base = "base" if "base" in labels else labels[0]
    return [base, *(label for label in labels if label == "control" and label != base)]


def headline_rows(report: Report) -> Iterator[tuple[str, str, list[str]]]:
    """Benchmark, metric and one cell per model, for every headline figure."""
    labels = list(report.models)
    base = compared_with(labels)[0]
    for section in report.sections:
        for line in section.lines:
            if line.headline:
                yield section.name, line.name, [cell(line, label, base) for label in labels]


def cell(line: Line, label: str, base: str) -> str:
    """One model's figure with its difference from base and the marks of `legend`."""
    value = figure(line.values[label].value)
    difference = line.differences.get(f"{label} - {base}")
    if difference is None:
        return value
    marks = "*" if counts(difference) else ""
    marks += "≥" if not_inferior(difference, line.name in LOWER_IS_BETTER) else ""
    return f"{value} ({figure(difference.value, True)}{marks:2})"


def legend(labels: list[str]) -> str:
    """The meaning of the brackets of `cell`; empty for one model."""
    if len(labels) < 2:
        return ""
    base = compared_with(labels)[0]
    return (
        f"In brackets: difference from {base}; * its 95 % interval excludes 0; ≥ not inferior: the "
        f"interval excludes a loss of {MARGIN:g} point or more."
    )


def write_json(report: Report, path: Path | str) -> None:
    """Write the whole report; undefined figures are null."""
    content = {
        "format": FORMAT,
        "program": "ParaCLIP",
        "unit": "percent; correlations times 100; intervals are 95 % bootstrap percentiles",
        "models": report.models,
        "benchmarks": [section_as_dict(section) for section in report.sections],
        "provenance": report.provenance,
    }
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def section_as_dict(section: Section) -> dict[str, Any]:
    """One benchmark as a JSON-serialisable dict."""
    metrics = [
        {
            "name": line.name, "headline": line.headline, "items": line.items,
            "statistic": line.statistic,
            "values": {label: as_dict(value) for label, value in line.values.items()},
            "differences": {label: as_dict(value) for label, value in line.differences.items()},
        }
        for line in section.lines
    ]  # fmt: skip
    return {
        "name": section.name, "pool": section.pool, "data": section.data,
        "data_hash": section.data_hash, "made": section.made, "metrics": metrics,
        "notes": section.notes,
    }  # fmt: skip


def as_dict(interval: Interval) -> dict[str, float | None]:
    """An interval as a dict, with NaN as None for JSON."""
    return {
        name: round(value, 4) if math.isfinite(value) else None
        for name, value in vars(interval).items()
    }


def read_report(path: Path | str) -> Report:
    """Read a file that `write_json` wrote.

    Raises:
        UserError: the file is missing, or is not a report: every part is checked.
    """
    content = read_json_object(path, HINT)
    try:
        if content.get("format") != FORMAT:
            raise ValueError(f"its format is {content.get('format')!r}")
        return TypeAdapter(Report).validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise UserError(path, f"is not a ParaCLIP report ({reason})", HINT) from error
    except ValueError as error:
        raise UserError(path, f"is not a ParaCLIP report ({error})", HINT) from error
