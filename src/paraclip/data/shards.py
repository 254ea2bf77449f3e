"""Pictures with a text file each, of the same name: WebDataset shards (tar files), and folders.

Python's `tarfile` believes what headers say. A negative size makes it read the same header for ever
(CVE-2025-8194), and the size of a further header is read into memory at once. `_open_shard` is the
only way in which ParaCLIP reads a tar file.
"""

import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, Self
from urllib.parse import unquote

from paraclip.data.captions import BrokenRow, Columns, Problems
from paraclip.data.lines import (
    UTF8_MARK,
    UTF16_MARKS,
    file_system,
    is_remote,
    local_path,
    open_source,
)
from paraclip.data.untrusted_json import BadJson, parse_json_object
from paraclip.errors import UserError
from paraclip.files import check_input

SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".ppm")
) | {".heic", ".heif"}
"""Of the names of pictures, in shards and in folders."""
LARGEST_TEXT = 2**20  # bytes of a caption file, or of a picture's JSON
_LARGEST_FILE = 2**33  # bytes; the limit of the plain tar format
_LARGEST_HEADER = 2**13  # bytes of a long name or a PAX header, in which `tarfile` searches slowly
# Types of headers whose content describes the next member, such as its long name.
_FURTHER_HEADERS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
# Private to `tarfile`, whose `next` takes them for the end.
_ENDS_EARLY = (tarfile.EmptyHeaderError, tarfile.TruncatedHeaderError)  # type: ignore[attr-defined]
_PREFIX = "tar://"
_ASIDE = frozenset(
    ("readme", "license", "licence", "copying", "credits", "changelog", "notes", "problems")
)
"""Names of text files that many folders contain and that are not captions."""


class _Shard(tarfile.TarFile):
    """A tar file that knows whether it ends without the mark of its end.

    `tarfile` treats one that is cut in a later header or between two members as complete.
    """

    truncated = False


class _Header(tarfile.TarInfo):
    """A header of a `_Shard` with sizes that are possible."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """A header before the content of a long name or a PAX header is read."""
        header = super().frombuf(buf, encoding, errors)
        header.check_size(_LARGEST_HEADER if header.type in _FURTHER_HEADERS else _LARGEST_FILE)
        return header

    @classmethod
    def fromtarfile(cls, shard: tarfile.TarFile) -> Self:
        """The next header, with the sizes that a PAX header may state; `tarfile` handles errors."""
        try:
            header = super().fromtarfile(shard)
        except _ENDS_EARLY:
            shard.truncated = True  # type: ignore[attr-defined]
            raise
        header.check_size(_LARGEST_FILE)
        return header

    def check_size(self, most: int) -> None:
        """Raise ReadError for a size that is negative or above `most` bytes."""
        if not 0 <= self.size <= most:
            raise tarfile.ReadError(f"a header states a size of {self.size:,} bytes")


@contextmanager
def _open_shard(source: str) -> Iterator[_Shard]:
    """A tar file opened for reading; raises UserError if it is broken, but not if it is cut."""
    with open_source(source) as stream:
        try:
            # On disk, tarfile seeks past the pictures; a remote shard is a stream.
            mode: Any = "r|" if is_remote(source) else "r:"
            with _Shard.open(fileobj=stream, mode=mode, tarinfo=_Header) as shard:
                try:
                    yield shard
                except tarfile.ReadError as error:
                    # The words of `tarfile` for a shard that is cut between or inside members.
                    if "unexpected end" not in str(error):
                        raise
                    shard.truncated = True
        # tarfile also raises ValueError and IndexError for broken fields, and calls itself for
        # each of consecutive PAX headers.
        except (tarfile.TarError, ValueError, IndexError, RecursionError) as error:
            hint = "Fetch the shard again, or leave it out."
            raise UserError(source, f"is not a tar file ({error})", hint) from error


def _members(shard: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The header of each file in a tar file; no hidden files, which macOS adds."""
    while (member := shard.next()) is not None:
        # tarfile keeps all members that it has read, so a long shard would fill the memory.
        shard.members.clear()  # type: ignore[attr-defined]
        hidden = PurePosixPath(member.name).name.startswith(".")
        if member.isfile() and not (member.issparse() or hidden):
            yield member


