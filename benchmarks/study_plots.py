"""The trade-off curve of the study: consistency against retrieval and text similarity."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paraclip.ablation.results import Results
from paraclip.evaluation.reporting.plots import COLOURS, arms, new_figure, save

UP = ("pairs-sugar-crepe-pp", "AO@10", "AO@10, SugarCrepe++ pairs")
ACROSS = (
    ("image-text-retrieval", "T2I R@10", "text to image R@10"),
    ("sts", "STS mean of 7", "STS, mean of seven tasks"),
)
"""Benchmark, figure and label of the axes."""


def trade_off(results: Results, shares: Mapping[str, float], path: Path) -> None:
    """Plot every row; rows that are shares of tuned are joined, from base to tuned.

    Args:
        results: the rows, among them the base.
        shares: share of tuned, 0 to 1, by the name of the row.
        path: PNG file to write.
    """
    drawing = new_figure(5.2 * len(ACROSS), 4.8)
    for panel, axis in zip(
        drawing.subplots(1, len(ACROSS), squeeze=False).flat, ACROSS, strict=True
    ):
        draw_curve(panel, results, sorted(shares, key=lambda row: shares[row]), axis)
    drawing.suptitle("means over seeds with 95 % intervals; up and right is better", fontsize=9)
    save(drawing, path)


def draw_curve(panel: Any, results: Results, joined: Sequence[str], axis: tuple[str, ...]) -> None:
    """One panel: the curve over the shares, and the other rows as points."""
    across, up = (place_of(results, *one[:2]) for one in (axis, UP))
    points = {
        row.name: (results.entries[row.name, across].value, results.entries[row.name, up].value)
        for row in results.rows
    }
    curve = [points[name] for name in joined if name in points]
    panel.plot([x.value for x, _ in curve], [y.value for _, y in curve], color=COLOURS[2])
    for name, (x, y) in points.items():
        colour = COLOURS[2] if name in joined else COLOURS[5]
        panel.errorbar(
            x.value, y.value, xerr=arms(x), yerr=arms(y), fmt="o", color=colour,
            ecolor="#BBBBBB", elinewidth=0.8, zorder=3,
        )  # fmt: skip
        panel.annotate(
            name, (x.value, y.value), xytext=(6, 5), textcoords="offset points", fontsize=8
        )
    panel.set_xlabel(axis[2])
    panel.set_ylabel(UP[2])
    panel.margins(0.15)
    panel.grid(alpha=0.3)


def place_of(results: Results, benchmark: str, name: str) -> int:
    """Index of a figure; raises ValueError if it was not scored."""
    keys = [(one.benchmark, one.name) for one in results.figures]
    return keys.index((benchmark, name))


def is_plottable(results: Results) -> bool:
    """Whether every axis was scored."""
    keys = {(one.benchmark, one.name) for one in results.figures}
    return all(axis[:2] in keys for axis in (UP, *ACROSS))
