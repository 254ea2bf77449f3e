"""A caption, the row it is read from, and the checks between the two."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from paraclip.data.config import Columns
from paraclip.data.untrusted_json import BadJson, parse_json_object
from paraclip.errors import UserError, nearest

LONGEST_CAPTION = 10_000


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption and its picture, if it has one.

    Args:
        id: unique in the source; generation and training keep it.
        caption: the text, stripped, never empty.
        image_id: captions with the same `image_id` describe the same picture; equal to `id`
            where the caption has no picture.
        image: path or fsspec URL of the picture, or None: such a caption feeds L2 and L3 only.
        source: file and row (`captions.csv:12`), for messages.
    """

    id: str
    caption: str
    image_id: str
    image: str | None
    source: str


class BrokenRow(Exception):
    """A row that cannot be used; the message says why, as a clause."""


@dataclass(slots=True)
class Record:
    """One row as a format's reader returns it, not yet checked.

    Args:
        where: file and row, for messages.
        row: number of the row in its file; the id where there is no better one.
        caption: text, UTF-8 bytes, or a list of these; anything else is broken.
        image: value of the image column.
        id: value of the id column, None where there is no such column.
        image_id: value of the image id column.
    """

    where: str
    row: int
    caption: Any
    image: Any = None
    id: Any = None
    image_id: Any = None


@dataclass(frozen=True)
class Chosen:
    """Names of the columns to read, all of which the file has; None: nothing to read."""

    caption: str
    image: str | None
    id: str | None
    image_id: str | None

    def names(self) -> list[str]:
        """The names, without repetition."""
        names = (self.caption, self.image, self.id, self.image_id)
        return list(dict.fromkeys(name for name in names if name is not None))

    def record(self, where: str, row: int, values: Mapping[str, Any]) -> Record:
        """The record of a row given by column name; a missing id is empty, not None."""
        image = values.get(self.image) if self.image else None
        caption_id = None
        if self.id:
            caption_id = values.get(self.id)
            caption_id = "" if caption_id is None else caption_id
        image_id = values.get(self.image_id) if self.image_id else None
        return Record(where, row, values.get(self.caption), image, caption_id, image_id)


def choose_columns(available: Iterable[str], columns: Columns, where: str) -> Chosen:
    """Match the columns that the options name with those of a file.

    Raises:
        UserError: a named column is missing; the message lists the available ones.
    """
    known = list(available)

    def optional(name: str | None, flag: str) -> str | None:
        """The column; only one with its default name may be missing."""
        default = flag.replace("-", "_")
        if name is None or name == default:
            return default if default in known else None
        return require(known, name, flag, where)

    return Chosen(
        caption=require(known, columns.caption, "caption", where),
        image=optional(columns.image, "image") if columns.image else None,
        id=optional(columns.id, "id"),
        image_id=optional(columns.image_id, "image-id"),
    )


def require(known: list[str], name: str, flag: str, where: str) -> str:
    """The name, if the file has such a column; raises UserError otherwise."""
    if name in known:
        return name
    available = ", ".join(label(other) for other in known[:12]) or "none"
    hint = f"Name it with --{flag}-column. {nearest(name, known) if known else ''}"
    raise UserError(where, f"has no column {label(name)} (it has {available})", hint)


def label(name: object) -> str:
    """A name from the input in quotes: one line, at most 80 characters, printable."""
    text = str(name)
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


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
    """A text, bytes or whole number as text; None stays None.

    Raises:
        BrokenRow: it has another type, or is not UTF-8.
    """
    if value is None:
        return None
    if isinstance(value, str) and value.isascii():
        return value
    if not isinstance(value, str | bytes | int) or isinstance(value, bool):
        raise BrokenRow(f"the {name} is not text")
    try:
        # Undecodable bytes of a text file arrive as lone surrogates, which no encoder accepts.
        return (value if isinstance(value, bytes) else str(value).encode()).decode()
    except UnicodeError:
        raise BrokenRow(f"the {name} is not UTF-8") from None


def picture_name(value: Any) -> str | None:
    """The name of a picture; raises BrokenRow as `plain_text`, and for a NUL in it."""
    name = plain_text(value, "image name")
    if name is not None and "\0" in name:
        raise BrokenRow("the image name holds a NUL character")
    return name


def json_object(line: bytes) -> dict[str, Any]:
    """The JSON object of a line; raises BrokenRow for anything else."""
    try:
        return parse_json_object(line)
    except BadJson as error:
        raise BrokenRow(f"the line {error}") from None
