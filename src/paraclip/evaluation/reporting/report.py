"""The report: JSON with provenance, Markdown, and a table for the console."""

import html
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from paraclip.data.untrusted_json import read_json_object
from paraclip.errors import UserError
from paraclip.evaluation.scoring.bootstrap import Interval
from paraclip.files import text_hash, write_text

FORMAT = "paraclip-report-1"


@dataclass(frozen=True)
class Line:
    """One figure of every model, in percent (correlations times 100).

    Args:
        name: of the metric.
        headline: stands in the short table and the plot.
        items: how many items it is taken over.
        values: figure with its interval, by model.
        differences: paired difference with its interval, by "tuned - base".
        statistic: what is made of the items ("mean", "spearman", "pearson"); None where an older
            report does not say.
    """

    name: str
    headline: bool
    items: int
    values: dict[str, Interval]
    differences: dict[str, Interval]
    statistic: str | None = None


@dataclass(frozen=True)
class Section:
    """One benchmark.

    Args:
        name: as the command line calls it.
        pool: what is searched or compared, with its size, in words.
        data: sources, hashes, sizes.
        lines: its figures.
        notes: what a reader must know.
        made: for each model how its scores came about: weights hash, data hash, pool size,
            precision, seed, time, seconds, and whether they were kept from an earlier run.
    """

    name: str
    pool: str
    data: dict[str, Any]
    lines: list[Line]
    notes: list[str] = field(default_factory=list)
    made: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def data_hash(self) -> str:
        """Sixteen hex digits of all that is known of the data and the pool."""
        return data_hash(self.pool, self.data)


def data_hash(pool: str, data: dict[str, Any]) -> str:
    """Hash of a benchmark's data as its facts tell it."""
    return text_hash(json.dumps([pool, data], sort_keys=True, default=str))


@dataclass(frozen=True)
class Report:
    """All benchmarks of all models.

    Args:
        models: facts about each model (weights, architecture) by its label, in order.
        sections: a benchmark each.
        provenance: versions, machine, command, time, settings.
    """

    models: dict[str, dict[str, Any]]
    sections: list[Section]
    provenance: dict[str, Any]

    def line(self, name: str) -> Line | None:
        """The first figure of that name."""
        lines = (line for section in self.sections for line in section.lines)
        return next((line for line in lines if line.name == name), None)


def compared_with(labels: list[str]) -> list[str]:
    """The models that others are set against: base, else the first; and control."""
    base = "base" if "base" in labels else labels[0]
    return [base, *(label for label in labels if label == "control" and label != base)]


def write_json(report: Report, path: Path | str) -> None:
    """Write the whole report; a figure that is not defined is null."""
    content = {
        "format": FORMAT,
        "unit": "percent; correlations times 100; intervals are 95 % bootstrap percentiles",
        "models": report.models,
        "benchmarks": [section_as_dict(section) for section in report.sections],
        "provenance": report.provenance,
    }
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def section_as_dict(section: Section) -> dict[str, Any]:
    """One benchmark for JSON."""
    figures = [
        {
            "name": line.name, "headline": line.headline, "items": line.items,
            "statistic": line.statistic,
            "values": {label: as_dict(found) for label, found in line.values.items()},
            "differences": {label: as_dict(found) for label, found in line.differences.items()},
        }
        for line in section.lines
    ]  # fmt: skip
    return {
        "name": section.name, "pool": section.pool, "data": section.data,
        "data_hash": section.data_hash, "made": section.made, "metrics": figures,
        "notes": section.notes,
    }  # fmt: skip


def as_dict(found: Interval) -> dict[str, float | None]:
    """An interval for JSON, which has no NaN."""
    facts = {"value": found.value, "low": found.low, "high": found.high}
    return {
        name: round(value, 4) if math.isfinite(value) else None for name, value in facts.items()
    }


def read_report(path: Path | str) -> Report:
    """Read what `write_json` wrote.

    Raises:
        UserError: there is no such file, or it is not a report: every part is checked.
    """
    content = read_json_object(path, "Name a report.json, as paraclip evaluate writes it.")
    try:
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}")
        sections = [section_from_dict(section) for section in content["benchmarks"]]
        report = Report(content["models"], sections, content["provenance"])
        if not report.models:
            raise ValueError("it has no model")
        return of_right_types(report)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        what = f"is not a ParaCLIP report ({' '.join(str(error).split())})"
        raise UserError(path, what, "Name a report.json.") from error


def of_right_types(report: Report) -> Report:
    """The report with every field of the type that its class declares.

    Raises:
        ValueError: some field cannot be; it names the field.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Report).validate_python(asdict(report))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def section_from_dict(found: dict[str, Any]) -> Section:
    """One benchmark from JSON."""
    lines = [
        Line(
            line["name"], line["headline"], line["items"],
            {label: from_dict(value) for label, value in line["values"].items()},
            {label: from_dict(value) for label, value in line["differences"].items()},
            line.get("statistic"),
        )
        for line in found["metrics"]
    ]  # fmt: skip
    made = found.get("made", {})
    return Section(found["name"], found["pool"], found["data"], lines, found["notes"], made)


def from_dict(found: dict[str, float | None]) -> Interval:
    """An interval from JSON."""
    value, low, high = (
        math.nan if found[name] is None else float(found[name] or 0)
        for name in ("value", "low", "high")
    )
    return Interval(value, low, high)


def figure(value: float, signed: bool = False) -> str:
    """A figure with one decimal; a dash where it is not defined."""
    if not math.isfinite(value):
        return "-"
    rounded = round(value, 1) + 0.0  # no minus zero
    return f"{rounded:+.1f}" if signed else f"{rounded:.1f}"


def spread(found: Interval, signed: bool = False) -> str:
    """A figure with its interval: `70.1 [68.9, 71.3]`."""
    low, high = figure(found.low, signed), figure(found.high, signed)
    return f"{figure(found.value, signed)} [{low}, {high}]"


def counts(found: Interval) -> bool:
    """Whether a difference's interval leaves out zero."""
    return found.low > 0 or found.high < 0


