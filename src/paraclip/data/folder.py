"""A folder of pictures with a `.txt` beside each."""

import os
from collections.abc import Iterator
from pathlib import Path

from paraclip.data.images import SUFFIXES
from paraclip.data.lines import UTF8_MARK, UTF16_MARKS
from paraclip.data.problems import Problems
from paraclip.data.record import BrokenRow, Record
from paraclip.errors import UserError
from paraclip.files import check_input

LARGEST_TEXT = 2**20
ASIDE = frozenset(("readme", "license", "licence", "copying", "credits", "changelog", "notes"))
"""Texts that lie in many folders and are no captions."""


def read_folder(source: str, problems: Problems) -> Iterator[Record]:
    """Records of all pictures in the folder and its subfolders, in the order of their names.

    The caption is the first line that is not empty (Tux Paint's stamps keep translations in the
    others). The id is the picture's path inside the folder. The names of one subfolder at a time
    are held.
    """
    pictures = 0
    for row, path in enumerate(walk(Path(source)), start=1):
        if path.suffix == ".txt":
            problems.add(path, "there is no picture beside it")
            continue
        pictures += 1
        name = path.relative_to(source).as_posix()
        try:
            caption = first_line(path.with_suffix(".txt"))
        except BrokenRow as broken:
            problems.add(path, str(broken))
            continue
        yield Record(str(path.with_suffix(".txt")), row, caption, name, name, name)
    if not pictures:
        hint = "Put a .txt beside each picture, or name a captions file or shards (folder/*.tar)."
        raise UserError(source, "holds no pictures", hint)


def walk(folder: Path) -> Iterator[Path]:
    """All picture files, hidden ones left out, and captions that have no picture beside them."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise UserError(folder, f"cannot be read ({error.strerror})", "Check it.") from error
    with_picture = {Path(name).stem for name in names if Path(name).suffix.lower() in SUFFIXES}
    for name in names:
        path = folder / name
        if name.startswith("."):
            continue
        if path.suffix == ".txt":
            if path.stem not in with_picture and path.stem.lower() not in ASIDE and path.is_file():
                yield path
        elif path.suffix.lower() in SUFFIXES:
            yield path
        elif path.is_dir() and not path.is_symlink():
            yield from walk(path)


def first_line(path: Path) -> bytes:
    """The first line that is not empty.

    Raises:
        BrokenRow: there is no such file, it is a pipe or a device, or it is not UTF-8 but UTF-16.
    """
    try:
        check_input(path)
        with path.open("rb") as stream:
            text = stream.read(LARGEST_TEXT)
    except UserError as error:
        raise BrokenRow(f"the caption file {path.name!r} {error.what}") from None
    except OSError:
        raise BrokenRow(f"the picture has no caption file {path.name!r} beside it") from None
    if text.startswith(UTF16_MARKS):
        raise BrokenRow("the caption is in UTF-16, not UTF-8")
    lines = (line.strip() for line in text.removeprefix(UTF8_MARK).splitlines())
    return next((line for line in lines if line), b"")
