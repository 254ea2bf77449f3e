"""A caption, the row that it is read from, and the checks between the two."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from paraclip.data.config import Columns
from paraclip.data.untrusted_json import BadJson, parse_json_object
from paraclip.errors import UserError, nearest


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption and, where there is one, its picture.

    Args:
        id: unique in the source; follows the caption through generation and training.
        caption: the text, stripped, never empty.
        image_id: captions with the same `image_id` describe the same picture; equal to `id`
            where the caption has no picture.
        image: where the picture's bytes are (a path or an fsspec URL), or None: such a caption
            feeds L2 and L3 only.
        source: file and row it came from (`captions.csv:12`), for messages.
    """

    id: str
    caption: str
    image_id: str
    image: str | None
    source: str


LONGEST_CAPTION = 10_000


class BrokenRow(Exception):
    """A row that cannot be used; the text says why, as a plain clause."""


@dataclass(slots=True)
class Record:
    """What a format's reader found in one row.

    Args:
        where: file and row, for messages.
        row: number of the row in its file; the id where there is no better one.
        caption: text, UTF-8 bytes, or a list of these; anything else is broken.
        image: what stands in the image column.
        id: what stands in the id column, None where there is no such column.
        image_id: what stands in the image id column.
    """

    where: str
    row: int
    caption: Any
    image: Any = None
    id: Any = None
    image_id: Any = None


@dataclass(frozen=True)
class Chosen:
    """The columns to read, each one there; None where there is none to read."""

    caption: str
    image: str | None
    id: str | None
    image_id: str | None

    def names(self) -> list[str]:
        """All of them, each once."""
        every = (self.caption, self.image, self.id, self.image_id)
        return list(dict.fromkeys(name for name in every if name is not None))

    def record(self, where: str, row: int, found: Mapping[str, Any]) -> Record:
        """The record of a row given by column name; an id that should be there is never None."""
        image = found.get(self.image) if self.image else None
        name = None
        if self.id:
            name = found.get(self.id)
            name = "" if name is None else name
        image_id = found.get(self.image_id) if self.image_id else None
        return Record(where, row, found.get(self.caption), image, name, image_id)


def choose_columns(available: Iterable[str], columns: Columns, where: str) -> Chosen:
    """Match the named columns with those that a file has.

    Raises:
        UserError: a named column is missing; it lists what there is and the nearest names.
    """
    known = list(available)

    def named(name: str | None, flag: str) -> str | None:
        """The column of that name; the usual name may be missing, one that was given may not."""
        usual = flag.replace("-", "_")
        if name is None or name == usual:
            return usual if usual in known else None
        return require(known, name, flag, where)

    return Chosen(
        caption=require(known, columns.caption, "caption", where),
        image=named(columns.image, "image") if columns.image else None,
        id=named(columns.id, "id"),
        image_id=named(columns.image_id, "image-id"),
    )


def require(known: list[str], name: str, flag: str, where: str) -> str:
    """The name, if the file has such a column."""
    if name in known:
        return name
    has = ", ".join(label(other) for other in known[:12]) or "none"
    hint = f"Name it with --{flag}-column. {nearest(name, known) if known else ''}"
    raise UserError(where, f"has no column {label(name)} (it has {has})", hint)


def label(name: object) -> str:
    """A name from the input in quotes, on one line, not too long, safe to print."""
    text = str(name)
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    return repr(shown.encode("utf-8", "backslashreplace").decode())


def clean_text(value: Any, name: str = "caption") -> str:
    """The text, stripped.

    Raises:
        BrokenRow: it is not text, not UTF-8, empty, or longer than 10,000 characters.
    """
    text = plain_text(value, name)
    if text is None or not (text := text.strip()):
        raise BrokenRow(f"the {name} is empty")
    if len(text) > LONGEST_CAPTION:
        raise BrokenRow(f"the {name} is longer than {LONGEST_CAPTION:,} characters")
    return text


def plain_text(value: Any, name: str) -> str | None:
    """Text of text, bytes or a number; None of None.

    Raises:
        BrokenRow: it is none of these, or not UTF-8.
    """
    if value is None:
        return None
    if isinstance(value, str) and value.isascii():
        return value
    if not isinstance(value, str | bytes | int) or isinstance(value, bool):
        raise BrokenRow(f"the {name} is not text")
    try:
        if isinstance(value, bytes):
            return value.decode()
        # Undecodable bytes of a text file arrive as lone surrogates, which no encoder takes.
        return str(value).encode().decode()
    except UnicodeError:
        raise BrokenRow(f"the {name} is not UTF-8") from None


def picture_name(value: Any) -> str | None:
    """The name of a picture; None of None.

    Raises:
        BrokenRow: it is not text, not UTF-8, or holds a NUL, which no file name can.
    """
    name = plain_text(value, "image name")
    if name is not None and "\0" in name:
        raise BrokenRow("the image name holds a NUL character")
    return name


def json_object(line: bytes) -> dict[str, Any]:
    """The JSON object of a line.

    Raises:
        BrokenRow: the line is something else, or its JSON is refused.
    """
    try:
        return parse_json_object(line)
    except BadJson as error:
        raise BrokenRow(f"the line {error}") from None
