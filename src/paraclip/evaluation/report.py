"""What is shown of figures and of differences: tables as text, JSON, and the Markdown page."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, TypeAdapter, ValidationError

from paraclip.data.untrusted_json import read_json_object
from paraclip.errors import UserError, printable
from paraclip.evaluation.statistics import (
    FEWEST,
    LEVEL,
    MARGIN,
    Interval,
    not_inferior,
    prefers_lower,
)
from paraclip.files import text_hash
from paraclip.provenance import provenance
from paraclip.tables import aligned, inert, markdown

_FORMAT, _COMPARISON = "paraclip-report-1", "paraclip-comparison-1"
_HEAD = "", "items", "first", "second", "difference [95 %]", "p", "Holm", "counts", "not inferior"
_HINT = "Name a report.json written by `paraclip evaluate`."


def _null_as_nan(interval: Any) -> Any:
    """Return an interval from JSON, with null as NaN."""
    if not isinstance(interval, dict):
        return interval
    return {name: math.nan if value is None else value for name, value in interval.items()}


def _as_dict(interval: Interval) -> dict[str, float | None]:
    """Return an interval as a dict, with NaN as None for JSON."""
    return {
        name: round(value, 4) if math.isfinite(value) else None
        for name, value in vars(interval).items()
    }


_Intervals = dict[
    str, Annotated[Interval, BeforeValidator(_null_as_nan), PlainSerializer(_as_dict)]
]


@dataclass(frozen=True)
class Line:
    """One figure of every model, in percent (correlations times 100)."""

    name: str  # name of the metric
    headline: bool  # whether it is in the short table and the plot
    items: int  # number of items
    values: _Intervals  # figure with its interval, by model
    differences: _Intervals  # paired difference with its interval, by "tuned - base"
    statistic: str | None = None  # statistic over the items, one of `VALUES`


@dataclass(frozen=True)
class Section:
    """One benchmark."""

    name: str  # name on the command line
    pool: str  # description of what is searched or compared, with its size
    data: dict[str, Any]  # sources, hashes, sizes
    lines: Annotated[list[Line], Field(alias="metrics")]  # its figures
    notes: list[str] = field(default_factory=list)  # remarks that qualify the figures
    # how the scores of each model were computed: hashes of weights and data, size of the pool,
    # precision, seed and resamples
    made: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def data_hash(self) -> str:
        """Sixteen hex digits that identify the data and the pool."""
        return data_hash(self.pool, self.data)


def data_hash(pool: str, data: dict[str, Any]) -> str:
    """Return a hash that identifies a benchmark's data."""
    return text_hash(json.dumps([pool, data], sort_keys=True, default=str))


@dataclass(frozen=True)
class Report:
    """All benchmarks of all models."""

    # facts about each model (weights, architecture) by its label, in order
    models: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    sections: Annotated[list[Section], Field(alias="benchmarks")]  # one section per benchmark
    provenance: dict[str, Any]  # versions, machine, command, time, settings
    items: str | None = None  # hash of its items.npz; None in reports of earlier versions

    def line(self, name: str) -> Line | None:
        """Return the first figure with that name."""
        lines = (line for section in self.sections for line in section.lines)
        return next((line for line in lines if line.name == name), None)

    def headline_rows(self) -> Iterator[tuple[str, str, list[str]]]:
        """Yield benchmark, metric and one cell per model, for every headline figure.

        A cell is the figure with its difference from base and the marks of `_legend`.
        """
        labels = list(self.models)
        base = compared_with(labels)[0]
        for section in self.sections:
            for line in (line for line in section.lines if line.headline):
                cells = []
                for label in labels:
                    value = figure(line.values[label].value)
                    if (difference := line.differences.get(f"{label} - {base}")) is not None:
                        marks = "*" if _counts(difference) else ""
                        marks += "≥" if _not_inferior(line, difference) else ""
                        value += f" ({figure(difference.value, True)}{marks:2})"
                    cells.append(value)
                yield section.name, line.name, cells

    def table(self) -> str:
        """Return the headline figures as text: one column per model, differences from base."""
        rows, last = [["", *self.models]], None
        for section, name, cells in self.headline_rows():
            if section != last:
                rows.append([section])
            rows.append([f"  {name}", *cells])
            last = section
        lines = [*aligned(rows), "", *self.notes(), _legend(list(self.models))]
        return "\n".join(map(printable, lines)).rstrip()

    def notes(self) -> list[str]:
        """Return what each benchmark searched or compared, and what qualifies its figures."""
        pools = [f"{one.name}: {one.pool}" for one in self.sections]
        return pools + [f"{one.name}: {note}" for one in self.sections for note in one.notes]


