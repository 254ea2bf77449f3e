"""Pictures of a report: plots, drawn with matplotlib (the extra `plots`) without a display, and the
contact sheet, which shows what two models find for two wordings of a query.

The pairs of the sheet are selected by a fixed rule, which its title states: the three largest
gains, two pairs in the middle, and the largest loss; of pairs with the same first wording, one. The
gain is that of AO@k, plus that of the correct picture's reciprocal rank, if it is known. Where it
is not, pairs are left out for whose wordings no picture is close, unless there are no others.
"""

import io
import math
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.PngImagePlugin import PngInfo

from paraclip.arrays import Float
from paraclip.data.images import open_image
from paraclip.errors import UserError, optional_import, printable
from paraclip.evaluation.benchmark import Shown
from paraclip.evaluation.metrics import average_overlap, shared_results
from paraclip.evaluation.report import Line, Report, figure
from paraclip.evaluation.statistics import Interval

# Okabe and Ito's palette, distinguishable by colour-blind readers.
COLOURS = ("#555555", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
_MARKERS = "osD^vPX"
_PANELS_A_ROW = 3
_ROLES = ("base", "control", "tuned", "merged")
"""Models that look the same in every plot, regardless of the other models."""
_SIDE = 100  # pixels of a picture
GREATEST, MEDIAN, WORST = 3, 2, 1  # pairs
_SHOWN = 5  # results of each ranking
GAP, FRAME = 6, 4  # pixels between two pictures, and of a frame
_TEXT = 270  # width of the column of texts
HEAD, TITLE = 32, 86  # height of the line above a pair, and of the title
_CELL = _SIDE + 2 * FRAME + GAP
SHARED, RIGHT, OTHER, INK, FAINT = "#0072B2", "#00795A", "#d8d8d8", "#1a1a1a", "#6a6a6a"
_BADGE = 22  # pixels of the square with a tick


def plot_scores(report: Report) -> bytes | None:
    """Plot the headline figures in the order of the report's table, above its notes, as PNG; None
    without one."""
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


@dataclass(frozen=True, eq=False)
class RankedPairs:
    """All pairs of one benchmark with the rankings of two models."""

    base: Shown  # the pairs, and the rankings of the first model
    tuned: Shown  # the same pairs with those of the second


def _read(reference: str, side: int) -> Image.Image:
    """The picture, small; a grey square if it cannot be read."""
    try:
        return open_image(reference, side)
    except UserError:
        return Image.new("RGB", (side, side), "#d8d8d8")


def contact_sheet(pairs: RankedPairs, models: tuple[str, str]) -> bytes:
    """The sheet as PNG: a block per pair, a row per wording, the first five results per model.

    Results among the first k of both wordings have a blue frame, the correct picture a green one.
    """
    chosen, shown = _choose_examples(pairs), pairs.base
    depth = shown.rankings[0].shape[1]
    column, height = min(_SHOWN, depth) * _CELL + 14, HEAD + 2 * _CELL + 10
    size = (_TEXT + 2 * column + GAP, TITLE + len(chosen) * height)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)

    def write(x: int, y: int, text: str, points: int, ink: str = INK) -> None:
        draw.text((x, y), text, fill=ink, font=ImageFont.load_default(points))

    write(GAP, 6, f"One query, two wordings: {models[0]} against {models[1]}", 22)
    tick = "Green tick: the picture that the query describes. " if shown.answers else ""
    write(GAP, 36, f"{tick}Blue frame: among the first {depth} for both wordings.", 16)
    also = " and of the correct picture's rank" if shown.answers else ""
    close = _close_pairs(pairs)
    among = f"among {len(close):,} of {len(shown.texts):,} pairs for which a picture is close, "
    chosen_by = f"Chosen {among if close else ''}by the change of AO@{depth}{also}: the {GREATEST} "
    write(
        GAP, 60, f"{chosen_by}greatest gains, {MEDIAN} in the middle, the greatest loss.", 14, FAINT
    )
    for place, (number, kind) in enumerate(chosen):
        top = TITLE + place * height
        draw.line([(0, top), (sheet.width, top)], fill=OTHER)
        write(GAP, top + 7, kind, 15, FAINT)
        for row, text in enumerate(shown.texts[number]):
            lines = textwrap.wrap(f"“{text}”", width=34, max_lines=5, placeholder="…")
            write(GAP, top + HEAD + row * _CELL + 4, "\n".join(lines), 15)
        right = shown.answers[number] if shown.answers else None
        for side, (label, model) in enumerate(zip(models, (shown, pairs.tuned), strict=True)):
            left = _TEXT + side * column
            first, second = (ranking[number] for ranking in model.rankings)
            shared = int(shared_results(first[None], second[None])[0])
            write(left, top + 7, f"{label}: {shared} of {depth} results shared", 17)
            for row, (ranking, other) in enumerate(((first, second), (second, first))):
                for rank, position in enumerate(ranking[:_SHOWN].tolist()):
                    picture = _read(shown.references[position], _SIDE)
                    picture = ImageOps.pad(picture, (_SIDE, _SIDE), color="white")
                    corner = (left + rank * _CELL, top + HEAD + row * _CELL)
                    _paste(sheet, picture, corner, position in other, position == right)
    about, stream = PngInfo(), io.BytesIO()
    about.add_text("Software", "ParaCLIP")
    small = sheet.quantize(256, dither=Image.Dither.NONE)
    small.save(stream, "PNG", optimize=True, pnginfo=about)
    return stream.getvalue()


