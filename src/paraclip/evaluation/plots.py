"""Plots of a report, drawn with matplotlib (the extra `plots`) without a display."""

import io
import math
import textwrap
from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import Any

from paraclip.errors import optional_import, printable
from paraclip.evaluation.report import Line, Report, figure
from paraclip.evaluation.statistics import Interval

# Okabe and Ito's palette, distinguishable by colour-blind readers.
COLOURS = ("#555555", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
_MARKERS = "osD^vPX"
_PANELS_A_ROW = 3
_ROLES = ("base", "control", "tuned", "merged")
"""Models that look the same in every plot, regardless of the other models."""


def plot_scores(report: Report) -> bytes | None:
    """Plot the headline figures in the order of the report's table, above its notes.

    Returns:
        The plot as PNG; None without a headline figure.
    """
    found = [(one.name, x) for one in report.sections for x in one.lines if x.headline]
    names = Counter(line.name for _, line in found)
    lines = [(f"{x.name}, {name}" if names[x.name] > 1 else x.name, x) for name, x in found]
    return plot_lines(list(report.models), lines, report.notes()) if lines else None


def plot_lines(
    labels: Sequence[str], lines: Sequence[tuple[str, Line]], notes: Sequence[str]
) -> bytes:
    """Plot one panel per figure, with one point per model, from top to bottom, and its 95 %
    interval, and the notes below the panels, as PNG."""
    looks = _appearances(labels)
    columns = min(_PANELS_A_ROW, len(lines))
    rows = math.ceil(len(lines) / columns)
    width = 3.6 * columns + 0.6
    below = [part for note in notes for part in textwrap.wrap(printable(note), int(width * 15))]
    # In inches: of a panel, title and axis, and each model; of all, the heading, and each note.
    height = rows * (0.75 + 0.32 * len(labels)) + 0.5 + 0.16 * len(below)
    drawing = new_figure(width, height)
    for place, panel in enumerate(drawing.subplots(rows, columns, squeeze=False).flat):
        if place >= len(lines):
            panel.set_axis_off()
            continue
        title, line = lines[place]
        for row, label in enumerate(labels):  # from top to bottom
            interval, (colour, marker) = line.values[label], looks[label]
            if not math.isfinite(interval.value):
                continue
            panel.errorbar(
                interval.value, row, xerr=arms(interval), fmt=marker, color=colour, capsize=3,
                markersize=6,
            )  # fmt: skip
            panel.annotate(
                figure(interval.value), (interval.value, row), xytext=(0, 6),
                textcoords="offset points", ha="center", fontsize=8,
            )  # fmt: skip
        panel.set_title(title, fontsize=10, parse_math=False)  # $ is a dollar
        panel.set_ylim(len(labels) - 0.5, -0.75)  # downwards, with room for the first figure
        names = labels if place % columns == 0 else [""] * len(labels)
        panel.set_yticks(range(len(labels)), names, parse_math=False)
        panel.margins(x=0.12)
        panel.locator_params(axis="x", nbins=5)
        panel.tick_params(labelsize=9)
        panel.grid(axis="x", alpha=0.3)
    drawing.suptitle(
        "percent, with 95 % bootstrap interval; each panel has its own scale", fontsize=9
    )
    if below:
        text = "\n".join(below)
        drawing.supxlabel(text, x=0.01, ha="left", fontsize=8, parse_math=False)
    return as_png(drawing)


def _appearances(labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return colour and marker of each model; the first seven differ in both."""
    places = {label: _ROLES.index(label) for label in labels if label in _ROLES}
    taken = set(places.values())
    free = (place for place in count() if place not in taken)
    places |= {label: next(free) for label in labels if label not in places}
    return {
        # The markers move on by one after each seven, so that 49 models differ.
        label: (COLOURS[place % 7], _MARKERS[(place + place // 7) % 7])
        for label, place in places.items()
    }


def arms(found: Interval) -> list[list[float]]:
    """Return the lengths of the error bar to the left and to the right of the point."""
    bounds = (found.value - found.low, found.high - found.value)
    # A value may be outside the percentiles of its resamples; matplotlib refuses negative lengths.
    return [[max(0.0, bound) if math.isfinite(bound) else 0.0] for bound in bounds]


def new_figure(width: float, height: float) -> Any:
    """Create a figure on the Agg canvas, of a width and height in inches; raises UserError without
    matplotlib."""
    optional_import("matplotlib", "plots")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(drawing)  # without pyplot, which keeps figures and looks for a display
    return drawing


def as_png(drawing: Any) -> bytes:
    """The figure as PNG at 150 dpi."""
    stream = io.BytesIO()
    about = {"Software": "ParaCLIP"}
    drawing.savefig(stream, dpi=150, format="png", facecolor="white", metadata=about)
    return stream.getvalue()
