"""What a sweep leaves: one table, one plot, one JSON."""

import json
from pathlib import Path
from typing import Any

from paraclip.evaluation.reporting.plots import COLOURS, arms, new_figure, save
from paraclip.evaluation.reporting.report import as_dict
from paraclip.evaluation.reporting.tables import counts, figure, markdown_table, spread
from paraclip.evaluation.scoring.bootstrap import Interval
from paraclip.files import write_text
from paraclip.merging.knee import Figure, admissible, robustness
from paraclip.merging.sweep import Sweep

FORMAT = "paraclip-sweep-1"
RULE = (
    "Knee: among the shares at which no standard figure falls beyond chance (the 95 % interval of "
    "its paired difference from base lies wholly below 0), the one with the largest score. Score: "
    "change from base divided by the figure's largest change over the sweep, mean over a "
    "benchmark's figures, then over the robustness benchmarks."
)
HEAD = ("alpha", "score", "robustness", "standard")


def markdown(found: Sweep) -> str:
    """The table with what a reader must know under it."""
    head = [*HEAD, *(f"{x.name} ({x.benchmark})" for x in found.figures)]
    notes = [
        "robustness, standard: mean change from base in points, over the figures of a benchmark, "
        "then over benchmarks. Others: percent; * its paired change from base leaves out 0.",
        RULE,
        *(f"{name}: {facts['pool']}" for name, facts in found.benchmarks.items()),
        *found.notes,
    ]
    rows = [row(found, place) for place in range(len(found.alphas))]
    return "\n\n".join([markdown_table(head, rows), *notes]) + "\n"


def row(found: Sweep, place: int) -> list[str]:
    """One alpha's line."""
    score = robustness(found.figures)[place]
    return [
        label(found, place),
        f"{score:.2f}" + ("" if admissible(found.figures, place) else " (costs)"),
        spread(found.robust[place], True),
        spread(found.standard[place], True),
        *(cell(x, place) for x in found.figures),
    ]


def cell(found: Figure, place: int) -> str:
    """A figure at an alpha, marked where it left base's."""
    return figure(found.values[place].value) + ("*" if counts(found.changes[place]) else "")


def label(found: Sweep, place: int) -> str:
    """An alpha, with the names of the ends and the knee."""
    alpha = found.alphas[place]
    names = [name for name, here in (("base", alpha == 0), ("tuned", alpha == 1)) if here]
    names += ["knee"] if place == found.place else []
    return f"{alpha:g}" + (f" ({', '.join(names)})" if names else "")


def as_json(found: Sweep, provenance: dict[str, Any]) -> str:
    """Everything, with the rule in words."""
    scores = robustness(found.figures)
    points = [
        {
            "alpha": alpha, "score": round(scores[place], 4),
            "admissible": admissible(found.figures, place),
            "robust_change": as_dict(found.robust[place]),
            "standard_change": as_dict(found.standard[place]),
            "figures": [figure_as_dict(x, place) for x in found.figures],
        }
        for place, alpha in enumerate(found.alphas)
    ]  # fmt: skip
    content = {
        "format": FORMAT, "rule": RULE, "knee": found.alpha, "points": points,
        "benchmarks": found.benchmarks, "notes": found.notes, "provenance": provenance,
    }  # fmt: skip
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def figure_as_dict(found: Figure, place: int) -> dict[str, Any]:
    """A figure at one alpha."""
    return {
        "benchmark": found.benchmark, "name": found.name, "role": found.role,
        "value": as_dict(found.values[place]), "change": as_dict(found.changes[place]),
    }  # fmt: skip


def write_sweep(found: Sweep, folder: Path, provenance: dict[str, Any]) -> None:
    """`sweep.json`, `sweep.md` and `sweep.png` in the folder."""
    write_text(folder / "sweep.json", as_json(found, provenance))
    write_text(folder / "sweep.md", "# Alpha sweep\n\n![sweep](sweep.png)\n\n" + markdown(found))
    plot(found, folder / "sweep.png")


def plot(found: Sweep, path: Path) -> None:
    """Robustness against standard tasks, a point an alpha, in order joined by a line."""
    drawing = new_figure(6.8, 5.2)
    panel = drawing.subplots()
    panel.axhline(0, color="#999999", linewidth=1)
    panel.axvline(0, color="#999999", linewidth=1)
    across, up = ([x.value for x in axis] for axis in (found.standard, found.robust))
    panel.plot(across, up, color=COLOURS[2], linewidth=1, alpha=0.6)
    for place in range(len(found.alphas)):
        draw_point(panel, found, place, found.standard[place], found.robust[place])
    panel.set_xlabel("change of the standard tasks (points, mean over benchmarks)")
    panel.set_ylabel("change of the robustness tasks (points, mean over benchmarks)")
    panel.set_title(
        "Mixtures of base and tuned, with 95 % paired intervals; up and right is better\n"
        "hollow: a standard figure falls beyond chance; ringed: the knee",
        fontsize=9,
    )
    panel.margins(0.12)
    panel.grid(alpha=0.3)
    save(drawing, path)


def draw_point(panel: Any, found: Sweep, place: int, across: Interval, up: Interval) -> None:
    """One alpha with its intervals and its name."""
    allowed, knee = admissible(found.figures, place), place == found.place
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
        label(found, place), (across.value, up.value), xytext=(8, 6),
        textcoords="offset points", fontsize=9, zorder=5,
    )  # fmt: skip