@dataclass(frozen=True)
class Difference:
    """One figure of both models, in percent (correlations times 100)."""

    benchmark: str  # name of the benchmark
    metric: str  # name of the metric
    items: int  # number of items of the first model
    paired: bool  # whether both were scored on the same items
    first: float  # figure of the first model, mean over its seeds
    second: float  # figure of the second model
    difference: Interval  # second minus first, with its interval
    p: float  # two-sided p-value of no difference
    adjusted: float  # the same after Holm's correction over all rows

    @property
    def counts(self) -> bool:
        """Whether the difference is significant at the 5 % level."""
        return self.adjusted < LEVEL

    @property
    def not_inferior(self) -> bool:
        """Whether the interval excludes that the second is worse by the margin or more."""
        return not_inferior(self.difference, self.items, prefers_lower(self.metric))

    @property
    def gain(self) -> float:
        """The difference, positive if the second is better."""
        return -self.difference.value if prefers_lower(self.metric) else self.difference.value


@dataclass(frozen=True)
class Comparison:
    """The figures of two models."""

    first: str  # name of the first
    second: str  # name of the second
    seeds: tuple[int, int]  # number of runs of each model
    rows: tuple[Difference, ...]  # one row per figure
    # differences in data, precision or versions, each a sentence with names
    warnings: tuple[str, ...]

    def table(self) -> str:
        """Return warnings, figures and verdict as text for the console."""
        lines = [f"warning: {warning}" for warning in self.warnings]
        lines += [f"first:  {self.first}", f"second: {self.second}", ""]
        rows: list[list[str]] = [[*_HEAD]]
        for benchmark, members in groupby(self.rows, lambda row: row.benchmark):
            rows.append([benchmark])
            for row in members:
                ps = (f"{p:.4f}" if math.isfinite(p) else "-" for p in (row.p, row.adjusted))
                marks = ("yes" if mark else "no" for mark in (row.counts, row.not_inferior))
                rows.append([
                    f"  {row.metric}" + ("" if row.paired else " unpaired"), f"{row.items:,}",
                    figure(row.first), figure(row.second), spread(row.difference, signed=True),
                    *ps, *marks,
                ])  # fmt: skip
        return "\n".join(map(printable, [*lines, *aligned(rows), "", *self.verdict()]))

    def verdict(self) -> list[str]:
        """Return the significant figures and the number of those that are not inferior."""
        better, worse = (
            ", ".join(
                f"{row.benchmark} {row.metric} {figure(row.difference.value, True)}"
                for row in self.rows
                if row.counts and sign * row.gain > 0
            )
            for sign in (1, -1)
        )
        figures = len(self.rows)
        unchanged = figures - sum(row.counts for row in self.rows)
        runs = f"runs (seeds): {self.seeds[0]} of the first, {self.seeds[1]} of the second"
        return [
            f"better: {better or 'nothing that counts'}",
            f"worse: {worse or 'nothing that counts'}",
            f"no change that counts: {unchanged} of {figures} figures",
            f"counts: p under {LEVEL:g} after Holm's correction over all figures compared",
            f"not inferior: {sum(row.not_inferior for row in self.rows)} of {figures} figures; "
            f"of {FEWEST} items or more, the interval excludes a loss of {MARGIN:g} point",
            *([runs] if max(self.seeds) > 1 else []),
        ]


def compared_with(labels: list[str]) -> list[str]:
    """Return the models that others are compared with: base, or else the first; and control."""
    base = "base" if "base" in labels else labels[0]
    return [base, *(label for label in labels if label == "control" and label != base)]


def _legend(labels: list[str]) -> str:
    """Return the meaning of the brackets and marks of a table; empty for one model."""
    if len(labels) < 2:
        return ""
    return (
        f"In brackets: difference from {compared_with(labels)[0]}; * its 95 % interval excludes 0; "
        f"≥ not inferior: of {FEWEST} items or more, it excludes a loss of {MARGIN:g} point."
    )


def report_json(report: Report) -> str:
    """The whole report as JSON; undefined figures are null."""
    content = {
        "format": _FORMAT,
        "program": "ParaCLIP",
        "unit": "percent; correlations times 100; intervals are 95 % bootstrap percentiles",
        **TypeAdapter(Report).dump_python(report, by_alias=True),
    }
    for section, facts in zip(report.sections, content["benchmarks"], strict=True):
        facts["data_hash"] = section.data_hash
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def comparison_json(comparisons: Sequence[Comparison], settings: Mapping[str, Any]) -> str:
    """Return comparisons and their settings as JSON; undefined values are null."""

    def row_as_dict(row: Difference) -> dict[str, Any]:
        facts = {name: value for name, value in vars(row).items() if name != "difference"}
        for name in ("first", "second", "p", "adjusted"):
            facts[name] = round(facts[name], 6) if math.isfinite(facts[name]) else None
        facts |= {"difference": _as_dict(row.difference), "counts": row.counts}
        return {**facts, "not_inferior": row.not_inferior}

    content = {
        "format": _COMPARISON,
        "unit": "percent; correlations times 100; difference is second less first",
        "comparisons": [
            {
                "first": one.first, "second": one.second, "seeds": list(one.seeds),
                "warnings": list(one.warnings), "figures": [row_as_dict(row) for row in one.rows],
            }
            for one in comparisons
        ],
        "provenance": provenance(settings=dict(settings)),
    }  # fmt: skip
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_report(path: Path | str) -> Report:
    """Read a file that contains the text of `report_json`; raises UserError if it is missing or not
    a report: every part is checked."""
    content = read_json_object(path, _HINT)
    try:
        if content.get("format") != _FORMAT:
            raise ValueError(f"its format is {content.get('format')!r}")
        return TypeAdapter(Report).validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except ValueError as error:
        reason = str(error)
    raise UserError(path, f"is not a ParaCLIP report ({reason})", _HINT)


