"""Figures as text, and the two forms of a table: aligned for the console, Markdown for files."""

import html
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from paraclip.data.untrusted_json import read_json_object
from paraclip.errors import UserError, printable
from paraclip.evaluation.statistics import LOWER_IS_BETTER, MARGIN, Interval, not_inferior
from paraclip.files import text_hash, write_text


def figure(value: float, signed: bool = False) -> str:
    """A figure with one decimal; a dash if undefined."""
    if not math.isfinite(value):
        return "-"
    rounded = round(value, 1) + 0.0  # no minus zero
    return f"{rounded:+.1f}" if signed else f"{rounded:.1f}"


def spread(interval: Interval, signed: bool = False) -> str:
    """A figure with its interval: `70.1 [68.9, 71.3]`."""
    low, high = figure(interval.low, signed), figure(interval.high, signed)
    return f"{figure(interval.value, signed)} [{low}, {high}]"


def counts(interval: Interval) -> bool:
    """Whether the interval of a difference excludes zero."""
    return interval.low > 0 or interval.high < 0


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table for the console: the first column left-aligned, others right-aligned.

    A row of one cell is a heading.
    """
    columns = max(map(len, rows))
    full = [[*row, *[""] * (columns - len(row))] for row in rows]
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    lines = []
    for first, *rest in full:
        figures = (text.rjust(width) for text, width in zip(rest, widths[1:], strict=True))
        lines.append("  ".join([first.ljust(widths[0]), *figures]).rstrip())
    return lines


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with figures right-aligned."""
    align = ["---", *("---:" for _ in head[1:])]
    lines = [[escape(text) for text in row] for row in (head, *rows)]
    lines.insert(1, align)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape(text: str) -> str:
    """Escape text so that it stays in its cell and is not HTML."""
    return inert(text).replace("|", "\\|")


def inert(text: str) -> str:
    """Escape text to one printable line that is not HTML."""
    return html.escape(printable(text.replace("\n", " ")), quote=False)


def one_line(value: Any) -> str:
    """A value of any type as text for a list."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {one_line(inner)}" for name, inner in value.items())
    return escape(str(value))


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


SPACE = re.compile(r" +\)")


def report_page(report: Report, pictures: Sequence[str], pages: Sequence[str] = ()) -> str:
    """The whole page."""
    labels = list(report.models)
    headlines = [
        [f"{section}: {name}", *(SPACE.sub(")", cell) for cell in cells)]
        for section, name, cells in headline_rows(report)
    ]
    parts = ["# Evaluation", models_table(report)]
    parts += [markdown_table(["in percent", *labels], headlines), *filter(None, [legend(labels)])]
    parts += [f"[The pairs whose rankings changed most]({name})" for name in pages]
    parts += [f"![{Path(name).stem.replace('_', ' ')}]({name})" for name in pictures]
    parts += [section_page(section, labels) for section in report.sections]
    facts = dict(report.provenance)
    if left_out := facts.pop("left_out", None):
        lines = [f"- {name}: {one_line(reason)}" for name, reason in left_out.items()]
        parts += ["## Left out", "\n".join(lines)]
    parts += ["## How it was made", provenance_list(facts)]
    return "\n\n".join(parts) + "\n"


def models_table(report: Report) -> str:
    """Architecture and weights of each model."""
    rows = [
        [label, str(facts.get("architecture", {}).get("name", "-")), f"`{facts.get('weights')}`"]
        for label, facts in report.models.items()
    ]
    return markdown_table(["model", "architecture", "weights"], rows)


def section_page(section: Section, labels: list[str]) -> str:
    """One benchmark: its headlines, and all other figures folded."""
    notes = [f"Note: {inert(note)}." for note in section.notes]
    parts = [f"## {section.name}", f"On {inert(section.pool)}.", *notes]
    first = [line for line in section.lines if line.headline]
    further = [line for line in section.lines if not line.headline]
    if first:
        parts += figure_tables(first, labels)
    if further:
        head = f"<details><summary>{len(further)} further figures</summary>"
        parts += [head, *figure_tables(further, labels), "</details>"]
    return "\n\n".join(parts)


def figure_tables(lines: list[Line], labels: list[str]) -> list[str]:
    """Figures with their intervals, then the differences, if there are any."""
    values = [[line.name, *(spread(line.values[label]) for label in labels)] for line in lines]
    parts = [markdown_table(["in percent, with 95 % interval", *labels], values)]
    if pairs := list(lines[0].differences):
        rows = [[line.name, *(marked(line, pair) for pair in pairs)] for line in lines]
        parts.append(markdown_table(["paired difference", *pairs], rows))
        parts.append(
            "Bold: the 95 % interval of the difference excludes zero. ≥: not inferior, it "
            f"excludes a loss of {MARGIN:g} point or more."
        )
    return parts


def marked(line: Line, pair: str) -> str:
    """A difference, bold if its interval excludes zero, with a mark if it is not inferior."""
    difference = line.differences[pair]
    text = spread(difference, signed=True)
    text = f"**{text}**" if counts(difference) else text
    return f"{text} ≥" if not_inferior(difference, line.name in LOWER_IS_BETTER) else text


def provenance_list(facts: dict[str, Any]) -> str:
    """Provenance as a list, without options that were not given."""
    given = {**facts, "command": " ".join(map(str, facts.get("command", [])))}
    return "\n".join(
        f"- {name}: {one_line(value)}" for name, value in given.items() if value is not None
    )
