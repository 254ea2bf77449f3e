"""A caption, the columns it is read from, the checks between the two, and the broken rows and
pictures: left out, counted and listed, and an error if there are too many."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

from paraclip.errors import UserError, nearest, printable, without_password
from paraclip.options import Checked
from paraclip.output_folder import OutputFolder

_LONGEST_CAPTION = 10_000  # characters
_MOST_LISTED = 1_000  # a broken file of millions would fill memory and disk
_MOST_NAMED = 20  # of them, in a text


@dataclass(frozen=True)
class Columns(Checked):
    """Names of the columns (or JSON keys) of a captions file, or of the JSON in shards."""

    caption: Annotated[str, tyro.conf.arg(name="caption-column")] = "caption"
    """Column of the caption; in JSON and Parquet it may hold a list of captions."""

    image: Annotated[str | None, tyro.conf.arg(name="image-column")] = "image"
    """Column of the picture: a path or a URL; empty for a row without one."""

    images: str | None = None
    """Folder that relative picture paths refer to. Default: the folder of the captions file and its
    subfolder `images`."""


# Inside another options class, the flags have no prefix: `--caption-column`.
ColumnOptions = Annotated[Columns, tyro.conf.arg(name="")]


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption and its picture, if it has one.

    Args:
        id: unique in the source; generation and training keep it.
        caption: the text, stripped, never empty.
        image_id: captions with the same `image_id` describe the same picture; equal to `id`
            where the caption has no picture.
        image: path or URL of the picture; None for a caption that only L2 and L3 use.
        source: file and row (`captions.csv:12`), for messages.
    """

    id: str
    caption: str
    image_id: str
    image: str | None
    source: str


class BrokenRow(Exception):
    """A row that cannot be used; the message is the reason, as a clause."""


class _Keys(NamedTuple):
    """Names of the columns of a file, or of the keys of its objects; None if there is no such."""

    caption: str
    image: str | None
    id: str | None
    image_id: str | None

    def pick(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The caption's columns of a row; a key for each that the file has, if only with None."""
        pairs = zip(self._fields, self, strict=True)
        return {name: values.get(column) for name, column in pairs if column is not None}


def choose_columns(available: Iterable[str], columns: Columns, where: str) -> _Keys:
    """The columns of a caption, given those of a header, a schema, or the first object of a file.

    Raises UserError for a missing column; that of the picture may be missing, or only in this
    object, if it has its default name. The first object determines whether there are ids.
    """
    known = list(available)
    image = None if columns.image == "image" else columns.image
    for name, flag in ((columns.caption, "caption"), (image, "image")):
        if name is not None:
            guess = nearest(name, known) if known else ""
            hint = f"Rename it, or name it with --{flag}-column, if the command has this option."
            require_columns(known, [name], where, f"{hint} {guess}")
    # Decided once for the file: the row's number, in place of an id, could be another row's id.
    return _Keys(columns.caption, columns.image, "id" if "id" in known else None, "image_id")


def require_columns(known: Collection[str], names: Iterable[str], where: object, hint: str) -> None:
    """Raise UserError, with the hint, for the first name that a file or a row lacks."""
    for name in names:
        if name not in known:
            shown = ", ".join(label(other) for other in list(known)[:12]) or "none"
            raise UserError(where, f"has no column {label(name)} (it has {shown})", hint)


def label(name: object) -> str:
    """A name from the input in quotes: one line, at most 80 characters, printable."""
    text = str(name)
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


def clean_text(value: Any, name: str = "caption") -> str:
    """The text, stripped; raises BrokenRow if it is not text, empty or too long."""
    text = plain_text(value, name)
    if text is None or not (text := text.strip()):
        raise BrokenRow(f"the {name} is empty")
    if len(text) > _LONGEST_CAPTION:
        raise BrokenRow(f"the {name} is longer than {_LONGEST_CAPTION:,} characters")
    return text


def plain_text(value: Any, name: str) -> str | None:
    """A text, bytes or integer as text, or None; raises BrokenRow for other types, what is not
    UTF-8, and NUL characters."""
    if value is None:
        return None
    # True is an int in Python.
    if not isinstance(value, str | bytes | int) or isinstance(value, bool):
        raise BrokenRow(f"the {name} is not text")
    text = value if isinstance(value, str) else ""
    # Most texts are ASCII: no bytes to decode, and no surrogates.
    if not text or not text.isascii():
        try:
            # Undecodable bytes of a text file arrive as lone surrogates, which no encoder accepts.
            text = (value if isinstance(value, bytes) else str(value).encode()).decode()
        except UnicodeError:
            raise BrokenRow(f"the {name} is not UTF-8") from None
    if "\0" in text:  # no name of a file
        raise BrokenRow(f"the {name} contains a NUL character")
    return text


@dataclass
class Problems:
    """The rows and pictures that are left out, with reasons."""

    max_share: float = 0.01  # largest accepted share of broken rows, 0 to 1
    count: int = 0  # of broken rows
    listed: list[tuple[str, str]] = field(default_factory=list)  # where and what, the first 1,000

    def add(self, where: object, what: str, rows: int = 1) -> None:
        """Count and list a broken row."""
        self.count += rows
        if len(self.listed) < _MOST_LISTED:
            # The URL of a picture may contain one.
            self.listed.append((without_password(where), without_password(what)))

    def take(self, other: "Problems", total: int | None = None) -> None:
        """Add the rows of another instance, if they are not too many of a total of its own."""
        if total is not None:
            other.check(total)
        self.count += other.count
        self.listed += other.listed[: _MOST_LISTED - len(self.listed)]

    def check(self, total: int) -> None:
        """Raise UserError if more than `max_share` of `total` rows are broken."""
        if self.count <= self.max_share * total:  # no division: there may be no rows
            return
        where, what = self.listed[0]
        share = f"{self.count:,} of {total:,} rows are broken, this is the first"
        hint = f"Fix the rows: more than {self.max_share:.2%} of them is an error."
        raise UserError(where, f"{what} ({share})", hint)

    def named(self) -> list[str]:
        """The first twenty, and how many more there are."""
        named = [f"{where}: {what}" for where, what in self.listed[:_MOST_NAMED]]
        return named + [f"{self.count - _MOST_NAMED:,} more"] * (len(self.listed) > _MOST_NAMED)

    def summary(self) -> str:
        """Number of what is left out, and its first twenty; empty if there are none."""
        lines = [f"{self.count:,} left out:", *(printable(f"  {one}") for one in self.named())]
        return "\n".join(lines) if self.count else ""

    def write(self, path: Path, kind: str = "problems") -> None:
        """Write one row per line: where, tab, what; raises the errors of `OutputFolder`.

        If the list is full, a line says how many rows were skipped. `kind` is that of the folder.
        """
        folder = OutputFolder(path.parent, kind)
        folder.refuse_foreign(path)
        lines = [f"{printable(where)}\t{printable(what)}\n" for where, what in self.listed]
        if len(lines) == _MOST_LISTED < self.count:
            skipped = f"{self.count:,} rows were skipped, the first {_MOST_LISTED:,} are listed"
            lines.append(f"...\t{skipped}\n")
        folder.write(path, "".join(lines))
