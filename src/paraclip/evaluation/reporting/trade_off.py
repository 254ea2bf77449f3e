"""Plot of the trade-off between robustness and standard tasks, for any number of models."""

import math
from pathlib import Path
from typing import Any

from paraclip.evaluation.reporting.plots import (
    PANELS_A_ROW,
    appearances,
    arms,
    new_figure,
    save,
)
from paraclip.evaluation.reporting.report import Line, Report, Section
from paraclip.evaluation.scoring.bootstrap import Interval

ROBUST = "AO@"
FIRST_OF = "paraphrased-retrieval"  # preferred source of AO@k
STANDARD = ("T2I R@", "top-1")  # prefixes of standard metrics; the last of each task is used
MOST_PANELS = 6
SIDE = 4.1


def plot_trade_off(report: Report, base: str, path: Path | str) -> bool:
    """Plot one panel per standard task: its change on the x axis, the change of AO@k on the y axis.

    Returns:
        Whether the plot was drawn; it needs AO@k, a standard task and a second model.
    """
    gain, prices = robust_line(report), standard_lines(report)[:MOST_PANELS]
    others = [label for label in report.models if label != base]
    if gain is None or not prices or not others:
        return False
    columns = 2 if len(prices) == 4 else min(PANELS_A_ROW, len(prices))
    rows = math.ceil(len(prices) / columns)
    legend = 0.26 * math.ceil((len(others) + 1) / (2 * columns)) + 0.8
    drawing = new_figure(SIDE * columns + 0.9, SIDE * rows + legend)
    panels = drawing.subplots(rows, columns, squeeze=False, sharey=True)
    for place, panel in enumerate(panels.flat):
        if place >= len(prices):
            panel.set_axis_off()
            continue
        draw_trade(panel, list(report.models), base, gain[1], prices[place])
        if place % columns == 0:
            panel.set_ylabel(f"change of {gain[1].name} (points)\n{gain[0]}")
    handles, names = panels.flat[0].get_legend_handles_labels()
    drawing.legend(
        handles, names, loc="outside lower center", ncols=2 * columns, frameon=False, fontsize=10
    )
    drawing.suptitle(
        f"Changes from {base}, with 95 % paired intervals; up and to the right is better",
        fontsize=10 if columns > 1 else 9,
    )
    save(drawing, path)
    return True


def robust_line(report: Report) -> tuple[str, Line] | None:
    """Return the first AO@k, preferably of paraphrased retrieval, with the benchmark's name."""
    sections = sorted(report.sections, key=lambda section: section.name != FIRST_OF)
    named_lines = ((section.name, line) for section in sections for line in section.lines)
    return next(((name, line) for name, line in named_lines if line.name.startswith(ROBUST)), None)


def standard_lines(report: Report) -> list[tuple[str, Line]]:
    """Return the name and the metric of each benchmark of a standard task."""
    named_lines = [(section.name, standard_line(section)) for section in report.sections]
    return [(name, line) for name, line in named_lines if line is not None]


def standard_line(section: Section) -> Line | None:
    """Return the metric of a standard task (for retrieval, the largest k), or None."""
    lines = [line for line in section.lines if line.headline and line.name.startswith(STANDARD)]
    return lines[-1] if lines else None


def draw_trade(
    panel: Any, labels: list[str], base: str, gain: Line, price: tuple[str, Line]
) -> None:
    """Draw one standard task, with one point and two intervals per model."""
    name, line = price
    panel.axhline(0, color="#999999", linewidth=1, zorder=0)
    panel.axvline(0, color="#999999", linewidth=1, zorder=0)
    looks = appearances(labels)
    for label in labels:
        across, up = change(line, label, base), change(gain, label, base)
        if not (math.isfinite(across.value) and math.isfinite(up.value)):
            continue
        colour, marker = looks[label]
        panel.errorbar(
            across.value, up.value, xerr=arms(across), yerr=arms(up), fmt="none",
            ecolor=colour, elinewidth=1.1, alpha=0.55, zorder=1,
        )  # fmt: skip
        panel.plot(
            across.value, up.value, marker, color=colour, markersize=9, label=label,
            markeredgecolor="white", markeredgewidth=0.8, linestyle="none", zorder=2,
        )  # fmt: skip
    panel.set_xlabel(f"change of {line.name} (points)\n{name}")
    panel.margins(0.14)
    panel.grid(alpha=0.3)


def change(line: Line, label: str, base: str) -> Interval:
    """Return the model's difference from base; zero for base itself."""
    if label == base:
        return Interval(0.0, 0.0, 0.0)
    return line.differences[f"{label} - {base}"]
