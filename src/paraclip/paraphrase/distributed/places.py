"""The output folder of a distributed run: on disk, or in an object store.

Its subfolder `ray/` contains everything that Ray reads and writes: `captions/`, `outcomes/`,
`checkpoint/` and, on disk, `answers/` with one log per block.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from paraclip.data.untrusted_json import parse_json_object
from paraclip.errors import UserError
from paraclip.provenance import without_secrets

FOLDED = re.compile(r"([a-zA-Z][\w+.-]+):/+(.+)")
CAPTIONS, OUTCOMES, CHECKPOINT, ANSWERS = "captions", "outcomes", "checkpoint", "answers"
SETTINGS, ERROR = "settings.json", "error.json"
LARGEST_SUMMARY = 2**20  # bytes
SHARED = "Every machine must reach it: give a shared folder, or the URL of an object store."


@dataclass(frozen=True)
class Place:
    """An output folder.

    Args:
        address: absolute path, or URL.
        files: the file system that contains it.
        path: path of the folder in that file system.
    """

    address: str
    files: fs.FileSystem
    path: str

    @property
    def local(self) -> Path | None:
        """The folder as a path; None for a URL."""
        return None if "://" in self.address else Path(self.address)

    def address_of(self, part: str) -> str:
        """Address of a folder below `ray/`, for Ray."""
        return f"{self.address}/ray/{part}"

    def path_of(self, part: str) -> str:
        """Path of a file or folder below `ray/`."""
        return f"{self.path}/ray/{part}"

    def clear(self, part: str) -> None:
        """Delete a folder below `ray/` with its content."""
        if self.files.get_file_info(self.path_of(part)).type == fs.FileType.Directory:
            self.files.delete_dir(self.path_of(part))

    def delete(self, part: str) -> None:
        """Delete a file below `ray/`, if it exists."""
        if self.files.get_file_info(self.path_of(part)).type == fs.FileType.File:
            self.files.delete_file(self.path_of(part))

    def create(self, part: str) -> str:
        """Create a folder below `ray/`; returns its path."""
        self.files.create_dir(self.path_of(part), recursive=True)
        return self.path_of(part)

    def tables(self, part: str) -> list[str]:
        """Paths of the committed Parquet files in a folder below `ray/`."""
        chosen = fs.FileSelector(self.path_of(part), recursive=True, allow_not_found=True)
        paths = [one.path for one in self.files.get_file_info(chosen)]
        return sorted(
            path
            for path in paths
            if path.endswith(".parquet") and not path.endswith(".pending.parquet")
        )

    def columns(self, part: str, names: list[str]) -> Iterator[pa.Table]:
        """Some columns of each Parquet file of a folder below `ray/`."""
        for path in self.tables(part):
            yield pq.read_table(path, columns=names, filesystem=self.files, partitioning=None)

    def read_json(self, part: str) -> dict[str, Any] | None:
        """A JSON object below `ray/`, or None if it does not exist."""
        try:
            with self.files.open_input_stream(self.path_of(part)) as stream:
                return parse_json_object(stream.read(1 << 20))
        except (OSError, ValueError):
            return None

    def write_json(self, part: str, content: dict[str, Any]) -> None:
        """Write a JSON object below `ray/`; readers see the old or the new one, never a part."""
        self.create("")
        temporary = self.path_of(f"{part}.{uuid4().hex}")
        with self.files.open_output_stream(temporary) as stream:
            stream.write(json.dumps(content, indent=1).encode())
        self.files.move(temporary, self.path_of(part))

    def read(self, name: str) -> bytes:
        """The beginning of a file of the output folder; empty if it does not exist."""
        try:
            with self.files.open_input_stream(f"{self.path}/{name}") as stream:
                return bytes(stream.read(LARGEST_SUMMARY))
        except OSError:
            return b""

    def take(self, folder: Path, outdated: Iterable[str] = ()) -> None:
        """Copy the files of a local folder here, and delete the outdated ones that it lacks."""
        self.files.create_dir(self.path, recursive=True)
        for name in outdated:
            old = f"{self.path}/{name}"
            is_file = self.files.get_file_info(old).type == fs.FileType.File
            if is_file and not (folder / name).exists():
                self.files.delete_file(old)
        for path in folder.iterdir():
            fs.copy_files(
                str(path), f"{self.path}/{path.name}", source_filesystem=fs.LocalFileSystem(),
                destination_filesystem=self.files,
            )  # fmt: skip


def place_of(out: Path) -> Place:
    """The place that the option --out names.

    Raises:
        UserError: the URL does not name an object store that pyarrow knows.
    """
    address = unfolded(out)
    try:
        files, path = fs.FileSystem.from_uri(address)
    except (pa.ArrowException, OSError, ValueError) as error:
        what = without_secrets(f"{address} cannot be opened ({error})")
        raise UserError("--out", what, SHARED) from error
    return Place(address, files, path.rstrip("/"))


def unfolded(out: Path) -> str:
    """The original URL of a path (pathlib merges double slashes), or else the absolute path."""
    folded = FOLDED.fullmatch(str(out))
    if folded is None:
        return str(out.absolute())
    scheme, rest = folded.groups()
    return f"{scheme}://{'/' if scheme == 'file' else ''}{rest}"


def shown_path(path: Path) -> str:
    """A path, or a URL with all slashes, without the keys that a URL may contain."""
    return without_secrets(unfolded(path)) if FOLDED.fullmatch(str(path)) else str(path)
