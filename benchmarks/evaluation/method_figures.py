"""The figures of `docs/method.md`.

    python -m benchmarks.evaluation.method_figures

Draws the three losses, the measure of consistency, and how the temperature distributes the push of
the negatives; the last one reads `results/study_gradients.json`. Takes seconds.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import RESULTS, say
from paraclip.evaluation.metrics import average_overlap, jaccard
from paraclip.evaluation.plots import COLOURS, new_figure, save

IMAGES = Path(__file__).parents[2] / "docs" / "images"
GREY, ORANGE, BLUE, GREEN, PINK, RED, SKY = COLOURS
TEXTS = {
    "caption": "kid w/ pizza box :)",
    "paraphrase 1": "A kid holding a box of pizza.",
    "paraphrase 2": "A young child with a pizza box.",
}
LISTS = ("A B C D E", "B A F C G")
"""Two rankings of pictures, named by letters, best first."""


def main() -> None:
    """Draw all figures."""
    options = parser().parse_args()
    options.images.mkdir(parents=True, exist_ok=True)
    gradients = json.loads((options.results / "study_gradients.json").read_text())["gradients"]
    for name, drawing in {
        "losses": draw_losses(),
        "consistency": draw_consistency(),
        "temperature": draw_temperature(gradients),
    }.items():
        path = options.images / f"method_{name}.png"
        save(drawing, path)
        say(f"{path}")


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder of the benchmarks' JSON"
    )
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of the figures")
    return parser


def draw_losses() -> Any:
    """Three texts and a picture, their encoders, and which vectors each loss pulls together."""
    from matplotlib.patches import FancyBboxPatch

    drawing = new_figure(8.4, 3.5)
    panel = drawing.subplots()
    panel.set(xlim=(0, 11), ylim=(-0.3, 4.2))
    panel.set_axis_off()
    heights = dict(zip(("picture", *TEXTS), (3.6, 2.5, 1.4, 0.3), strict=True))
    for name, height in heights.items():
        box(panel, (1.9, height), f"{name}\n{TEXTS.get(name, '')}".strip(), "white", GREY)
        arrow(panel, (3.7, height), (4.7, height))
        arrow(panel, (6.9, height), (8.05, height))
        panel.plot(8.2, height, "o", color=SKY if name == "picture" else BLUE, markersize=11)
    box(panel, (5.8, 3.6), "image encoder\nfrozen", "#E8E8E8", GREY)
    tall = FancyBboxPatch(
        (4.95, 0.1), 1.7, 2.6, boxstyle="round,pad=0.15", facecolor="#DCEBF5", edgecolor=BLUE
    )
    panel.add_patch(tall)
    panel.text(5.8, 1.4, "text encoder\ntuned", ha="center", va="center", fontsize=8.5)
    arc(panel, heights["picture"], heights["caption"], "L1", GREEN, "CLIP's temperature")
    arc(panel, heights["caption"], heights["paraphrase 1"], "L2", RED, "temperature 0.2")
    arc(panel, heights["paraphrase 1"], heights["paraphrase 2"], "L3", PINK, "temperature 0.2")
    return drawing


def box(panel: Any, place: tuple[float, float], text: str, fill: str, edge: str) -> None:
    """A text in a rounded box around `place`."""
    shape = {"boxstyle": "round,pad=0.4", "facecolor": fill, "edgecolor": edge}
    panel.text(*place, text, ha="center", va="center", fontsize=8.5, bbox=shape)


def arrow(panel: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """An arrow from left to right."""
    look = {"arrowstyle": "->", "color": GREY}
    panel.annotate("", xy=end, xytext=start, arrowprops=look)


def arc(panel: Any, one: float, other: float, name: str, colour: str, note: str) -> None:
    """The tie of two vectors, with the loss's name."""
    look = {
        "arrowstyle": "<->", "color": colour, "linewidth": 2,
        "connectionstyle": "arc3,rad=-0.5", "shrinkA": 6, "shrinkB": 6,
    }  # fmt: skip
    panel.annotate("", xy=(8.25, other), xytext=(8.25, one), arrowprops=look)
    middle = (one + other) / 2
    panel.text(8.75, middle + 0.05, name, color=colour, weight="bold", va="center", fontsize=11)
    panel.text(9.25, middle + 0.05, note, color=colour, va="center", fontsize=8)


