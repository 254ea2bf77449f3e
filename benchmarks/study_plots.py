"""The trade-off curves of the study: consistency against retrieval and text similarity.

    python benchmarks/study_plots.py study_a_main study_a_shares

Draws `docs/images/NAME_trade_off.png` from the figures in `results/NAME.json`. `study.py` does the
same at its end.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from machine import RESULTS
from paraclip.evaluation.reporting.plots import COLOURS, arms, new_figure, save
from paraclip.evaluation.scoring.bootstrap import Interval

IMAGES = Path(__file__).parents[1] / "docs" / "images"
UP = ("pairs-sugar-crepe-pp", "AO@10")
ACROSS = (("image-text-retrieval", "T2I R@10"), ("sts", "STS mean of 7"))
"""Benchmark and figure of the axes."""
Axis = tuple[str, str]


def trade_off(record: Mapping[str, Any], path: Path) -> bool:
    """Plot every row; rows that are shares of tuned are joined, from base to tuned.

    Args:
        record: what the study wrote about a grid.
        path: PNG file to write.

    Returns:
        Whether there was a curve to draw: at least one share between base and tuned, and all axes.
    """
    values = values_of(record["figures"])
    shares = shares_of(record["settings"]["variants"], [name for name, *_ in values])
    if len(shares) < 3 or any(("base", *axis) not in values for axis in (UP, *ACROSS)):
        return False
    drawing = new_figure(5.2 * len(ACROSS), 4.8)
    panels = drawing.subplots(1, len(ACROSS), squeeze=False).flat
    for panel, axis in zip(panels, ACROSS, strict=True):
        draw_curve(panel, values, shares, axis)
        panel.set_xlabel(label_of(record, axis))
        panel.set_ylabel(label_of(record, UP))
    drawing.suptitle("means over seeds with 95 % intervals; up and right is better", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(drawing, path)
    return True


def draw_curve(
    panel: Any, values: Mapping[tuple[str, str, str], Interval], joined: Sequence[str], axis: Axis
) -> None:
    """One panel: the curve over the shares, and the other rows as points."""
    points = {name: (values[name, *axis], values[name, *UP]) for name, *_ in values}
    curve = [points[name] for name in joined]
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
    panel.margins(0.15)
    panel.grid(alpha=0.3)


def values_of(figures: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, str], Interval]:
    """Means with intervals by row, benchmark and figure."""
    return {
        (one["row"], one["benchmark"], one["figure"]): Interval(**one["value"]) for one in figures
    }


def shares_of(variants: Mapping[str, Mapping[str, Any]], rows: Sequence[str]) -> list[str]:
    """Base, and the scored variants that differ only in the share of tuned, in its order."""
    shares = {"base": 0.0} | {
        row: float(variant.get("merge", 1.0))
        for row, variant in variants.items()
        if row in rows and set(variant) <= {"merge"}
    }
    return sorted(shares, key=lambda row: shares[row])


def label_of(record: Mapping[str, Any], axis: Axis) -> str:
    """The name of a figure in the tables."""
    labels = {(one["benchmark"], one["figure"]): one["label"] for one in record["figures"]}
    return str(labels[axis])


def main() -> None:
    """Draw the curves of the named grids."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("names", nargs="+", help="files in benchmarks/results/, without .json")
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of plots")
    options = parser.parse_args()
    for name in options.names:
        record = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        path = options.images / f"{name}_trade_off.png"
        print(path if trade_off(record, path) else f"{name}: no row is a share of another")


if __name__ == "__main__":
    main()
