"""The trade-off curves of the study: consistency against retrieval and text similarity.

    python -m study.plots study_a_main study_a_shares

Draws `images/NAME_trade_off.png` from the figures in `results/NAME.json`. `run.py` does the
same at its end.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.transforms import Bbox

from paraclip.evaluation.plots import COLOURS, arms, as_png, new_figure
from paraclip.evaluation.statistics import Interval
from study.tables import LABELS

HERE = Path(__file__).parent
UP = ("pairs-sugar-crepe-pp", "AO@10")
ACROSS = (("image-text-retrieval", "T2I R@10"), ("sts", "STS mean of 7"))
"""Benchmark and figure of the axes."""
Axis = tuple[str, str]
POINT = 5  # radius of a point in pixels
CORNERS = (((-6, 5), "right"), ((6, -12), "left"), ((-6, -12), "right"))
"""Further places of a point's name: its offset in points, and where the name is aligned."""


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
    panels = drawing.subplots(1, len(ACROSS), squeeze=False)[0]
    for panel, axis in zip(panels, ACROSS, strict=True):
        draw_curve(panel, values, shares, axis)
        panel.set_xlabel(label_of(axis))
        panel.set_ylabel(label_of(UP))
    drawing.suptitle("means over seeds with 95 % intervals; up and right is better", fontsize=9)
    drawing.draw_without_rendering()  # the layout decides which names overlap
    for panel in panels:
        place_names(panel)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(as_png(drawing))
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


def place_names(panel: Any) -> None:
    """Move each name to the first corner of its point where it is clear of other names and points.

    A name that has no such corner stays where it is.
    """
    points = [panel.transData.transform(name.xy) for name in panel.texts]
    taken = [Bbox.from_bounds(x - POINT, y - POINT, 2 * POINT, 2 * POINT) for x, y in points]
    for name in panel.texts:
        usual = name.xyann, name.get_ha()
        for offset, side in (usual, *CORNERS):
            name.xyann = offset
            name.set_ha(side)
            place = name.get_window_extent()
            inside = panel.bbox.x0 < place.x0 and place.x1 < panel.bbox.x1
            if inside and not place.count_overlaps(taken):
                break
        else:
            name.xyann = usual[0]
            name.set_ha(usual[1])
        taken.append(name.get_window_extent())


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


def label_of(axis: Axis) -> str:
    """The name of a figure in the tables."""
    return LABELS[axis]


def main() -> None:
    """Draw the curves of the named grids."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("names", nargs="*", help="files in study/results/, without .json")
    parser.add_argument("--images", type=Path, default=HERE / "images", help="folder of plots")
    options = parser.parse_args()
    for name in options.names:
        record = json.loads((HERE / "results" / f"{name}.json").read_text(encoding="utf-8"))
        path = options.images / f"{name}_trade_off.png"
        print(path if trade_off(record, path) else f"{name}: no row is a share of another")


if __name__ == "__main__":
    main()