def draw_consistency() -> Any:
    """Two ranked lists with shared pictures connected, and their overlap at each depth."""
    first, second = (row.split() for row in LISTS)
    ranks = [np.array([[ord(name) for name in row]]) for row in (first, second)]
    depth = len(first)
    drawing = new_figure(7.0, 2.4)
    panel = drawing.subplots()
    panel.set(xlim=(-1.9, depth + 1.6), ylim=(-1.3, 2.6))
    panel.set_axis_off()
    for name in set(first) & set(second):
        panel.plot([first.index(name), second.index(name)], [1.75, 0.75], color=GREEN, linewidth=2)
    for height, title, row in ((2, "one wording", first), (0.5, "another wording", second)):
        panel.text(-0.7, height, title, ha="right", va="center", fontsize=9)
        for place, name in enumerate(row):
            shared = name in first and name in second
            look = {"boxstyle": "round,pad=0.35", "facecolor": "white"}
            look["edgecolor"] = GREEN if shared else GREY
            panel.text(place, height, name, ha="center", va="center", fontsize=10, bbox=look)
    panel.text(-0.7, -0.6, "shared up to here", ha="right", va="center", fontsize=9)
    for place in range(depth):
        both = len(set(first[: place + 1]) & set(second[: place + 1]))
        panel.text(place, -0.6, f"{both} of {place + 1}", ha="center", va="center", fontsize=9)
    overlap, same = (100 * float(of(*ranks)[0]) for of in (average_overlap, jaccard))
    panel.text(depth - 0.3, -0.6, f"mean: AO@{depth} {overlap:.0f}", va="center", fontsize=9)
    panel.text(depth - 0.3, 1.25, f"shared of all: JS@{depth} {same:.0f}", va="center", fontsize=9)
    return drawing


def draw_temperature(gradients: dict[str, dict[str, float]]) -> Any:
    """The sources of the push and the remaining pull, by the temperature of the text losses."""
    known = sorted((float(name), one) for name, one in gradients.items() if is_number(name))
    own = next((name, one) for name, one in gradients.items() if not is_number(name))
    warmth = [value for value, _ in known]
    drawing = new_figure(8.4, 2.9)
    left, right = drawing.subplots(1, 2)
    curves = (
        (left, "hardest_1", "hardest 1 %", RED, "o"),
        (left, "hardest_10", "hardest 10 %", ORANGE, "s"),
        (right, "pull", "pull that is left", BLUE, "D"),
    )
    for panel, key, label, colour, marker in curves:
        scale = 100 if key == "pull" else 1
        values = [scale * one[key] for _, one in known]
        panel.plot(warmth, values, marker=marker, color=colour, label=label)
    titles = "who pushes: share of the push, percent", "pull of the paraphrase, percent"
    for panel, title in zip((left, right), titles, strict=True):
        panel.axvline(float(own[0].split()[0]), color=GREY, linestyle=":", label="the base's own")
        panel.axvline(0.2, color=GREEN, linestyle="--", label="recipe consistent")
        panel.set(xscale="log", xlabel="temperature", ylim=(0, 105))
        panel.set_xticks(warmth, [f"{value:g}" for value in warmth])
        panel.minorticks_off()
        panel.set_title(title, fontsize=9)
        panel.legend(
            fontsize=7, frameon=False, loc="center left" if panel is right else (0.02, 0.1)
        )
        panel.spines[["top", "right"]].set_visible(False)
    return drawing


def is_number(text: str) -> bool:
    """Whether a text is a number; in the table, all temperatures are, except the base's own."""
    try:
        float(text)
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    main()
