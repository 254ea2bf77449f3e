"""Plots of a report, drawn with matplotlib (the extra `plots`) without a display."""

import io
import math
from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import Any

from paraclip.errors import optional_import
from paraclip.evaluation.report import Line, Report, figure
from paraclip.evaluation.statistics import Interval

# Okabe and Ito's palette, distinguishable by colour-blind readers.
COLOURS = ("#555555", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
_MARKERS = "osD^vPX"
_PANELS_A_ROW = 3
_ROLES = ("base", "control", "tuned", "merged")
"""Models that look the same in every plot, regardless of the other models."""


def plot_scores(report: Report) -> bytes | None:
    """Plot one panel per headline metric, with one point per model and its 95 % interval.

    Returns:
        The plot as PNG; None without a headline metric.
    """
    lines, labels = _headlines(report), list(report.models)
    if not lines:
        return None
    looks = _appearances(labels)
    columns = min(_PANELS_A_ROW, len(lines))
    rows = math.ceil(len(lines) / columns)
    drawing = new_figure(3.6 * columns + 0.6, rows * (0.75 + 0.32 * len(labels)) + 0.5)
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
        panel.set_title(title, fontsize=10, parse_math=False)
        panel.set_ylim(len(labels) - 0.5, -0.75)
        names = labels if place % columns == 0 else [""] * len(labels)
        panel.set_yticks(range(len(labels)), names, parse_math=False)
        panel.margins(x=0.12)
        panel.locator_params(axis="x", nbins=5)
        panel.tick_params(labelsize=9)
        panel.grid(axis="x", alpha=0.3)
    drawing.suptitle(
        "percent, with 95 % bootstrap interval; each panel has its own scale", fontsize=9
    )
    return as_png(drawing)


def _headlines(report: Report) -> list[tuple[str, Line]]:
    """Return the headline metrics with titles; duplicate names include the benchmark."""
    found = [(one.name, x) for one in report.sections for x in one.lines if x.headline]
    names = Counter(line.name for _, line in found)
    return [(f"{x.name}, {name}" if names[x.name] > 1 else x.name, x) for name, x in found]


def _appearances(labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return colour and marker of each model; the first seven differ in both."""
    places = {label: _ROLES.index(label) for label in labels if label in _ROLES}
    taken = set(places.values())
    free = (place for place in count() if place not in taken)
    places |= {label: next(free) for label in labels if label not in places}
    return {
        label: (COLOURS[place % 7], _MARKERS[(place + place // 7) % 7])
        for label, place in places.items()
    }


def arms(found: Interval) -> list[list[float]]:
    """Return the lengths of the error bar to the left and to the right of the point."""
    bounds = (found.value - found.low, found.high - found.value)
    return [[max(0.0, bound) if math.isfinite(bound) else 0.0] for bound in bounds]


def new_figure(width: float, height: float) -> Any:
    """Create a figure on the Agg canvas; width and height are in inches.

    Raises:
        UserError: matplotlib is not installed.
    """
    optional_import("matplotlib", "plots")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(drawing)
    return drawing


def as_png(drawing: Any) -> bytes:
    """The figure as PNG at 150 dpi."""
    stream = io.BytesIO()
    about = {"Software": "ParaCLIP"}
    drawing.savefig(stream, dpi=150, format="png", facecolor="white", metadata=about)
    return stream.getvalue()
