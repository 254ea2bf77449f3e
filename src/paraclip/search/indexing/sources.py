"""Pictures of a source, with facts that identify changed ones without reading them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from paraclip.data.captions import BrokenRow, clean_text
from paraclip.data.config import Columns
from paraclip.data.folder import first_line, walk
from paraclip.data.lines import is_remote, local_path
from paraclip.data.problems import Problems
from paraclip.data.reading import find_files, is_folder, picture_roots, read_captions
from paraclip.data.shards import SUFFIXES, read_shard, shard_index, split_reference
from paraclip.errors import UserError
from paraclip.files import check_name

UNKNOWN = -1  # size of a remote picture


@dataclass(frozen=True, slots=True)
class Found:
    """A picture of the source.

    Args:
        path: relative to the root, with `/`; `shard.tar::member` in a shard; or a URL.
        reference: path for `data.images.open_bytes`.
        caption: the caption; "" without one.
        size: bytes, or `UNKNOWN`.
        modified: nanoseconds; for members of a shard, that of the shard.
    """

    path: str
    reference: str
    caption: str
    size: int
    modified: int


@dataclass(frozen=True)
class Source:
    """A source of pictures.

    Args:
        name: absolute path, or URL.
        root: absolute folder that paths are relative to; "" if all are URLs.
        columns: column names of a captions file.
    """

    name: str
    root: str
    columns: Columns

    def pictures(self, problems: Problems) -> Iterator[Found]:
        """All pictures without repetition, in the order of the source.

        Args:
            problems: lists captions and pictures that cannot be used.
        """
        files = find_files(self.name)
        if all(map(is_folder, files)):
            candidates: Iterator[Found] = (
                one for file in files for one in self.of_folder(Path(file), problems)
            )
        elif all(file.endswith(".tar") for file in files):
            candidates = (one for file in files for one in self.of_shard(file, problems))
        else:
            candidates = self.of_captions(problems)
        seen: set[str] = set()
        for one in candidates:
            if one.path in seen:
                continue
            seen.add(one.path)
            try:
                check_name(one.path)
            except UserError as error:
                problems.add(one.path, error.what)
            else:
                yield one

    def of_folder(self, folder: Path, problems: Problems) -> Iterator[Found]:
        """Pictures of a folder and its subfolders."""
        for path in walk(folder):
            if path.suffix.lower() not in SUFFIXES or os.path.isdir(path):
                continue
            if one := self.local(str(path), caption_of(path)):
                yield one
            else:
                link = f"is a link to nothing, or to a file outside {self.root}"
                problems.add(path, link if os.path.islink(path) else "cannot be read")

    def of_shard(self, shard: str, problems: Problems) -> Iterator[Found]:
        """Members of a shard, with or without captions."""
        index = {} if is_remote(shard) else shard_members(shard)
        state = None if is_remote(shard) else os.stat(shard)
        inside = shard if is_remote(shard) else self.relative(shard)
        for record in read_shard(shard, self.columns, problems):
            in_shard = split_reference(record.image) if record.image else None
            if in_shard is None or inside is None:
                continue
            member = in_shard[1]
            size = index.get(member, (0, UNKNOWN))[1]
            modified = state.st_mtime_ns if state else 0
            caption = cleaned(record.caption)
            yield Found(f"{inside}::{member}", str(record.image), caption, size, modified)

    def of_captions(self, problems: Problems) -> Iterator[Found]:
        """Pictures named in a captions file, with the first caption of each."""
        for row in read_captions(self.name, self.columns, problems):
            if row.image is None:
                continue
            if is_remote(row.image):
                yield Found(row.image, row.image, row.caption, UNKNOWN, 0)
            elif one := self.local(row.image, row.caption):
                yield one
            else:
                problems.add(row.source, f"the picture {row.image} is outside {self.root}")

    def local(self, file: str, caption: str) -> Found | None:
        """A file under the root; None if it, or the file that it links to, is elsewhere."""
        path = self.relative(file)
        try:
            state = os.stat(file)
        except OSError:
            return None
        if path is None or (os.path.islink(file) and not self.holds(os.path.realpath(file))):
            return None
        return Found(path, file, caption, state.st_size, state.st_mtime_ns)

    def holds(self, target: str) -> bool:
        """Whether the target of a link is under the root, which may be a link itself."""
        return Path(target).is_relative_to(os.path.realpath(self.root))

    def relative(self, file: str) -> str | None:
        """The path relative to the root; None if it is outside."""
        path = os.path.relpath(os.path.abspath(file), self.root)
        return None if path.split(os.sep)[0] == ".." else path.replace(os.sep, "/")


def open_source(name: str, columns: Columns) -> Source:
    """The source of a path, a URL or a pattern.

    Raises:
        UserError: there is no such file, or its format is unknown.
    """
    name = local_path(name)
    files = find_files(name)
    if all(map(is_remote, files)):
        return Source(name, "", columns)
    if all(map(is_folder, files)):
        folders = [os.path.abspath(file) for file in files]
    elif all(file.endswith(".tar") for file in files):
        folders = [os.path.dirname(os.path.abspath(file)) for file in files]
    else:
        folders = [os.path.abspath(picture_roots(file, columns)[0]) for file in files]
    return Source(os.path.abspath(name), os.path.commonpath(folders), columns)


def shard_members(shard: str) -> dict[str, tuple[int, int]]:
    """Offset and size of the members of a local shard; empty if it cannot be read."""
    state = os.stat(shard)
    try:
        return shard_index(shard, state.st_size, state.st_mtime_ns)
    except (UserError, OSError):
        return {}


def caption_of(picture: Path) -> str:
    """The caption in the `.txt` next to a picture; "" without a usable one."""
    text = picture.with_suffix(".txt")
    try:
        return cleaned(first_line(text)) if text.is_file() else ""
    except BrokenRow:
        return ""


def cleaned(caption: object) -> str:
    """A caption as text; "" if it cannot be used."""
    try:
        return clean_text(caption)
    except BrokenRow:
        return ""


def no_pictures(source: str, problems: Problems) -> UserError:
    """The error for a source without pictures; it names the first that cannot be used."""
    if problems.listed:
        where, what = problems.listed[0]
        hint = "Add --problems FILE to list all of them."
        return UserError(where, f"{what}, and {source} contains no other pictures", hint)
    hint = "Name a folder of pictures, a captions file that names some, or shards."
    return UserError(source, "contains no pictures", hint)
