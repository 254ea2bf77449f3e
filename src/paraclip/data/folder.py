"""Pictures with a text file each: a folder, or a WebDataset shard, a tar file of such files."""

import os
import tarfile
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, Self

from paraclip.data.captions import BrokenRow, Record
from paraclip.data.config import Columns
from paraclip.data.images import SUFFIXES
from paraclip.data.lines import UTF8_MARK, UTF16_MARKS, is_remote, open_source
from paraclip.data.problems import Problems
from paraclip.data.untrusted_json import BadJson, parse_json_object
from paraclip.errors import UserError
from paraclip.files import check_input

LARGEST_TEXT = 2**20
ENDS_EARLY = (tarfile.EmptyHeaderError, tarfile.TruncatedHeaderError)  # type: ignore[attr-defined]
ASIDE = frozenset(("readme", "license", "licence", "copying", "credits", "changelog", "notes"))
"""Names of text files that many folders contain and that are not captions."""


def read_folder(source: str, problems: Problems) -> Iterator[Record]:
    """Records of all pictures in the folder and its subfolders, in the order of their names.

    The caption is the first line that is not empty (Tux Paint's stamps have translations in the
    others). The id is the picture's path inside the folder. Only the names of one subfolder are
    held in memory at a time.
    """
    pictures = 0
    for row, path in enumerate(walk(Path(source)), start=1):
        if path.suffix == ".txt":
            problems.add(path, "there is no picture with this name")
            continue
        pictures += 1
        name, text = path.relative_to(source).as_posix(), path.with_suffix(".txt")
        try:
            caption = first_line(text)
        except BrokenRow as broken:
            problems.add(path, str(broken))
            continue
        yield Record(str(text), row, caption, name, name, name)
    if not pictures:
        hint = "Put a .txt beside each picture, or name a captions file or shards (folder/*.tar)."
        raise UserError(source, "contains no pictures", hint)


def walk(folder: Path) -> Iterator[Path]:
    """All pictures, and all captions without a picture of the same name; no hidden files."""
    folders, files = listed(folder)
    with_picture = {Path(name).stem for name in files if Path(name).suffix.lower() in SUFFIXES}
    for name in sorted(folders | files):
        path = folder / name
        if name in folders:
            yield from walk(path)
        elif path.suffix == ".txt":
            if path.stem not in with_picture and path.stem.lower() not in ASIDE and path.is_file():
                yield path
        elif path.suffix.lower() in SUFFIXES:
            yield path


def listed(folder: Path) -> tuple[set[str], set[str]]:
    """Names of the folders and of everything else in a folder, without hidden ones.

    A link counts as a file, so that no folder is entered twice.

    Raises:
        UserError: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            shown = [entry for entry in entries if not entry.name.startswith(".")]
            folders = {entry.name for entry in shown if entry.is_dir(follow_symlinks=False)}
    except OSError as error:
        raise UserError(folder, f"cannot be read ({error.strerror})", "Check it.") from error
    return folders, {entry.name for entry in shown} - folders


def first_line(path: Path) -> bytes:
    """The first line that is not empty; raises BrokenRow if there is no regular UTF-8 file."""
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


def read_shard(source: str, columns: Columns, problems: Problems) -> Iterator[Record]:
    """Records of a shard in img2dataset's layout: `key.jpg`, `key.txt` and `key.json`.

    The caption is `key.txt`, or else "caption" in `key.json`. The id is the key. Pictures are not
    read. A truncated shard counts as one broken row; its earlier rows are used.
    """
    with open_source(source) as stream:
        try:
            # On disk, tarfile seeks past the pictures; a remote shard is a stream.
            mode: Any = "r|" if is_remote(source) else "r:"
            with Shard.open(fileobj=stream, mode=mode, tarinfo=Header) as archive:
                samples = groupby(members(archive), key=lambda member: member[0])
                for row, (key, parts) in enumerate(samples, start=1):
                    image, caption = image_and_caption(archive, parts, columns)
                    image = f"tar://{image}::{source}" if image and columns.image else None
                    yield Record(f"{source}: {key}", row, caption, image, key, key)
                truncated = archive.truncated
        except (tarfile.TarError, ValueError) as error:  # ValueError: a broken PAX header
            truncated = isinstance(error, tarfile.ReadError) and "unexpected end" in str(error)
            if not truncated:
                hint = "Fetch the shard again, or leave it out."
                raise UserError(source, f"is not a tar file ({error})", hint) from error
        if truncated:
            problems.add(source, "the shard is truncated")


class Shard(tarfile.TarFile):
    """A tar file that knows whether it ends without the mark of its end.

    `tarfile` treats one that is cut in a later header or between two members as complete.
    """

    truncated = False


class Header(tarfile.TarInfo):
    """A header of a `Shard`."""

    @classmethod
    def fromtarfile(cls, shard: tarfile.TarFile) -> Self:
        """The next header; `tarfile` handles the errors."""
        try:
            return super().fromtarfile(shard)
        except ENDS_EARLY:
            shard.truncated = True  # type: ignore[attr-defined]
            raise


def members(archive: tarfile.TarFile) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
    """Key, suffix and header of each file in a tar file."""
    while (member := archive.next()) is not None:
        # tarfile keeps all members that it has read, so a long shard would fill the memory.
        archive.members.clear()  # type: ignore[attr-defined]
        path = PurePosixPath(member.name)
        stem, _, ending = path.name.partition(".")
        if member.isfile():
            yield (path.parent / stem).as_posix(), f".{ending.lower()}", member


def image_and_caption(
    archive: tarfile.TarFile, parts: Iterable[tuple[str, str, tarfile.TarInfo]], columns: Columns
) -> tuple[str | None, Any]:
    """Picture name and caption of the members with one key; None if there is none."""
    image, texts = None, {}
    for _, suffix, member in parts:
        if suffix in SUFFIXES:
            image = member.name
        elif suffix in (".txt", ".json"):
            opened = archive.extractfile(member)
            texts[suffix] = opened.read(LARGEST_TEXT) if opened else b""
    if ".txt" in texts:
        return image, texts[".txt"]
    try:
        return image, parse_json_object(texts.get(".json", b"{}")).get(columns.caption)
    except BadJson:
        return image, None
