"""The table in Markdown and JSON, and its plots."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paraclip.ablation.plan import Cell, GridRow, Plan, set_options
from paraclip.ablation.results import Change, Results, TableEntry, TableFigure
from paraclip.evaluation.plots import plot_scores, plot_trade_off
from paraclip.evaluation.report import (
    Line,
    Report,
    Section,
    as_dict,
    escape,
    markdown_table,
    spread,
)
from paraclip.evaluation.statistics import LEVEL, Interval
from paraclip.files import write_text

FORMAT = "paraclip-ablation-1"
PLOTS = ("scores.png", "trade_off.png")
AGAINST_CONTROL = {1: "▲", -1: "▼", 0: ""}
AGAINST_BASE = {1: "↑", -1: "↓", 0: ""}
AGAINST_REFERENCE = {1: "△", -1: "▽", 0: ""}
LEGEND = (
    "Percent, mean over seeds, with the 95 % interval of a bootstrap over items and seeds. "
    "▲ ▼: better or worse than the control with the same settings; ↑ ↓: than base. Marks: "
    f"p < {LEVEL:g} after Holm's correction over all comparisons of the table."
)


def results_table(results: Results, resamples: int) -> str:
    """The table and its notes in Markdown."""
    head = ["", *headers(results.figures), "seeds"]
    rows = [row_cells(results, row) for row in results.rows]
    return "\n\n".join([markdown_table(head, rows), LEGEND, *remarks(results, resamples)])


def headers(figures: tuple[TableFigure, ...]) -> list[str]:
    """Headers of the columns; a repeated name is followed by its benchmark."""
    names = Counter(figure.name for figure in figures)
    return [f"{x.name}, {x.benchmark}" if names[x.name] > 1 else x.name for x in figures]


def row_cells(results: Results, row: GridRow) -> list[str]:
    """The cells of a row."""
    cells = [entry_cell(results.entries[row.name, index]) for index in range(len(results.figures))]
    return [row.name, *cells, str(len(results.seeds[row.name]) or "-")]


def entry_cell(entry: TableEntry) -> str:
    """A figure with interval and marks: `70.1 [68.9, 71.3] ▲↑`."""
    marks = AGAINST_CONTROL[verdict(entry.control)] + AGAINST_BASE[verdict(entry.base)]
    marks += AGAINST_REFERENCE[verdict(entry.reference)]
    return f"{spread(entry.value)} {marks}".rstrip()


def verdict(change: Change | None) -> int:
    """1 if better beyond chance, -1 if worse, else 0."""
    return 0 if change is None else change.verdict


def remarks(results: Results, resamples: int) -> list[str]:
    """Notes on other bases and controls, and on too few seeds or resamples."""
    notes = [
        f"{row.name} is compared with {' and '.join(others)}."
        for row in results.rows
        if (others := [x for x in (row.control, row.base) if x not in (None, "base", "control")])
    ]
    notes += [
        f"{row.name} has no control: its triples have no picture."
        for row in results.rows
        if row.kind not in ("base", "control") and row.control is None
    ]
    references = {row.reference for row in results.rows if row.reference is not None}
    notes += [f"△ ▽: better or worse than {name}." for name in sorted(references)]
    tests = sum(math.isfinite(change.p) for change in results.changes)
    if tests * 2 / (resamples + 1) >= LEVEL:
        notes.append(
            f"{resamples:,} resamples are too few for {tests} comparisons: few marks are possible."
        )
    if any(len(seeds) == 1 for seeds in results.seeds.values()):
        notes.append("With one seed the interval does not include the spread between runs.")
    return notes


def as_report(results: Results, sections: list[Section]) -> Report:
    """The table as a report over rows, for the plots."""
    converted = []
    for section in sections:
        indices = [
            n for n, figure in enumerate(results.figures) if figure.benchmark == section.name
        ]
        lines = [report_line(results, index) for index in indices]
        if lines:
            converted.append(Section(section.name, section.pool, section.data, lines))
    return Report({row.name: {} for row in results.rows}, converted, {})


def report_line(results: Results, index: int) -> Line:
    """A column of the table as a line of a report, with differences from base."""
    line, entries = results.figures[index].line, {}
    for row in results.rows:
        entries[row.name] = results.entries[row.name, index]
    values = {name: entry.value for name, entry in entries.items()}
    unknown = Interval(math.nan, math.nan, math.nan)
    differences = {
        f"{name} - base": unknown if entry.base is None else entry.base.difference
        for name, entry in entries.items()
    }
    return Line(line.name, True, line.items, values, differences, line.statistic)


def results_json(
    results: Results, plan: Plan, failed: Mapping[Cell, str], provenance: dict[str, Any]
) -> str:
    """The table as JSON; undefined values are null."""
    content = {
        "format": FORMAT,
        "unit": "percent; correlations times 100; differences are row less other row",
        "grid": plan.grid.path.name,
        "rows": [row_as_dict(results, row) for row in results.rows],
        "cells": [
            {"row": one.row.name, "seed": one.seed, "folder": one.folder.name} for one in plan.cells
        ],
        "failed": {one.name: why for one, why in failed.items()},
        "provenance": provenance,
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def row_as_dict(results: Results, row: GridRow) -> dict[str, Any]:
    """A row as JSON-serialisable dict."""
    figures = [
        {
            "benchmark": figure.benchmark, "name": figure.name,
            **entry_as_dict(results.entries[row.name, index]),
        }
        for index, figure in enumerate(results.figures)
    ]  # fmt: skip
    return {
        "name": row.name, "kind": row.kind, "options": set_options(row),
        "seeds": list(results.seeds[row.name]), "figures": figures,
    }  # fmt: skip


def entry_as_dict(entry: TableEntry) -> dict[str, Any]:
    """A figure of a row as JSON-serialisable dict."""
    against = [
        {
            "row": change.against, "difference": as_dict(change.difference),
            "p": rounded(change.p), "adjusted": rounded(change.adjusted), "verdict": change.verdict,
        }
        for change in entry.changes
    ]  # fmt: skip
    return {"value": as_dict(entry.value), "against": against}


def rounded(value: float) -> float | None:
    """A p-value, rounded; None if undefined."""
    return round(value, 6) if math.isfinite(value) else None


def draw_plots(report: Report, folder: Path) -> list[str]:
    """Draw every figure, and robustness against standard tasks if there is a base."""
    plot_scores(report, folder / PLOTS[0])
    drawn = "base" in report.models and plot_trade_off(report, "base", folder / PLOTS[1])
    return list(PLOTS if drawn else PLOTS[:1])


def write_page(plan: Plan, text: str, plots: list[str], path: Path) -> None:
    """Write the page with the table, the plots and the options of each row."""
    parts = [f"# Ablation: {plan.grid.path.stem}", text]
    parts += [f"![{Path(name).stem.replace('_', ' ')}]({name})" for name in plots]
    parts += ["## What each row trains", f"All: {describe_options(plan.grid.common)}."]
    parts.append("\n".join(f"- {escape(row.name)}: {describe_row(plan, row)}" for row in plan.rows))
    write_text(path, "\n\n".join(parts) + "\n")


def describe_row(plan: Plan, row: GridRow) -> str:
    """The models of a row."""
    if row.kind == "base":
        return display_value(row.options.model)
    if row.kind == "control":
        names = ", ".join(escape(one.name) for one in plan.rows if one.control == row.name)
        return f"the original captions, with the settings of {names}"
    return describe_options(plan.grid.variants[row.name])


def describe_options(options: Mapping[str, Any]) -> str:
    """Options with their values, for display."""
    return ", ".join(f"{n} {display_value(v)}" for n, v in options.items()) or "nothing else"


def display_value(value: Any) -> str:
    """A value for display; files without their folders."""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return escape(Path(value).name) if isinstance(value, str) else str(value)
