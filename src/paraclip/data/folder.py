"""Folders of pictures with a text file each."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paraclip.data.captions import BrokenRow, Columns
from paraclip.data.lines import UTF8_MARK, UTF16_MARKS
from paraclip.data.problems import Problems
from paraclip.data.shards import LARGEST_TEXT, SUFFIXES
from paraclip.errors import UserError
from paraclip.files import check_input

_ASIDE = frozenset(
    ("readme", "license", "licence", "copying", "credits", "changelog", "notes", "problems")
)
"""Names of text files that many folders contain and that are not captions."""


def read_folder(
    source: str, problems: Problems, columns: Columns | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Captions of all pictures in the folder and its subfolders, in the order of their names.

    The caption is the first line that is not empty (Tux Paint's stamps have translations in the
    others). The id is the picture's path inside the folder. Only the names of one subfolder are
    held in memory at a time.
    """
    pictures = 0
    for path in walk(Path(source)):
        if path.suffix == ".txt":  # only one without a picture comes here
            problems.add(path, "there is no picture with this name")
            continue
        pictures += 1
        name, text = path.relative_to(source).as_posix(), path.with_suffix(".txt")
        try:
            caption = first_line(text)
        except BrokenRow as broken:
            problems.add(path, str(broken))
            continue
        yield str(text), {"caption": caption, "image": name, "id": name, "image_id": name}
    if not pictures:
        hint = "Put a .txt beside each picture, or name a captions file or shards (folder/*.tar)."
        raise UserError(source, "contains no pictures", hint)


def walk(folder: Path) -> Iterator[Path]:
    """All pictures, and all captions without a picture of the same name; no hidden files.

    A link counts as a file, so that no folder is entered twice. Raises UserError for a folder that
    cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            shown = [entry for entry in entries if not entry.name.startswith(".")]
            folders = {entry.name for entry in shown if entry.is_dir(follow_symlinks=False)}
    except OSError as error:
        raise UserError(folder, f"cannot be read ({error.strerror})", "Check it.") from error
    names = sorted(entry.name for entry in shown)  # file systems list names in different orders
    # A folder may be called `a.jpg`.
    stems = {Path(x).stem for x in names if x not in folders and Path(x).suffix.lower() in SUFFIXES}
    for name in names:
        path, (stem, suffix) = folder / name, os.path.splitext(name)
        if name in folders:
            yield from walk(path)
        elif suffix == ".txt":
            if stem not in stems and stem.lower() not in _ASIDE and path.is_file():
                yield path
        elif suffix.lower() in SUFFIXES:
            yield path


def first_line(path: Path) -> bytes:
    """The first line that is not empty; raises BrokenRow if there is no regular UTF-8 file."""
    try:
        check_input(path)
        with path.open("rb") as stream:
            text = stream.read(LARGEST_TEXT)
    except UserError as error:
        raise BrokenRow(f"the caption file {path.name!r} {error.what}") from None
    except FileNotFoundError:
        raise BrokenRow(f"the picture has no caption file {path.name!r} beside it") from None
    except OSError as error:
        what = f"the caption file {path.name!r} cannot be read ({error.strerror})"
        raise BrokenRow(what) from None
    if text.startswith(UTF16_MARKS):
        raise BrokenRow("the caption is in UTF-16, not UTF-8")
    # Of bytes: `str.splitlines` would also end a line at U+2028 and others inside a caption.
    lines = (line.strip() for line in text.removeprefix(UTF8_MARK).splitlines())
    return next((line for line in lines if line), b"")
