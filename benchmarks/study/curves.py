"""How the study's figures depend on the temperature and on the weight of each text loss.

    python -m benchmarks.study.curves

Reads `results/study_a_temperatures.json`, `study_a_weights.json` and `study_a_losses.json` (weight
0), and draws `docs/images/study_a_temperatures_curves.png` and `study_a_weights_curves.png`.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import RESULTS
from benchmarks.study.plots import IMAGES, values_of
from benchmarks.study.tables import LABELS
from paraclip.evaluation.plots import COLOURS, arms, new_figure, save
from paraclip.evaluation.statistics import Interval

PANELS = (
    ("pairs-sugar-crepe-pp", "AO@10"), ("variations", "AO@10"), ("cxc", "AO@10 CxC ≥ 4.5"),
    ("sugar-crepe-pp", "TOT"), ("sts", "STS mean of 7"), ("image-text-retrieval", "T2I R@10"),
)  # fmt: skip
WARM = 0.2
"""The recipe's temperature of the text losses."""
Settings = Mapping[str, Any]
Place = Callable[[Settings], float | None]
"""Where a variant lies on a curve; None for variants that are not on it."""


def temperature_of(option: str) -> Place:
    """The variants that differ from the recipe in one temperature alone."""

    def place(variant: Settings) -> float | None:
        return float(variant.get(option, WARM)) if set(variant) <= {option} else None

    return place


def weight_of(loss: int) -> Place:
    """The variants that differ from the recipe in the weight of L2 (1) or L3 (2) alone."""

    def place(variant: Settings) -> float | None:
        if not set(variant) <= {"weights", "one_step"}:
            return None
        weights = [1, 1, 0] if variant.get("one_step") else variant.get("weights", [1, 1, 1])
        others = [weight for number, weight in enumerate(weights) if number != loss]
        return float(weights[loss]) if others == [1, 1] else None

    return place


CURVES: Mapping[str, tuple[tuple[str, ...], Mapping[str, Place]]] = {
    "temperatures": (
        ("temperatures",),
        {
            "L2 and L3": temperature_of("text_temperature"),
            "L2 (L3 at 0.2)": temperature_of("l2_temperature"),
            "L3 (L2 at 0.2)": temperature_of("l3_temperature"),
        },
    ),
    "weights": (
        ("weights", "losses"),
        {"L2 (L3 at 1)": weight_of(1), "L3 (L2 at 1)": weight_of(2)},
    ),
}
"""Grids and curves of each plot."""


def points_of(records: Sequence[Mapping[str, Any]], place: Place) -> dict[float, str]:
    """The scored rows on a curve by their place, in rising order; of equal rows, the first."""
    found: dict[float, str] = {}
    for record in records:
        scored = {one["row"] for one in record["figures"]}
        for row, variant in record["settings"]["variants"].items():
            at = place(variant) if row in scored else None
            if at is not None:
                found.setdefault(at, row)
    return dict(sorted(found.items()))


def draw(name: str, records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw a panel for each figure, with a curve for each loss and a line at base."""
    values: dict[tuple[str, str, str], Interval] = {}
    for record in reversed(records):
        values |= values_of(record["figures"])
    drawing = new_figure(11, 6.4)
    panels = drawing.subplots(2, 3).ravel()
    curves = {label: points_of(records, place) for label, place in CURVES[name][1].items()}
    ticks = sorted({at for points in curves.values() for at in points})
    for panel, figure in zip(panels, PANELS, strict=True):
        for number, (label, points) in enumerate(curves.items()):
            curve = {at: values[row, *figure] for at, row in points.items()}
            draw_curve(panel, label, curve, number, is_log=name == "temperatures")
        panel.set_xticks(ticks, [f"{at:g}" for at in ticks], fontsize=8)
        panel.set_xticks([], minor=True)
        panel.grid(alpha=0.3)
        panel.axhline(values["base", *figure].value, color="#777777", linestyle=":", label="base")
        panel.set_title(LABELS[figure], fontsize=9)
    shown = panels[0].get_legend_handles_labels()
    drawing.legend(*shown, loc="outside upper right", ncols=len(shown[0]), fontsize=8)
    axis = "temperature" if name == "temperatures" else "weight; that of L1 is 1"
    drawing.supxlabel(axis, fontsize=9)
    title = "percent, means over seeds with 95 % intervals"
    drawing.suptitle(title, x=0.01, ha="left", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(drawing, path)


def draw_curve(
    panel: Any, label: str, curve: Mapping[float, Interval], number: int, is_log: bool
) -> None:
    """One curve; curves are shifted a little, so that their intervals do not hide each other."""
    shift = number - 1
    across = [at * 1.03**shift if is_log else at + 0.02 * shift for at in curve]
    bars = np.hstack([arms(one) for one in curve.values()])  # [2, points]
    panel.errorbar(
        across, [one.value for one in curve.values()], yerr=bars, label=label,
        color=COLOURS[(2, 5, 3)[number]], marker="osD"[number], markersize=4, linewidth=1.2,
        elinewidth=0.8,
    )  # fmt: skip
    if is_log:
        panel.set_xscale("log")


def main() -> None:
    """Draw the plots whose grids have results."""
    made = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    made.add_argument("--images", type=Path, default=IMAGES, help="folder of plots")
    options = made.parse_args()
    for name, (grids, _) in CURVES.items():
        files = [options.results / f"study_a_{grid}.json" for grid in grids]
        if all(file.is_file() for file in files):
            path = options.images / f"study_a_{name}_curves.png"
            draw(name, [json.loads(file.read_text(encoding="utf-8")) for file in files], path)
            print(path)


if __name__ == "__main__":
    main()
