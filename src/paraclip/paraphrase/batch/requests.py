"""Files of questions in OpenAI's batch format, one request per line."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from paraclip.files import disk_errors

MOST_REQUESTS = 50_000  # per file; OpenAI's limit
MOST_BYTES = 200_000_000
REQUESTS = re.compile(r"requests-(\d{4,})\.jsonl")
UNFINISHED = re.compile(r"\.requests-\d{4,}\.jsonl\.part")
CUSTOM_ID = re.compile(r"([0-9a-f]{16})-(\d{1,3})")


@dataclass(frozen=True)
class RequestFile:
    """A file of requests.

    Args:
        name: name within its folder.
        requests: number of lines.
        endpoint: endpoint of all requests, such as /v1/chat/completions.
    """

    name: str
    requests: int
    endpoint: str


class RequestWriter:
    """Writes requests to numbered files, which get their final names in `finish`.

    Args:
        folder: output folder, created with the first request.
        most: maximum number of requests per file.
        first: number of the first file.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """

    def __init__(self, folder: Path, most: int = MOST_REQUESTS, first: int = 1) -> None:
        self._folder, self._most, self._first = folder, min(most, MOST_REQUESTS), first
        self._file: BinaryIO | None = None
        self._lines = self._bytes = 0
        self._written: list[RequestFile] = []

    @property
    def count(self) -> int:
        """Number of requests so far."""
        return sum(file.requests for file in self._written) + self._lines

    def add(self, custom_id: str, endpoint: str, body: dict[str, Any]) -> None:
        """Write one request; all requests of a writer have the same endpoint."""
        line = {"custom_id": custom_id, "method": "POST", "url": endpoint, "body": body}
        content = json.dumps(line).encode() + b"\n"
        if self._lines == self._most or self._bytes + len(content) > MOST_BYTES:
            self._close()
        with disk_errors(self._folder):
            if self._file is None:
                self._file = self._next(endpoint)
            self._file.write(content)
        self._lines, self._bytes = self._lines + 1, self._bytes + len(content)

    def _next(self, endpoint: str) -> BinaryIO:
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"requests-{self._first + len(self._written):04}.jsonl"
        self._current = RequestFile(name, 0, endpoint)
        return self._unfinished(name).open("wb")

    def _unfinished(self, name: str) -> Path:
        return self._folder / f".{name}.part"

    def _close(self) -> None:
        if self._file is None:
            return
        with disk_errors(self._folder):
            self._file.close()
        current, self._file = self._current, None
        self._written.append(RequestFile(current.name, self._lines, current.endpoint))
        self._lines = self._bytes = 0

    def close(self) -> list[RequestFile]:
        """Close the last file; returns all files, which do not have their final names yet."""
        self._close()
        return self._written

    def finish(self) -> list[RequestFile]:
        """Give the files their final names, in order."""
        self._close()
        for file in self._written:
            with disk_errors(self._folder):
                self._unfinished(file.name).replace(self._folder / file.name)
        return self._written

    def discard(self) -> None:
        """Delete everything that was written."""
        self._close()
        for file in self._written:
            self._unfinished(file.name).unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Delete the files of a writer that was killed before `finish`."""
    for path in folder.glob(".requests-*.jsonl.part"):
        path.unlink(missing_ok=True)


def custom_id(key: str, attempt: int) -> str:
    """The id of a request: the key of its question in the log, and the attempt, from 1."""
    return f"{key}-{attempt}"


def parts_of(identifier: object) -> tuple[str, int] | None:
    """Key and attempt of a custom id; None if ParaCLIP did not make it."""
    match = CUSTOM_ID.fullmatch(identifier) if isinstance(identifier, str) else None
    return (match[1], int(match[2])) if match else None
