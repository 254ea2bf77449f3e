"""Contact sheet: results of base and tuned for two wordings of the same query.

The pairs are selected by a fixed rule, which the title states: the three largest gains (of captions
that share no content word, to avoid three variants of one caption), two pairs in the middle, and
the largest loss. Pairs whose two wordings share no content word are preferred, if there are enough.
The gain is that of AO@k, plus that of the correct picture's reciprocal rank, if it is known.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.PngImagePlugin import PngInfo

from paraclip.arrays import Integers
from paraclip.data.images import open_image
from paraclip.errors import UserError
from paraclip.evaluation.metrics import average_overlap, shared_results
from paraclip.files import atomic_path
from paraclip.paraphrase.language.words import content_roots

Rankings = tuple[Integers, Integers]
"""Rankings of the captions and of the paraphrases, as pool positions [pairs, k]."""

GREATEST, MEDIAN, WORST = 3, 2, 1
SHOWN = 5
SIDE, GAP, FRAME = 100, 6, 4
TEXT = 270
HEAD, TITLE = 32, 86
SHARED, RIGHT, OTHER, INK, FAINT = "#0072B2", "#00795A", "#d8d8d8", "#1a1a1a", "#6a6a6a"
BADGE = 22
ROW = SIDE + 2 * FRAME + GAP
KINDS = ("greatest gain", "median", "greatest loss")


def contact_sheet(
    pairs: Sequence[tuple[str, str]],
    base_rankings: Rankings,
    tuned_rankings: Rankings,
    image_references: Sequence[str],
    path: Path | str,
    labels: tuple[str, str] = ("base", "tuned"),
    answers: Sequence[int] = (),
) -> None:
    """Draw the sheet: a block per pair, a row per wording, and the first five results per model.

    Results among the first k of both wordings have a blue frame, the correct picture a green one.
    """
    if not pairs:
        raise UserError(path, "there is no pair to draw", "Give pairs.")
    chosen = choose(base_rankings, tuned_rankings, pairs, answers)
    shown = min(SHOWN, base_rankings[0].shape[1])
    sheet = Sheet(len(chosen), shown, labels, base_rankings[0].shape[1], bool(answers))
    for place, (number, kind) in enumerate(chosen):
        models = [
            (first[number], second[number]) for first, second in (base_rankings, tuned_rankings)
        ]
        right = answers[number] if answers else None
        sheet.block(place, pairs[number], kind, models, image_references, right)
    with atomic_path(path) as temporary:
        small = sheet.image.quantize(256, dither=Image.Dither.NONE)
        about = PngInfo()
        about.add_text("Software", "ParaCLIP")
        small.save(temporary, "PNG", optimize=True, pnginfo=about)


def distinct(pairs: Sequence[tuple[str, str]]) -> Integers:
    """Return the indices of the pairs, keeping the first of pairs with the same texts."""
    first = {tuple(pair): number for number, pair in reversed(list(enumerate(pairs)))}
    return np.array(sorted(first.values()))


def choose(
    base: Rankings,
    tuned: Rankings,
    pairs: Sequence[tuple[str, str]],
    answers: Sequence[int] = (),
) -> list[tuple[int, str]]:
    """Select the pairs to show by their gain (ties by index), with the reason for each."""
    gain = benefit(tuned, answers) - benefit(base, answers)
    among = reworded(distinct(pairs), pairs)
    order = among[np.argsort(-gain[among], kind="stable")].tolist()
    middle = max(0, (len(order) - MEDIAN) // 2)
    wanted = [
        *((number, KINDS[0]) for number in unlike(order, pairs, GREATEST)),
        *((number, KINDS[1]) for number in order[middle : middle + MEDIAN]),
        *((number, KINDS[2]) for number in order[len(order) - WORST :]),
    ]
    kinds: dict[int, str] = {}
    for number, kind in wanted:
        kinds.setdefault(number, kind)
    return list(kinds.items())


def benefit(rankings: Rankings, answers: Sequence[int]) -> NDArray[np.floating]:
    """Return AO@k of each pair and, where the correct picture is known, its reciprocal rank.

    The reciprocal rank is the mean of both wordings, 0 if the picture is not among the first k.
    """
    overlap: NDArray[np.floating] = average_overlap(*rankings)
    if not answers:
        return overlap
    ranks = np.arange(1, rankings[0].shape[1] + 1)
    found = [(ranking == np.asarray(answers)[:, None]) / ranks for ranking in rankings]
    overlap += np.mean([hits.sum(axis=1) for hits in found], axis=0)
    return overlap


def reworded(among: Integers, pairs: Sequence[tuple[str, str]]) -> Integers:
    """Return the pairs whose texts share no content word; all, if these do not fill a sheet."""
    apart = [
        number
        for number in among
        if not set(content_roots(pairs[number][0])) & set(content_roots(pairs[number][1]))
    ]
    return np.array(apart) if len(apart) >= GREATEST + MEDIAN + WORST else among


def unlike(order: Sequence[int], pairs: Sequence[tuple[str, str]], count: int) -> list[int]:
    """Return up to `count` indices, in order, of captions that share no content word."""
    taken: list[int] = []
    used: set[str] = set()
    for number in order:
        if len(taken) == count:
            break
        words = set(content_roots(pairs[number][0]))
        if not used & words:
            taken.append(number)
            used |= words
    return taken


class Sheet:
    """The canvas of the contact sheet.

    Args:
        blocks: number of pairs.
        shown: number of results per row.
        labels: names of the two models.
        k: length of the rankings.
        answered: whether the correct pictures are known.
    """

    def __init__(
        self, blocks: int, shown: int, labels: tuple[str, str], k: int, answered: bool = False
    ) -> None:
        self.shown, self.labels, self.k = shown, labels, k
        self.column = shown * (SIDE + 2 * FRAME + GAP) + 14
        self.height = HEAD + 2 * ROW + 10
        size = (TEXT + 2 * self.column + GAP, TITLE + blocks * self.height)
        self.image = Image.new("RGB", size, "white")
        self.draw = ImageDraw.Draw(self.image)
        self.write((GAP, 6), f"One query, two wordings: {labels[0]} against {labels[1]}", 22)
        tick = "Green tick: the picture that the query describes. " if answered else ""
        self.write((GAP, 36), f"{tick}Blue frame: among the first {k} for both wordings.", 16)
        also = " and of the correct picture's rank" if answered else ""
        how = (
            f"Chosen by the change of AO@{k}{also}: the {GREATEST} greatest gains, no word in "
            f"common, {MEDIAN} in the middle, the greatest loss."
        )
        self.write((GAP, 60), how, 14, FAINT)

    def write(self, place: tuple[int, int], text: str, size: int, ink: str = INK) -> None:
        """Write one or more lines of text."""
        self.draw.text(place, text, fill=ink, font=font(size))

    def block(
        self,
        place: int,
        texts: tuple[str, str],
        kind: str,
        models: list[tuple[Integers, Integers]],
        references: Sequence[str],
        right: int | None = None,
    ) -> None:
        """Draw one pair."""
        top = TITLE + place * self.height
        self.draw.line([(0, top), (self.image.width, top)], fill=OTHER)
        self.write((GAP, top + 7), kind, 15, FAINT)
        for row, text in enumerate(texts):
            self.write((GAP, top + HEAD + row * ROW + 4), wrapped(text), 15)
        for number, (label, rankings) in enumerate(zip(self.labels, models, strict=True)):
            left = TEXT + number * self.column
            shared = int(shared_results(rankings[0][None], rankings[1][None])[0])
            self.write((left, top + 7), f"{label}: {shared} of {self.k} results shared", 17)
            for row in range(2):
                corner = (left, top + HEAD + row * ROW)
                others = set(rankings[1 - row].tolist())
                self.results(corner, rankings[row], others, references, right)

    def results(
        self,
        corner: tuple[int, int],
        ranking: Integers,
        others: set[int],
        references: Sequence[str],
        right: int | None,
    ) -> None:
        """Draw the first results of one ranking, with a frame around those in the other."""
        for number, position in enumerate(ranking[: self.shown].tolist()):
            left = corner[0] + number * (SIDE + 2 * FRAME + GAP)
            outer = (left, corner[1], left + SIDE + 2 * FRAME - 1, corner[1] + SIDE + 2 * FRAME - 1)
            if position == right or position in others:
                colour = RIGHT if position == right else SHARED
                self.draw.rectangle(outer, outline=colour, width=FRAME)
            else:
                self.draw.rectangle(outer, outline=OTHER, width=1)
            self.image.paste(thumbnail(references[position]), (left + FRAME, corner[1] + FRAME))
            if position == right:
                self.tick(outer[2], outer[3])

    def tick(self, right: int, bottom: int) -> None:
        """Draw a tick into the lower right corner of a picture."""
        box = (right - BADGE, bottom - BADGE, right, bottom)
        self.draw.rectangle(box, fill=RIGHT)
        points = [(-17, -11), (-12, -6), (-5, -16)]
        self.draw.line([(right + x, bottom + y) for x, y in points], fill="white", width=3)


def thumbnail(reference: str) -> Image.Image:
    """Return the picture padded to a white square; a grey square if it cannot be read."""
    try:
        picture = open_image(reference, SIDE)
    except UserError:
        return Image.new("RGB", (SIDE, SIDE), OTHER)
    return ImageOps.pad(picture, (SIDE, SIDE), color="white")


def wrapped(text: str, width: int = 34, lines: int = 5) -> str:
    """Return the quoted text, wrapped and truncated with an ellipsis."""
    wrapped_lines = textwrap.wrap(f"“{text}”", width)
    if len(wrapped_lines) > lines:
        wrapped_lines = [*wrapped_lines[: lines - 1], f"{wrapped_lines[lines - 1][: width - 1]}…"]
    return "\n".join(wrapped_lines)


def font(size: int) -> Any:
    """Return Pillow's bundled font, which is always available."""
    return ImageFont.load_default(size)