def _member_reference(shard: str, member: str) -> str:
    """The name of a picture in a shard: `tar://member::shard`; colons and % are escaped."""
    return f"{_PREFIX}{member.replace('%', '%25').replace(':', '%3A')}::{shard}"


def split_reference(reference: str) -> tuple[str, str] | None:
    """Shard and member of a `_member_reference`; None for any other name of a picture."""
    member, separator, shard = reference.partition("::")
    if not (separator and member.startswith(_PREFIX)):
        return None
    return shard, unquote(member.removeprefix(_PREFIX))


def read_member(shard: str, member: str, most: int) -> bytes:
    """At most this many bytes of a member; of a remote shard, only these bytes are fetched."""
    shard = local_path(shard)
    # Size and time distinguish a rewritten shard.
    state = None if is_remote(shard) else os.stat(shard)
    index = shard_index(shard, *((state.st_size, state.st_mtime_ns) if state else ()))
    if member not in index:
        # As a missing file does, so that `open_image` reports both alike.
        raise FileNotFoundError(member)
    offset, size = index[member]
    if is_remote(shard):
        files, path = file_system(shard)
        return bytes(files.cat_file(path, start=offset, end=offset + min(size, most)))
    check_input(shard)
    with Path(shard).open("rb") as stream:
        stream.seek(offset)
        return stream.read(min(size, most))


@lru_cache(maxsize=16)  # shuffled pictures come from several shards in turn
def shard_index(shard: str, *_size_and_time: int) -> dict[str, tuple[int, int]]:
    """Offset and size in bytes of every member; cached for the last 16 shards.

    Of a truncated shard, these are the members before its end, which `read_shard` returns too.
    """
    index: dict[str, tuple[int, int]] = {}
    with _open_shard(shard) as opened:
        index.update((one.name, (one.offset_data, one.size)) for one in _members(opened))
    return index


def read_shard(
    source: str, problems: Problems, columns: Columns | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Captions of a shard in img2dataset's layout: `key.jpg`, `key.txt` and `key.json`.

    The caption is `key.txt`, or else its column in `key.json`. The key, which is the id, ends at
    the first dot of the name. Pictures are not read. A truncated shard counts as one broken row;
    its earlier rows are used.
    """
    columns = columns or Columns()
    with _open_shard(source) as shard:
        # In WebDataset, the files of a sample follow each other.
        for key, parts in groupby(_members(shard), key=_key):
            image, texts = None, {}
            for member in parts:
                suffix = f".{PurePosixPath(member.name).name.partition('.')[2].lower()}"
                if suffix in SUFFIXES:
                    image = member.name
                elif suffix in (".txt", ".json"):
                    opened = shard.extractfile(member)
                    text = opened.read(LARGEST_TEXT) if opened else b""  # the rest is cut off
                    texts[suffix] = text.removeprefix(UTF8_MARK)
            caption: Any = texts.get(".txt")
            if caption is None:
                with suppress(BadJson):  # without a caption, only this row is broken
                    caption = parse_json_object(texts.get(".json", b"{}")).get(columns.caption)
            name = _member_reference(source, image) if image and columns.image else None
            values = {"caption": caption, "image": name, "id": key, "image_id": key}
            yield f"{source}: {key}", values
    if shard.truncated:
        problems.add(source, "the shard is truncated")


def _key(member: tarfile.TarInfo) -> str:
    """Path of a member up to the first dot of its name."""
    path = PurePosixPath(member.name)
    return (path.parent / path.name.partition(".")[0]).as_posix()


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
