"""Contact sheet: results of base and tuned for two wordings of the same query.

The pairs are selected by a fixed rule, which the title states: the three largest gains, two pairs
in the middle, and the largest loss; of pairs with the same first wording, one. The gain is that of
AO@k, plus that of the correct picture's reciprocal rank, if it is known.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from paraclip.arrays import Float
from paraclip.evaluation.browser import SIDE, RankedPairs, Rankings, thumbnail
from paraclip.evaluation.metrics import average_overlap, shared_results
from paraclip.files import atomic_path

GREATEST, MEDIAN, WORST = 3, 2, 1
SHOWN = 5  # results of each ranking
GAP, FRAME = 6, 4  # pixels between two pictures, and of a frame
TEXT = 270  # width of the column of texts
HEAD, TITLE = 32, 86  # height of the line above a pair, and of the title
CELL = SIDE + 2 * FRAME + GAP
SHARED, RIGHT, OTHER, INK, FAINT = "#0072B2", "#00795A", "#d8d8d8", "#1a1a1a", "#6a6a6a"
BADGE = 22


def contact_sheet(pairs: RankedPairs, models: tuple[str, str], path: Path | str) -> None:
    """Draw the sheet: a block per pair, a row per wording, and the first five results per model.

    Results among the first k of both wordings have a blue frame, the correct picture a green one.

    Args:
        pairs: at least one pair with the rankings of both models.
        models: labels of the two models.
        path: PNG file to write.
    """
    chosen = choose_examples(pairs, models)
    depth = pairs.rankings[models[0]][0].shape[1]
    column, height = min(SHOWN, depth) * CELL + 14, HEAD + 2 * CELL + 10
    size = (TEXT + 2 * column + GAP, TITLE + len(chosen) * height)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)

    def write(x: int, y: int, text: str, points: int, ink: str = INK) -> None:
        draw.text((x, y), text, fill=ink, font=ImageFont.load_default(points))

    write(GAP, 6, f"One query, two wordings: {models[0]} against {models[1]}", 22)
    tick = "Green tick: the picture that the query describes. " if pairs.answers else ""
    write(GAP, 36, f"{tick}Blue frame: among the first {depth} for both wordings.", 16)
    also = " and of the correct picture's rank" if pairs.answers else ""
    how = (
        f"Chosen by the change of AO@{depth}{also}: the {GREATEST} greatest gains, {MEDIAN} in the "
        "middle, the greatest loss."
    )
    write(GAP, 60, how, 14, FAINT)
    for place, (number, kind) in enumerate(chosen):
        top = TITLE + place * height
        draw.line([(0, top), (sheet.width, top)], fill=OTHER)
        write(GAP, top + 7, kind, 15, FAINT)
        for row, text in enumerate(pairs.texts[number]):
            write(GAP, top + HEAD + row * CELL + 4, wrapped(text), 15)
        right = pairs.answers[number] if pairs.answers else None
        for side, label in enumerate(models):
            left = TEXT + side * column
            first, second = (ranking[number] for ranking in pairs.rankings[label])
            shared = int(shared_results(first[None], second[None])[0])
            write(left, top + 7, f"{label}: {shared} of {depth} results shared", 17)
            for row, (ranking, other) in enumerate(((first, second), (second, first))):
                for rank, position in enumerate(ranking[:SHOWN].tolist()):
                    picture = thumbnail(pairs.references[position])
                    corner = (left + rank * CELL, top + HEAD + row * CELL)
                    _paste(sheet, picture, corner, position in other, position == right)
    with atomic_path(path) as temporary:
        about = PngInfo()
        about.add_text("Software", "ParaCLIP")
        small = sheet.quantize(256, dither=Image.Dither.NONE)
        small.save(temporary, "PNG", optimize=True, pnginfo=about)


def choose_examples(pairs: RankedPairs, models: tuple[str, str]) -> list[tuple[int, str]]:
    """Select the pairs to show by their gain (ties by index), with the reason for each."""
    base, tuned = (_benefit(pairs.rankings[label], pairs.answers) for label in models)
    gain = tuned - base
    first = {texts[0]: number for number, texts in reversed(list(enumerate(pairs.texts)))}
    order = sorted(first.values(), key=lambda number: (-float(gain[number]), number))
    middle = max(0, (len(order) - MEDIAN) // 2)
    kinds: dict[int, str] = {}
    for kind, numbers in (
        ("greatest gain", order[:GREATEST]),
        ("median", order[middle : middle + MEDIAN]),
        ("greatest loss", order[-WORST:]),
    ):
        for number in numbers:
            kinds.setdefault(number, kind)
    return list(kinds.items())


def _benefit(rankings: Rankings, answers: Sequence[int]) -> Float:
    """Return AO@k of each pair and, where the correct picture is known, its reciprocal rank.

    The reciprocal rank is the mean of both wordings, 0 if the picture is not among the first k.
    """
    overlap = average_overlap(*rankings)
    if answers:
        ranks = np.arange(1, rankings[0].shape[1] + 1)
        found = [(ranking == np.asarray(answers)[:, None]) / ranks for ranking in rankings]
        overlap += np.mean([hits.sum(axis=1) for hits in found], axis=0)
    return overlap


def _paste(
    sheet: Image.Image, picture: Image.Image, corner: tuple[int, int], shared: bool, right: bool
) -> None:
    """Paste a picture with its frame and, if it is the correct one, a tick."""
    draw, (left, top) = ImageDraw.Draw(sheet), corner
    end = (left + SIDE + 2 * FRAME - 1, top + SIDE + 2 * FRAME - 1)
    colour = RIGHT if right else SHARED if shared else OTHER
    draw.rectangle((*corner, *end), outline=colour, width=FRAME if shared or right else 1)
    sheet.paste(picture, (left + FRAME, top + FRAME))
    if right:
        draw.rectangle((end[0] - BADGE, end[1] - BADGE, *end), fill=RIGHT)
        points = [(end[0] + x, end[1] + y) for x, y in ((-17, -11), (-12, -6), (-5, -16))]
        draw.line(points, fill="white", width=3)


def wrapped(text: str, width: int = 34, lines: int = 5) -> str:
    """Return the quoted text, wrapped and truncated with an ellipsis."""
    return "\n".join(
        textwrap.wrap(f"“{text}”", width, max_lines=lines, placeholder="…", break_long_words=True)
    )
