"""Files of questions and of answers in OpenAI's batch format; the latter are untrusted."""

import json
import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from paraclip.data.untrusted_json import BadJson, parse_json_object
from paraclip.errors import UserError, printable
from paraclip.files import check_input, disk_errors
from paraclip.paraphrase.backends import Answer
from paraclip.paraphrase.backends.messages import answers_in, may_pass
from paraclip.paraphrase.log import LONGEST_LINE, bounded_lines, lookup, sorted_pair

MOST_REQUESTS = 50_000  # per file; OpenAI's limit
MOST_BYTES = 200_000_000
REQUESTS = re.compile(r"requests-(\d{4,})\.jsonl")
UNFINISHED = re.compile(r"\.requests-\d{4,}\.jsonl\.part")
CUSTOM_ID = re.compile(r"([0-9a-f]{16})-(\d{1,3})")
LONGEST_REASON = 200  # characters
OFFSET_BITS = 44  # in a location: file number in the upper bits, line offset in the lower ones


@dataclass(frozen=True)
class RequestFile:
    """A file of requests.

    Args:
        name: name within its folder.
        requests: number of lines.
    """

    name: str
    requests: int


class RequestWriter:
    """Writes requests to numbered files, which get their final names in `finish`.

    Args:
        folder: output folder, created with the first request.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: BinaryIO | None = None
        self._name = ""
        self._lines = self._bytes = 0
        self._written: list[RequestFile] = []

    def add(self, custom_id: str, endpoint: str, body: dict[str, Any]) -> None:
        """Write one request; all requests of a writer have the same endpoint."""
        line = {"custom_id": custom_id, "method": "POST", "url": endpoint, "body": body}
        content = json.dumps(line).encode() + b"\n"
        if self._lines == MOST_REQUESTS or self._bytes + len(content) > MOST_BYTES:
            self.close()
        with disk_errors(self._folder):
            if self._file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._name = f"requests-{len(self._written) + 1:04}.jsonl"
                self._file = self._unfinished(self._name).open("wb")
            self._file.write(content)
        self._lines, self._bytes = self._lines + 1, self._bytes + len(content)

    def _unfinished(self, name: str) -> Path:
        return self._folder / f".{name}.part"

    def close(self) -> list[RequestFile]:
        """Close the last file; returns all files, which do not have their final names yet."""
        if self._file is not None:
            with disk_errors(self._folder):
                self._file.close()
            self._file = None
            self._written.append(RequestFile(self._name, self._lines))
            self._lines = self._bytes = 0
        return self._written

    def finish(self) -> list[RequestFile]:
        """Give the files their final names, in order."""
        self.close()
        for file in self._written:
            with disk_errors(self._folder):
                self._unfinished(file.name).replace(self._folder / file.name)
        return self._written

    def discard(self) -> None:
        """Delete everything that was written."""
        self.close()
        for file in self._written:
            self._unfinished(file.name).unlink(missing_ok=True)


def custom_id(key: str, attempt: int) -> str:
    """The id of a request: the key of its question in the log, and the attempt, from 1."""
    return f"{key}-{attempt}"


def parts_of(identifier: object) -> tuple[str, int] | None:
    """Key and attempt of a custom id; None if ParaCLIP did not make it."""
    match = CUSTOM_ID.fullmatch(identifier) if isinstance(identifier, str) else None
    return (match[1], int(match[2])) if match else None


@dataclass(frozen=True)
class Failure:
    """A request without an answer.

    Args:
        attempt: number of the attempt for its question, from 1.
        reason: printable reason.
        passes: whether the same request may succeed later.
    """

    attempt: int
    reason: str
    passes: bool


class Results:
    """Answers by question; each uses 16 bytes of memory, and failures are held completely.

    Args:
        paths: result and error files.

    Attributes:
        answered: number of answers.
        unknown: number of lines that belong to no question of ParaCLIP, or are damaged.
        failures: failures by key.
        tokens: numbers of prompt and answer tokens, if the server reports them.

    Raises:
        UserError: a file cannot be read.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = list(paths)
        self.unknown, self.failures, self.tokens = 0, dict[str, Failure](), (0, 0)
        keys, places = array("Q"), array("Q")
        for number, path in enumerate(self._paths):
            check_input(path)
            try:
                with path.open("rb") as file:
                    for offset, line in bounded_lines(file):
                        if (key := self._read(line)) is not None:
                            keys.append(int(key, 16))
                            places.append(number << OFFSET_BITS | offset)
            except OSError as error:
                hint = "Check the file and its rights."
                raise UserError(path, f"cannot be read ({error.strerror})", hint) from error
        self._keys, self._places = sorted_pair(keys, places)
        self._first = np.unique(self._keys, return_index=True)[1]  # the first of equal keys
        self._used = np.zeros(len(self._keys), bool)

    def _read(self, line: bytes) -> str | None:
        """Return the key of a line with answers; count failures and unknown lines."""
        entry = entry_of(line)
        identity = parts_of(entry.get("custom_id"))
        if identity is None:
            self.unknown += 1
            return None
        outcome = outcome_of(entry, identity[1])
        if isinstance(outcome, Failure):
            self.failures[identity[0]] = outcome
            return None
        self.tokens = (self.tokens[0] + outcome[0].tokens[0], self.tokens[1] + outcome[0].tokens[1])
        return identity[0]

    @property
    def answered(self) -> int:
        """Number of questions with answers."""
        return len(self._first)

    @property
    def unused(self) -> int:
        """Number of answers to no known question."""
        return int(np.count_nonzero(~self._used[self._first]))

    def find(self, key: str, used: bool = True) -> list[Answer] | Failure | None:
        """The answers to a question, its failure, or None if nothing is known.

        Args:
            key: key of the question.
            used: whether the answers are used; a log that has them already needs only their tokens.
        """
        place = lookup(self._keys, self._places, int(key, 16))
        if place is None:
            return self.failures.get(key)
        self._used[np.searchsorted(self._keys, np.uint64(int(key, 16)))] |= used
        path = self._paths[place >> OFFSET_BITS]
        with path.open("rb") as file:
            file.seek(place & ((1 << OFFSET_BITS) - 1))
            entry = entry_of(file.readline(LONGEST_LINE))
        return outcome_of(entry, 1)


