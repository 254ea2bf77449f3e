"""Results of queries as one picture: columns of groups of rows; what all rows of a group hold is
framed."""

import io
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from paraclip.data.images import FORMATS
from paraclip.errors import UserError
from paraclip.files import check_room
from paraclip.image_search.snapshot import Hit
from paraclip.output_folder import OutputFolder
from paraclip.store import Store

SIDE, GAP, FRAME, COLUMNS, MARGIN, LINE = 160, 8, 4, 10, 16, 26  # pixels, except COLUMNS
INK, FAINT, SHARED = "#1a1a1a", "#6a6a6a", "#0072B2"
_KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_LARGEST = {"JPEG": 65_500, "WEBP": 16_383}  # pixels of a side, in the encoders


Group = tuple[str, Mapping[str, Sequence[Hit]]]
"""A title, and rows of results by their label."""


def write_sheet(
    path: str,
    columns: Sequence[Sequence[Group]],
    thumbnails: Mapping[str, Image.Image],
    heading: Sequence[str] = (),
    side: int = SIDE,
) -> None:
    """Write columns of groups of results as a picture.

    Args:
        path: where.
        columns: those side by side, each of groups one below the other.
        thumbnails: pictures by id; others become grey.
        heading: lines above them.
        side: pixels of a picture.

    Raises:
        UserError: an error of `check_sheet`, the format does not allow its height, or it cannot be
            written.
    """
    kind = check_sheet(path)
    parts = [_draw_column(groups, thumbnails, side) for groups in columns]
    top = MARGIN + LINE * len(heading) if heading else 0
    size = sum(part.width for part in parts), top + max(part.height for part in parts)
    sheet, left = Image.new("RGB", size, "white"), 0
    pen = ImageDraw.Draw(sheet)
    for number, line in enumerate(heading):
        text = _fitting(line, sheet.width)
        pen.text((MARGIN, MARGIN + LINE * number), text, INK, ImageFont.load_default(18))
    for part in parts:
        sheet.paste(part, (left, top))
        left += part.width
    most = _LARGEST.get(kind, sheet.height)
    if sheet.height > most:
        what = f"would be {sheet.height:,} pixels high, and {kind} allows {most:,}"
        raise UserError(path, what, "End it in .png, or lower --k.")
    with OutputFolder(Path(path).parent, "sheet").replacing(Path(path)) as temporary:
        sheet.save(temporary, kind)


def thumbnails_of(groups: Sequence[Group], store: Store) -> dict[str, Image.Image]:
    """The thumbnails of all results by id."""
    # Once each: several rows may hold a picture.
    ids = sorted({hit.id for _, found in groups for hits in found.values() for hit in hits})
    rows = store.rows(ids, ("id", "thumbnail")).to_pylist()
    return {row["id"]: Image.open(io.BytesIO(row["thumbnail"]), formats=FORMATS) for row in rows}


def check_sheet(path: str) -> str:
    """The format of a sheet; raises UserError if the file name is not that of a picture, it may not
    be written, or a file that ParaCLIP did not write has it."""
    kind = next((kind for end, kind in _KINDS.items() if path.lower().endswith(end)), None)
    if kind is None:
        raise UserError(path, "is not the name of a picture", "End it in .png.")
    check_room(Path(path).parent)
    OutputFolder(Path(path).parent, "sheet").refuse_foreign(Path(path))
    return kind


def _draw_column(
    groups: Sequence[Group], thumbnails: Mapping[str, Image.Image], side: int
) -> Image.Image:
    """Draw groups one below the other."""
    most = max((len(hits) for _, found in groups for hits in found.values()), default=0)
    columns = min(max(most, 3), COLUMNS)  # three have room for a title
    step = side + GAP
    rows = [ceil(len(hits) / columns) for _, found in groups for hits in found.values()]
    width = 2 * MARGIN + columns * step - GAP
    height = 2 * MARGIN + LINE * (len(groups) + len(rows)) + step * sum(rows)
    sheet = Image.new("RGB", (width, height), "white")
    pen, top = ImageDraw.Draw(sheet), MARGIN
    for title, found in groups:
        sets = [{hit.id for hit in hits} for hits in found.values()]
        shared = set.intersection(*sets) if len(sets) > 1 else set()
        pen.text((MARGIN, top), _fitting(title, width), INK, ImageFont.load_default(18))
        top += LINE
        for label, hits in found.items():
            pen.text((MARGIN, top + 4), _fitting(label, width), FAINT, ImageFont.load_default(18))
            for number, hit in enumerate(hits):
                left = MARGIN + number % columns * step
                place = (left, top + LINE + number // columns * step)
                sheet.paste(_tile(thumbnails.get(hit.id), hit.id in shared, side), place)
            top += LINE + ceil(len(hits) / columns) * step
    return sheet


def _tile(thumbnail: Image.Image | None, shared: bool, side: int) -> Image.Image:
    """A square with a picture, framed if it is shared; grey without a picture."""
    square = Image.new("RGB", (side, side), SHARED if shared else "#e4e4e4")
    if thumbnail is not None:
        picture = ImageOps.fit(thumbnail, (side - 2 * FRAME, side - 2 * FRAME))
        square.paste(picture, (FRAME, FRAME))
    return square


def _fitting(text: str, width: int) -> str:
    """One line of text that fits into a width in pixels."""
    line = " ".join(text.split())  # a letter is about 9 pixels wide
    return line if len(line) * 9 < width else f"{line[: max(width // 9 - 3, 1)]}..."
