"""Table, plot and JSON of a sweep."""

import json
from pathlib import Path
from typing import Any

from paraclip.evaluation.plots import COLOURS, arms, new_figure, save
from paraclip.evaluation.report import as_dict, counts, figure, inert, markdown_table, spread
from paraclip.evaluation.statistics import Interval
from paraclip.files import write_text
from paraclip.merging.knee import Figure, admissible, robustness
from paraclip.merging.sweep import Sweep

FORMAT = "paraclip-sweep-1"
RULE = (
    "Knee: of the shares at which no standard figure falls significantly (95 % interval of its "
    "paired difference from base below 0), the one with the largest score. Score: "
    "change from base divided by the figure's largest change over the sweep, mean over a "
    "benchmark's figures, then over the robustness benchmarks."
)
HEAD = ("alpha", "score", "robustness", "standard")


def markdown(result: Sweep) -> str:
    """The table and its notes."""
    head = [*HEAD, *(f"{x.name} ({x.benchmark})" for x in result.figures)]
    notes = [
        "robustness, standard: mean change from base in points, over the figures of a benchmark, "
        "then over benchmarks. Others: percent; * the interval of its paired change from "
        "base excludes 0.",
        RULE,
        *(inert(f"{name}: {facts['pool']}") for name, facts in result.benchmarks.items()),
        *map(inert, result.notes),
    ]
    rows = [alpha_row(result, index) for index in range(len(result.alphas))]
    return "\n\n".join([markdown_table(head, rows), *notes]) + "\n"


def alpha_row(result: Sweep, index: int) -> list[str]:
    """The row of an alpha."""
    score = robustness(result.figures)[index]
    return [
        alpha_label(result, index),
        f"{score:.2f}" + ("" if admissible(result.figures, index) else " (costs)"),
        spread(result.robust[index], True),
        spread(result.standard[index], True),
        *(figure_cell(x, index) for x in result.figures),
    ]


def figure_cell(curve: Figure, index: int) -> str:
    """A figure at an alpha, with a mark for a change beyond chance."""
    return figure(curve.values[index].value) + ("*" if counts(curve.changes[index]) else "")


def alpha_label(result: Sweep, index: int) -> str:
    """An alpha, with the names of base, tuned and the knee."""
    alpha = result.alphas[index]
    names = [name for name, here in (("base", alpha == 0), ("tuned", alpha == 1)) if here]
    names += ["knee"] if index == result.knee_index else []
    return f"{alpha:g}" + (f" ({', '.join(names)})" if names else "")


def sweep_json(result: Sweep, provenance: dict[str, Any]) -> str:
    """The sweep as JSON."""
    scores = robustness(result.figures)
    points = [
        {
            "alpha": alpha, "score": round(scores[index], 4),
            "admissible": admissible(result.figures, index),
            "robust_change": as_dict(result.robust[index]),
            "standard_change": as_dict(result.standard[index]),
            "figures": [figure_as_dict(x, index) for x in result.figures],
        }
        for index, alpha in enumerate(result.alphas)
    ]  # fmt: skip
    content = {
        "format": FORMAT, "rule": RULE, "knee": result.alpha, "points": points,
        "benchmarks": result.benchmarks, "notes": result.notes, "provenance": provenance,
    }  # fmt: skip
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def figure_as_dict(curve: Figure, index: int) -> dict[str, Any]:
    """A figure at one alpha."""
    return {
        "benchmark": curve.benchmark, "name": curve.name, "role": curve.role,
        "value": as_dict(curve.values[index]), "change": as_dict(curve.changes[index]),
    }  # fmt: skip


def write_sweep(result: Sweep, folder: Path, provenance: dict[str, Any]) -> None:
    """Write `sweep.json`, `sweep.md` and `sweep.png`."""
    write_text(folder / "sweep.json", sweep_json(result, provenance))
    write_text(folder / "sweep.md", "# Alpha sweep\n\n![sweep](sweep.png)\n\n" + markdown(result))
    plot_sweep(result, folder / "sweep.png")


def plot_sweep(result: Sweep, path: Path) -> None:
    """Plot robustness against standard tasks, one point per alpha, joined in order."""
    drawing = new_figure(6.8, 5.2)
    panel = drawing.subplots()
    panel.axhline(0, color="#999999", linewidth=1)
    panel.axvline(0, color="#999999", linewidth=1)
    across, up = ([x.value for x in axis] for axis in (result.standard, result.robust))
    panel.plot(across, up, color=COLOURS[2], linewidth=1, alpha=0.6)
    for index in range(len(result.alphas)):
        draw_point(panel, result, index, result.standard[index], result.robust[index])
    panel.set_xlabel("change of the standard tasks (points, mean over benchmarks)")
    panel.set_ylabel("change of the robustness tasks (points, mean over benchmarks)")
    panel.set_title(
        "Mixtures of base and tuned, with 95 % paired intervals; up and right is better\n"
        "hollow: a standard figure falls significantly; ringed: the knee",
        fontsize=9,
    )
    panel.margins(0.12)
    panel.grid(alpha=0.3)
    save(drawing, path)


def draw_point(panel: Any, result: Sweep, index: int, across: Interval, up: Interval) -> None:
    """Draw the point of an alpha with its intervals and its name."""
    allowed, knee = admissible(result.figures, index), index == result.knee_index
    panel.errorbar(
        across.value, up.value, xerr=arms(across), yerr=arms(up), fmt="o", markersize=6,
        color=COLOURS[2], markerfacecolor=COLOURS[2] if allowed else "white",
        ecolor="#BBBBBB", elinewidth=0.8, zorder=3,
    )  # fmt: skip
    if knee:
        panel.plot(
            across.value, up.value, "o", markersize=14, markerfacecolor="none",
            markeredgecolor=COLOURS[5], markeredgewidth=2, zorder=4,
        )  # fmt: skip
    panel.annotate(
        alpha_label(result, index), (across.value, up.value), xytext=(8, 6),
        textcoords="offset points", fontsize=9, zorder=5,
    )  # fmt: skip