def entry_of(line: bytes) -> dict[str, Any]:
    """The object in a line, or an empty dict if it is damaged."""
    try:
        return parse_json_object(line)
    except BadJson:
        return {}


def outcome_of(entry: dict[str, Any], attempt: int) -> list[Answer] | Failure:
    """The answers in a line of a result file, or its failure.

    OpenAI reports a failed request by the status of its response, or by an error (for an expired
    batch); `vllm run-batch` does both.
    """
    response, error = entry.get("response"), entry.get("error")
    response = response if isinstance(response, dict) else {}
    status, body = response.get("status_code"), response.get("body")
    if error is None and status == 200:
        try:
            return answers_in(body)
        except ValueError as problem:
            return Failure(attempt, f"malformed answer: {problem}", True)
    inner = body.get("error") if isinstance(body, dict) else None
    shown = message_of(error) or message_of(inner) or f"status {status}"
    reason = printable(" ".join(shown.split()))[:LONGEST_REASON]
    passes = may_pass(status) if type(status) is int else True
    return Failure(attempt, reason, passes)


def message_of(error: object) -> str:
    """The text of an error object, or an empty string."""
    if isinstance(error, str):
        return error
    if not isinstance(error, dict):
        return ""
    inner = error.get("error")
    if isinstance(inner, dict):
        return message_of(inner)
    parts = [error.get(name) for name in ("code", "message")]
    return ": ".join(str(part) for part in parts if isinstance(part, str | int) and part != "")