def console_table(report: Report) -> str:
    """The headline figures, a model a column, and each model's difference from base."""
    labels = list(report.models)
    base = compared_with(labels)[0]
    rows = [["", *labels]]
    for section in report.sections:
        rows.append([section.name, *("" for _ in labels)])
        for line in (line for line in section.lines if line.headline):
            rows.append([f"  {line.name}", *(cell(line, label, base) for label in labels)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    text = ["  ".join(padded(row, widths)).rstrip() for row in rows]
    notes = [f"{section.name}: {section.pool}" for section in report.sections]
    notes += [f"{section.name}: {note}" for section in report.sections for note in section.notes]
    return "\n".join([*text, "", *notes, legend(labels)]).rstrip()


def padded(row: list[str], widths: list[int]) -> list[str]:
    """The name to the left, the figures to the right."""
    return [row[0].ljust(widths[0])] + [
        text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)
    ]


def cell(line: Line, label: str, base: str) -> str:
    """One model's figure with its difference from base."""
    value = figure(line.values[label].value)
    difference = line.differences.get(f"{label} - {base}")
    if difference is None:
        return value
    return f"{value} ({figure(difference.value, True)}{'*' if counts(difference) else ' '})"


def markdown(report: Report, pictures: list[str], pages: Sequence[str] = ()) -> str:
    """The report for people.

    Args:
        report: what was found.
        pictures: file names of plots and sheets that lie beside it.
        pages: file names of HTML pages of examples.
    """
    parts = ["# Evaluation", models_table(report), headline_table(report)]
    parts += [f"[The pairs whose rankings changed most]({name})" for name in pages]
    parts += [f"![{Path(name).stem.replace('_', ' ')}]({name})" for name in pictures]
    parts += [section_markdown(section, list(report.models)) for section in report.sections]
    facts = dict(report.provenance)
    if left_out := facts.pop("left_out", None):
        lines = [f"- {name}: {plain(reason)}" for name, reason in left_out.items()]
        parts += ["## Left out", "\n".join(lines)]
    parts += ["## How it was made", provenance_list(facts)]
    return "\n\n".join(parts) + "\n"


def headline_table(report: Report) -> str:
    """The figures of the console's table."""
    labels = list(report.models)
    base = compared_with(labels)[0]
    rows = [
        [
            f"{section.name}: {line.name}",
            *(cell(line, label, base).replace(" )", ")") for label in labels),
        ]
        for section in report.sections
        for line in section.lines
        if line.headline
    ]
    return f"{table(['in percent', *labels], rows)}\n\n{legend(labels)}".rstrip()


def legend(labels: list[str]) -> str:
    """What the brackets of `cell` mean; nothing where there are none."""
    if len(labels) < 2:
        return ""
    base = compared_with(labels)[0]
    return f"In brackets: difference from {base}; * its 95 % interval leaves out 0."


def models_table(report: Report) -> str:
    """Which weights stand behind each label."""
    head = ["model", "architecture", "weights"]
    rows = [
        [label, str(facts.get("architecture", {}).get("name", "-")), f"`{facts.get('weights')}`"]
        for label, facts in report.models.items()
    ]
    return table(head, rows)


def section_markdown(section: Section, labels: list[str]) -> str:
    """One benchmark: its headlines, and all else folded away."""
    notes = [f"Note: {inert(note)}." for note in section.notes]
    parts = [f"## {section.name}", f"On {inert(section.pool)}.", *notes]
    first, further = ([x for x in section.lines if x.headline is shown] for shown in (True, False))
    if first:
        parts += figure_tables(first, labels)
    if further:
        head = f"<details><summary>{len(further)} further figures</summary>"
        parts += [head, *figure_tables(further, labels), "</details>"]
    return "\n\n".join(parts)


def figure_tables(lines: list[Line], labels: list[str]) -> list[str]:
    """Figures with their intervals, then differences with theirs where there are any."""
    values = [[line.name, *(spread(line.values[label]) for label in labels)] for line in lines]
    parts = [table(["in percent, with 95 % interval", *labels], values)]
    if pairs := list(lines[0].differences):
        rows = [[line.name, *(marked(line.differences[pair]) for pair in pairs)] for line in lines]
        parts.append(table(["paired difference", *pairs], rows))
        parts.append("Bold: the 95 % interval of the difference leaves out zero.")
    return parts


def marked(found: Interval) -> str:
    """A difference, bold where it counts."""
    return f"**{spread(found, True)}**" if counts(found) else spread(found, True)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, figures to the right."""
    align = ["---", *("---:" for _ in head[1:])]
    lines = [[escape(text) for text in row] for row in (head, *rows)]
    lines.insert(1, align)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape(text: str) -> str:
    """Text that stays in its cell and is no HTML."""
    return inert(text).replace("|", "\\|")


def inert(text: str) -> str:
    """Text on one line that is no HTML."""
    return html.escape(text, quote=False).replace("\n", " ")


def provenance_list(facts: dict[str, Any]) -> str:
    """Provenance as a list; options that were not given are not in it."""
    shown = {**facts, "command": " ".join(map(str, facts.get("command", [])))}
    return "\n".join(
        f"- {name}: {plain(value)}" for name, value in shown.items() if value is not None
    )


def plain(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(inner)}" for name, inner in value.items())
    return escape(str(value))
