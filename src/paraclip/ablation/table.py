"""The table for people and for programs, and its plots."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paraclip.ablation.plan import Cell, Plan, Row, as_asked
from paraclip.ablation.results import Change, Entry, Figure, Results
from paraclip.evaluation.reporting.compare import LEVEL
from paraclip.evaluation.reporting.plots import plot_scores
from paraclip.evaluation.reporting.report import (
    Line,
    Report,
    Section,
    as_dict,
)
from paraclip.evaluation.reporting.tables import escape, markdown_table, spread
from paraclip.evaluation.reporting.trade_off import plot_trade_off
from paraclip.evaluation.scoring.bootstrap import Interval
from paraclip.files import write_text

FORMAT = "paraclip-ablation-1"
PLOTS = ("scores.png", "trade_off.png")
AGAINST_CONTROL = {1: "▲", -1: "▼", 0: ""}
AGAINST_BASE = {1: "↑", -1: "↓", 0: ""}
LEGEND = (
    "Percent, mean over seeds, with the 95 % interval of a bootstrap over items and seeds. "
    "▲ ▼: better or worse than the control with the same settings; ↑ ↓: than base. A mark stands "
    f"where p is under {LEVEL:g} after Holm's correction over all comparisons of the table."
)


def markdown(found: Results, resamples: int) -> str:
    """The table with what a reader must know under it."""
    head = ["", *heads(found.figures), "seeds"]
    rows = [line_of(found, row) for row in found.rows]
    return "\n\n".join([markdown_table(head, rows), LEGEND, *remarks(found, resamples)])


def heads(figures: tuple[Figure, ...]) -> list[str]:
    """Names of the columns; where a name is there twice the head says the benchmark."""
    names = Counter(figure.name for figure in figures)
    return [f"{x.name}, {x.benchmark}" if names[x.name] > 1 else x.name for x in figures]


def line_of(found: Results, row: Row) -> list[str]:
    """One row."""
    cells = [cell(found.entries[row.name, place]) for place in range(len(found.figures))]
    return [row.name, *cells, str(len(found.seeds[row.name]) or "-")]


def cell(entry: Entry) -> str:
    """A figure with its interval and its marks: `70.1 [68.9, 71.3] ▲↑`."""
    marks = AGAINST_CONTROL[verdict(entry.control)] + AGAINST_BASE[verdict(entry.base)]
    return f"{spread(entry.value)} {marks}".rstrip()


def verdict(change: Change | None) -> int:
    """1 where it is better beyond chance, -1 where it is worse, else 0."""
    return 0 if change is None else change.verdict


def remarks(found: Results, resamples: int) -> list[str]:
    """What qualifies the table: other bases and controls, few seeds, too few resamples."""
    told = [
        f"{row.name} is set against {' and '.join(others)}."
        for row in found.rows
        if (others := [x for x in (row.control, row.base) if x not in (None, "base", "control")])
    ]
    tests = sum(math.isfinite(change.p) for change in found.changes)
    if tests * 2 / (resamples + 1) >= LEVEL:
        told.append(
            f"{resamples:,} resamples are too few for {tests} comparisons: few marks can be."
        )
    if any(len(seeds) == 1 for seeds in found.seeds.values()):
        told.append("With one seed the interval does not hold the spread between runs.")
    return told


def as_report(found: Results, sections: list[Section]) -> Report:
    """The same as a report over rows, for the plots of one.

    Args:
        found: the table.
        sections: of any cell, for the benchmarks' facts.
    """
    made = []
    for section in sections:
        places = [n for n, figure in enumerate(found.figures) if figure.benchmark == section.name]
        lines = [report_line(found, place) for place in places]
        if lines:
            made.append(Section(section.name, section.pool, section.data, lines))
    return Report({row.name: {} for row in found.rows}, made, {})


def report_line(found: Results, place: int) -> Line:
    """A column of the table as a line of a report, with the differences from base."""
    line, entries = found.figures[place].line, {}
    for row in found.rows:
        entries[row.name] = found.entries[row.name, place]
    values = {name: entry.value for name, entry in entries.items()}
    unknown = Interval(math.nan, math.nan, math.nan)
    differences = {
        f"{name} - base": unknown if entry.base is None else entry.base.difference
        for name, entry in entries.items()
    }
    return Line(line.name, True, line.items, values, differences, line.statistic)


def as_json(
    found: Results, plan: Plan, failed: Mapping[Cell, str], provenance: dict[str, Any]
) -> str:
    """Everything for a file; what is not defined is null."""
    content = {
        "format": FORMAT,
        "unit": "percent; correlations times 100; differences are row less other row",
        "grid": plan.grid.path.name,
        "rows": [row_as_dict(found, row) for row in found.rows],
        "cells": [
            {"row": one.row.name, "seed": one.seed, "folder": one.folder.name} for one in plan.cells
        ],
        "failed": {one.name: why for one, why in failed.items()},
        "provenance": provenance,
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def row_as_dict(found: Results, row: Row) -> dict[str, Any]:
    """One row."""
    figures = [
        {
            "benchmark": figure.benchmark, "name": figure.name,
            **entry_as_dict(found.entries[row.name, place]),
        }
        for place, figure in enumerate(found.figures)
    ]  # fmt: skip
    return {
        "name": row.name, "kind": row.kind, "options": as_asked(row),
        "seeds": list(found.seeds[row.name]), "figures": figures,
    }  # fmt: skip


def entry_as_dict(entry: Entry) -> dict[str, Any]:
    """One figure of a row."""
    against = [
        {
            "row": change.against, "difference": as_dict(change.difference),
            "p": number(change.p), "adjusted": number(change.adjusted), "verdict": change.verdict,
        }
        for change in entry.changes
    ]  # fmt: skip
    return {"value": as_dict(entry.value), "against": against}


def number(value: float) -> float | None:
    """A p-value for JSON."""
    return round(value, 6) if math.isfinite(value) else None


def draw(report: Report, folder: Path) -> list[str]:
    """The plots that can be made: every figure, and robustness against standard tasks."""
    plot_scores(report, folder / PLOTS[0])
    drawn = "base" in report.models and plot_trade_off(report, "base", folder / PLOTS[1])
    return list(PLOTS if drawn else PLOTS[:1])


def write_page(plan: Plan, text: str, pictures: list[str], path: Path) -> None:
    """The page: the table, the plots, and what each row trains."""
    parts = [f"# Ablation: {plan.grid.path.stem}", text]
    parts += [f"![{Path(name).stem.replace('_', ' ')}]({name})" for name in pictures]
    parts += ["## What each row trains", f"All: {options_in_words(plan.grid.common)}."]
    parts.append("\n".join(f"- {escape(row.name)}: {in_words(plan, row)}" for row in plan.rows))
    write_text(path, "\n\n".join(parts) + "\n")


def in_words(plan: Plan, row: Row) -> str:
    """What a row's models are."""
    if row.kind == "base":
        return shown(row.options.model)
    if row.kind == "control":
        names = ", ".join(escape(one.name) for one in plan.rows if one.control == row.name)
        return f"the original captions, with the settings of {names}"
    return options_in_words(plan.grid.variants[row.name])


def options_in_words(options: Mapping[str, Any]) -> str:
    """Options with their values."""
    return ", ".join(f"{n} {shown(v)}" for n, v in options.items()) or "nothing else"


def shown(value: Any) -> str:
    """A value in few words; files without their folders."""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return escape(Path(value).name) if isinstance(value, str) else str(value)
