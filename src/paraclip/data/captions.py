"""A caption, the row it is read from, and the checks between the two."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from paraclip.data.config import Columns
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
        image: path or fsspec URL of the picture; None for a caption that only L2 and L3 use.
        source: file and row (`captions.csv:12`), for messages.
    """

    id: str
    caption: str
    image_id: str
    image: str | None
    source: str


class BrokenRow(Exception):
    """A row that cannot be used; the message is the reason, as a clause."""


@dataclass(slots=True)
class Record:
    """One row as a format's reader returns it, not yet checked.

    Args:
        where: file and row, for messages.
        row: number of the row in its file; used as id if there is no other.
        caption: text, UTF-8 bytes, or a list of these; anything else is broken.
        image: value of the image column.
        id: value of the id column; None if there is no such column.
        image_id: value of the image id column.
    """

    where: str
    row: int
    caption: Any
    image: Any = None
    id: Any = None
    image_id: Any = None


def choose_columns(available: Iterable[str], columns: Columns, where: str) -> Columns:
    """The columns that a file has, None for missing optional ones; raises UserError for others."""
    known = list(available)

    def optional(name: str | None, flag: str) -> str | None:
        """The column; only one with its default name may be missing."""
        default = flag.replace("-", "_")
        if name is None or name == default:
            return default if default in known else None
        return require(known, name, flag, where)

    return replace(
        columns,
        caption=require(known, columns.caption, "caption", where),
        image=optional(columns.image, "image") if columns.image else None,
        id=optional(columns.id, "id"),
        image_id=optional(columns.image_id, "image-id"),
    )


def with_picture_keys(chosen: Columns, columns: Columns) -> Columns:
    """The columns chosen for the first of several JSON objects, with the keys of pictures added.

    An object without a picture may lack these keys, and the objects that follow may have them.
    """
    return replace(chosen, image=columns.image, image_id=columns.image_id or "image_id")


def column_names(chosen: Columns) -> list[str]:
    """The names of the chosen columns, without repetition."""
    names = (chosen.caption, chosen.image, chosen.id, chosen.image_id)
    return list(dict.fromkeys(name for name in names if name is not None))


def make_record(chosen: Columns, where: str, row: int, values: Mapping[str, Any]) -> Record:
    """The record of a row given by column name; a missing id is empty, not None."""
    image, caption_id, image_id = (
        values.get(name) if name else None for name in (chosen.image, chosen.id, chosen.image_id)
    )
    if chosen.id and caption_id is None:
        caption_id = ""
    return Record(where, row, values.get(chosen.caption), image, caption_id, image_id)


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
    """The text, stripped; raises BrokenRow if it is not text, empty or too long."""
    text = plain_text(value, name)
    if text is None or not (text := text.strip()):
        raise BrokenRow(f"the {name} is empty")
    if len(text) > LONGEST_CAPTION:
        raise BrokenRow(f"the {name} is longer than {LONGEST_CAPTION:,} characters")
    return text


def plain_text(value: Any, name: str) -> str | None:
    """A text, bytes or integer as text, or None; raises BrokenRow for other types and non-UTF-8."""
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
    """The name of a picture; raises BrokenRow like `plain_text`, and for a NUL character."""
    name = plain_text(value, "image name")
    if name is not None and "\0" in name:
        raise BrokenRow("the image name contains a NUL character")
    return name