def _choose_examples(pairs: RankedPairs) -> list[tuple[int, str]]:
    """Select the pairs to show by their gain (ties by index), with the reason for each."""
    gain = _benefit(pairs.tuned) - _benefit(pairs.base)
    numbers = _close_pairs(pairs) or list(range(len(gain)))
    # Of the pairs with one first wording, the first: the last that is put in.
    first = {pairs.base.texts[number][0]: number for number in reversed(numbers)}
    order = sorted(first.values(), key=lambda number: (-float(gain[number]), number))
    middle = max(0, (len(order) - MEDIAN) // 2)
    kinds: dict[int, str] = {}
    for kind, numbers in (
        ("greatest gain", order[:GREATEST]),
        ("median", order[middle : middle + MEDIAN]),
        ("greatest loss", order[-WORST:]),
    ):
        for number in numbers:
            kinds.setdefault(number, kind)  # one of few pairs may be of several kinds
    return list(kinds.items())


def _close_pairs(pairs: RankedPairs) -> list[int]:
    """Return the pairs for whose wordings both models find a close picture, where measured."""
    both = zip(pairs.base.close, pairs.tuned.close, strict=True)
    return [number for number, close in enumerate(both) if all(close)]


def _benefit(shown: Shown) -> Float:
    """Return AO@k [pairs], plus the correct picture's reciprocal rank (0 beyond k) if known."""
    overlap = average_overlap(*shown.rankings)
    if shown.answers:
        ranks = np.arange(1, shown.rankings[0].shape[1] + 1)
        right = np.asarray(shown.answers)[:, None]
        found = [(ranking == right) / ranks for ranking in shown.rankings]
        overlap += np.mean([hits.sum(axis=1) for hits in found], axis=0)
    return overlap


def _paste(
    sheet: Image.Image, picture: Image.Image, corner: tuple[int, int], shared: bool, right: bool
) -> None:
    """Paste a picture with its frame and, if it is the correct one, a tick."""
    draw, (left, top) = ImageDraw.Draw(sheet), corner
    end = (left + _SIDE + 2 * FRAME - 1, top + _SIDE + 2 * FRAME - 1)
    colour = RIGHT if right else SHARED if shared else OTHER
    draw.rectangle((*corner, *end), outline=colour, width=FRAME if shared or right else 1)
    sheet.paste(picture, (left + FRAME, top + FRAME))
    if right:
        draw.rectangle((end[0] - _BADGE, end[1] - _BADGE, *end), fill=RIGHT)
        points = [(end[0] + x, end[1] + y) for x, y in ((-17, -11), (-12, -6), (-5, -16))]
        draw.line(points, fill="white", width=3)
