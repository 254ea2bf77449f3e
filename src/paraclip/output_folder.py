"""Folders of outputs: a record in each says which files ParaCLIP wrote, so that no other is lost.

The record, `.paraclip`, has a JSON object a line: the kind of output, the name of a file in the
folder, and its hash. A line is added before the file that it describes appears under its name, and
earlier lines of a name stay valid, so after a kill at any point the file there, old or new, is
known. A line that a kill cut short describes a file that never appeared. A file that grows while a
run writes, or that may be damaged, has a line without a hash, which is added before it is created;
`states/*` stands for every file in `states`.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from paraclip.errors import UserError
from paraclip.files import atomic_path, disk_errors, file_hash, read_bounded, readable

RECORD = ".paraclip"
_WHOLE, _PARTS, _PART = 2**24, 16, 2**20  # bytes that are hashed whole; parts of a larger file


class OutputFolder:
    """The files of one kind in a folder.

    Only a file that the record lists under this kind with its present hash is ever replaced or
    deleted. Files with other names are of no concern here.

    Args:
        path: the folder, which may not exist yet.
        kind: the kind of output, such as "training".
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self.kind = path, kind

    def owns(self, path: Path) -> bool:
        """Whether ParaCLIP wrote a file below the folder, and nobody has changed it since."""
        hashes = self._hashes_of(path)
        return path.is_file() and (None in hashes or _hash_of(path) in hashes)

    def lists(self, path: Path) -> bool:
        """Whether ParaCLIP wrote a file of this name below the folder, changed since or not."""
        return bool(self._hashes_of(path))

    def refuse_foreign(self, *paths: Path) -> None:
        """Raise UserError for an existing file that may not be replaced or deleted."""
        for path in paths:
            # A link to nothing also belongs to somebody.
            if os.path.lexists(path) and not self.owns(path):
                what = "exists and was not written by ParaCLIP, or has changed since"
                raise UserError(path, what, "Choose another output path, or move it away.")

    def record(self, contents: Mapping[Path, Path | None]) -> None:
        """List files, before they appear, each with the hash of its future content, or without."""
        rows = [
            {"kind": self.kind, "file": self._name_of(path), "hash": content and _hash_of(content)}
            for path, content in contents.items()
        ]
        record = self.path / RECORD
        with disk_errors(record):
            self.path.mkdir(parents=True, exist_ok=True)
            with record.open("ab") as file:
                # Begins with the end of a line, because a kill or a full disk may have cut the
                # last one short.
                file.write("".join(f"\n{json.dumps(row)}" for row in rows).encode())
                file.flush()
                os.fsync(file.fileno())

    @contextmanager
    def replacing(self, path: Path) -> Iterator[Path]:
        """`atomic_path` of a file below the folder, which is listed before it appears."""
        with atomic_path(path) as temporary:
            yield temporary
            self.record({path: temporary})

    def write(self, path: Path, content: str | bytes) -> None:
        """Write a file, text as UTF-8, and list it; raises the errors of `atomic_path`."""
        with self.replacing(path) as temporary:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)

    def remove(self, *paths: Path) -> None:
        """Delete those files that are listed and unchanged, and subfolders that are then empty."""
        owned = [path for path in paths if self.owns(path)]
        for path in owned:
            with disk_errors(path):
                path.unlink(missing_ok=True)
        for folder in {path.parent for path in owned} - {self.path}:
            with suppress(OSError):  # not empty
                folder.rmdir()

    def _name_of(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix()

    def _hashes_of(self, path: Path) -> set[str | None]:
        name, listed = self._name_of(path), self._listed()
        return listed[name] | listed[f"{name.rpartition('/')[0]}/*"]

    def _listed(self) -> defaultdict[str, set[str | None]]:
        """The hashes of each name, of this kind; empty without a record."""
        found = defaultdict[str, set[str | None]](set)
        try:
            lines = read_bounded(self.path / RECORD).splitlines()
        except OSError:
            return found
        for line in lines:
            with suppress(ValueError, KeyError, TypeError, RecursionError):  # a line cut short
                row = json.loads(line)
                if row["kind"] == self.kind:
                    # A set, because the file may still be the earlier one.
                    found[row["file"]].add(row["hash"])
        return found


def _hash_of(path: Path) -> str:
    """16 hex digits: the SHA-256 of a file or, if it is large, of its size and 16 parts of it.

    A hash of a whole checkpoint of 600 MB takes half a second of a free core at each save, and
    these parts 10 ms. The time of change would be faster still, but a copy has another.
    """
    with readable(path):
        size = path.stat().st_size
        if size <= _WHOLE:
            return file_hash(path)
        digest = sha256(str(size).encode())
        with path.open("rb") as file:
            for part in range(_PARTS):
                file.seek(part * (size - _PART) // (_PARTS - 1))  # from the first byte to the last
                digest.update(file.read(_PART))
    return digest.hexdigest()[:16]