def report_page(report: Report, files: Sequence[str]) -> str:
    """Return the report as Markdown; it shows or links `files`, which are beside it."""
    labels = list(report.models)
    models = [
        [label, str(facts.get("architecture", {}).get("name", "-")), f"`{facts.get('weights')}`"]
        for label, facts in report.models.items()
    ]
    headlines = [
        [f"{section}: {name}", *(re.sub(r" +\)", ")", cell) for cell in cells)]
        for section, name, cells in report.headline_rows()
    ]
    parts = ["# Evaluation", _inert_table(["model", "architecture", "weights"], models)]
    parts += [_inert_table(["in percent", *labels], headlines), *filter(None, [_legend(labels)])]
    for name in sorted(files, key=lambda name: name.endswith(".png")):
        title = Path(name).stem.replace("_", " ")
        page = f"[The pairs whose rankings changed most]({name})"
        parts.append(f"![{title}]({name})" if name.endswith(".png") else page)
    parts += [_section_page(section, labels) for section in report.sections]
    facts = dict(report.provenance)
    if left_out := facts.pop("left_out", None):
        parts += ["## Left out", _listed(left_out)]
    facts["command"] = " ".join(map(str, facts.get("command", [])))
    return "\n\n".join([*parts, "## How it was made", _listed(facts)]) + "\n"


def _section_page(section: Section, labels: list[str]) -> str:
    """Return one benchmark as Markdown: its headlines, and all other figures folded."""
    parts = [f"## {section.name}", f"On {inert(section.pool)}."]
    parts += [f"Note: {inert(note)}." for note in section.notes]
    for headline in (True, False):
        lines = [line for line in section.lines if line.headline == headline]
        if not lines:
            continue
        values = [[line.name, *(spread(line.values[label]) for label in labels)] for line in lines]
        tables = [_inert_table(["in percent, with 95 % interval", *labels], values)]
        if pairs := list(lines[0].differences):
            rows = [[line.name, *(_marked(line, pair) for pair in pairs)] for line in lines]
            tables.append(_inert_table(["paired difference", *pairs], rows))
            tables.append(
                "Bold: the 95 % interval of the difference excludes zero. ≥: not inferior, of "
                f"{FEWEST} items or more, it excludes a loss of {MARGIN:g} point."
            )
        if not headline:
            summary = f"<details><summary>{len(lines)} further figures</summary>"
            tables = [summary, *tables, "</details>"]
        parts += tables
    return "\n\n".join(parts)


def _marked(line: Line, pair: str) -> str:
    """Return a difference, bold if its interval excludes zero, marked if it is not inferior."""
    difference = line.differences[pair]
    text = spread(difference, signed=True)
    text = f"**{text}**" if _counts(difference) else text
    return f"{text} ≥" if _not_inferior(line, difference) else text


def _not_inferior(line: Line, difference: Interval) -> bool:
    return not_inferior(difference, line.items, prefers_lower(line.name))


def figure(value: float, signed: bool = False) -> str:
    """Return a figure with one decimal; a dash if undefined."""
    if not math.isfinite(value):
        return "-"
    rounded = round(value, 1) + 0.0  # no minus zero
    return f"{rounded:+.1f}" if signed else f"{rounded:.1f}"


def spread(interval: Interval, signed: bool = False) -> str:
    """Return a figure with its interval: `70.1 [68.9, 71.3]`."""
    low, high = figure(interval.low, signed), figure(interval.high, signed)
    return f"{figure(interval.value, signed)} [{low}, {high}]"


def _counts(interval: Interval) -> bool:
    """Whether the interval of a difference excludes zero."""
    return interval.low > 0 or interval.high < 0


def _inert_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown([*map(inert, heads)], [[*map(inert, row)] for row in rows])


def _listed(facts: Mapping[str, Any]) -> str:
    """Return facts as a Markdown list."""
    return "\n".join(f"- {name}: {_one_line(v)}" for name, v in facts.items() if v is not None)


def _one_line(value: Any) -> str:
    """Return a value of any type as text for a list."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_one_line(inner)}" for name, inner in value.items())
    return inert(str(value))
