"""Pictures of a source, with facts that identify changed ones without reading them."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

from PIL import Image

from paraclip.data.captions import BrokenRow, Columns, Problems, clean_text
from paraclip.data.images import LARGEST_FILE, decode_image, fault, open_bytes
from paraclip.data.lines import is_remote, local_path
from paraclip.data.reading import find_files, picture_roots, read_captions
from paraclip.data.rows import is_folder
from paraclip.data.shards import (
    SUFFIXES,
    first_line,
    read_shard,
    shard_index,
    split_reference,
    walk,
)
from paraclip.errors import UserError
from paraclip.files import check_name

UNKNOWN = -1  # size of a remote picture
_THUMBNAIL = 256  # pixels of the longer side
_QUALITY = 80  # of a thumbnail's JPEG


@dataclass(frozen=True, slots=True)
class FoundPicture:
    """A picture of the source."""

    path: str  # relative to the root, with `/`; `shard.tar::member` in a shard; or a URL
    reference: str  # path for `data.images.open_bytes`
    caption: str  # "" without one
    size: int  # bytes, or `UNKNOWN`
    modified: int  # nanoseconds; for members of a shard, that of the shard


@dataclass(frozen=True)
class PictureSource:
    """A source of pictures."""

    name: str  # absolute path, or URL
    root: str  # absolute folder that paths are relative to; "" if all are URLs
    columns: Columns  # of a captions file

    def pictures(self, problems: Problems) -> Iterator[FoundPicture]:
        """All pictures once, in the order of the source; `problems` lists what cannot be used."""
        files = find_files(self.name)
        if all(map(is_folder, files)):
            parts = [self._of_folder(Path(file), problems) for file in files]
        elif all(file.endswith(".tar") for file in files):
            parts = [self._of_shard(file, problems) for file in files]
        else:
            parts = [self._of_captions(problems)]
        seen: set[str] = set()
        for one in chain.from_iterable(parts):
            if one.path in seen:
                continue
            seen.add(one.path)
            try:
                check_name(one.path)
            except UserError as error:
                problems.add(one.path, error.what)
            else:
                yield one

    def _of_folder(self, folder: Path, problems: Problems) -> Iterator[FoundPicture]:
        """Pictures of a folder and its subfolders, with the captions in `.txt` next to them."""
        for path in walk(folder):
            if path.suffix.lower() not in SUFFIXES or os.path.isdir(path):
                continue
            caption, text = "", path.with_suffix(".txt")
            with suppress(BrokenRow):
                caption = _usable_caption(first_line(text)) if text.is_file() else ""
            if one := self._local(str(path), caption):
                yield one
            else:
                link = f"is a link to nothing, or to a file outside {self.root}"
                problems.add(path, link if os.path.islink(path) else "cannot be read")

    def _of_shard(self, shard: str, problems: Problems) -> Iterator[FoundPicture]:
        """Members of a shard, with or without captions."""
        members: dict[str, tuple[int, int]] = {}
        modified, inside = 0, shard if is_remote(shard) else self._relative(shard)
        if not is_remote(shard):
            state = os.stat(shard)
            modified = state.st_mtime_ns
            with suppress(UserError, OSError):  # reading the shard reports it
                members = shard_index(shard, state.st_size, modified)
        for _, values in read_shard(shard, problems, self.columns):
            reference = values["image"]
            in_shard = split_reference(reference) if reference else None
            if in_shard is not None and inside is not None:
                member, caption = in_shard[1], _usable_caption(values["caption"])
                size = members.get(member, (0, UNKNOWN))[1]
                path = f"{inside}::{member}"
                yield FoundPicture(path, reference, caption, size, modified)

    def _of_captions(self, problems: Problems) -> Iterator[FoundPicture]:
        """Pictures named in a captions file, with the first caption of each."""
        for row in read_captions(self.name, self.columns, problems):
            if row.image is None:
                continue
            if is_remote(row.image):
                yield FoundPicture(row.image, row.image, row.caption, UNKNOWN, 0)
            elif one := self._local(row.image, row.caption):
                yield one
            else:
                problems.add(row.source, f"the picture {row.image} is outside {self.root}")

    def _local(self, file: str, caption: str) -> FoundPicture | None:
        """A file under the root; None if it, or the file that it links to, is elsewhere."""
        path = self._relative(file)
        try:
            state = os.stat(file)
        except OSError:
            return None
        if path is None:
            return None
        if os.path.islink(file):
            target, root = os.path.realpath(file), os.path.realpath(self.root)
            if not Path(target).is_relative_to(root):
                return None
        return FoundPicture(path, file, caption, state.st_size, state.st_mtime_ns)

    def _relative(self, file: str) -> str | None:
        """The path relative to the root; None if it is outside."""
        path = os.path.relpath(os.path.abspath(file), self.root or os.sep)
        return None if path.split(os.sep)[0] == ".." else path.replace(os.sep, "/")


def picture_source(name: str, columns: Columns) -> PictureSource:
    """The source of a path, a URL or a pattern; raises UserError if there is none."""
    name = local_path(name)
    files = find_files(name)
    if all(map(is_remote, files)):
        return PictureSource(name, "", columns)
    if all(map(is_folder, files)):
        folders = [os.path.abspath(file) for file in files]
    elif all(file.endswith(".tar") for file in files):
        folders = [os.path.dirname(os.path.abspath(file)) for file in files]
    else:
        roots = (picture_roots(file, columns)[0] for file in files)
        folders = [os.path.abspath(root) for root in roots if not is_remote(root)]
    root = os.path.commonpath(folders) if folders else ""
    return PictureSource(os.path.abspath(name), root, columns)


def _usable_caption(caption: object) -> str:
    """A caption as text; "" if it cannot be used."""
    try:
        return clean_text(caption)
    except BrokenRow:
        return ""


@dataclass(frozen=True)
class ReadPicture:
    """Result of reading a picture."""

    found: FoundPicture
    hash: str  # SHA-256 of the file, hexadecimal
    row: str | None = None  # id of the row in the index with this hash; the rest is then empty
    pixels: Any = None  # input of the image tower
    thumbnail: bytes = b""  # JPEG


ReadResult = tuple[FoundPicture, ReadPicture | UserError]


@dataclass(frozen=True)
class PictureReader:
    """Reads each picture once, for its hash, thumbnail and pixels; usable in several threads."""

    preprocess: Callable[[Image.Image], Any]
    side: int  # pixels that the model expects
    by_hash: dict[str, str]  # ids of the rows in the index

    def read(self, found: FoundPicture) -> ReadPicture | UserError:
        """The picture, or the reason why it cannot be read."""
        try:
            content = _file_bytes(found)
            digest = sha256(content).hexdigest()
            if row := self.by_hash.get(digest):
                return ReadPicture(found, digest, row)
            # `decode_image` keeps twice this side, which is the thumbnail's.
            image = decode_image(io.BytesIO(content), found.path, max(self.side, _THUMBNAIL // 2))
            pixels = self.preprocess(image)
        except UserError as error:
            return error
        image.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BILINEAR, reducing_gap=2.0)
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=_QUALITY)
        return ReadPicture(found, digest, None, pixels, stream.getvalue())


def _file_bytes(found: FoundPicture) -> bytes:
    """The bytes of the picture's file; raises UserError if it cannot be read, or is too large."""
    try:
        with open_bytes(found.reference) as stream:
            content = stream.read(LARGEST_FILE + 1)
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(found.path, "vanished while it was indexed", "Index again.") from error
    except Exception as error:  # tar files and file systems raise many types
        raise UserError(found.path, fault(error), "Replace the picture.") from error
    if len(content) > LARGEST_FILE:
        what = f"holds more than {LARGEST_FILE / 2**20:.0f} MiB"
        raise UserError(found.path, what, "Replace the picture.")
    return content
