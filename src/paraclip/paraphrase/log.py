"""The append-only log of all answers, from which an interrupted run resumes.

The first line contains the settings that determine answers. Every other line contains the answers
to one question, written and flushed as soon as they arrive. Each question needs 16 bytes of memory:
a hash of the caption's id and the prompt, and the offset of its line. An edited caption is
therefore a new question, and its old answers stay in the file.
"""

import json
import os
import re
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from paraclip.data.untrusted_json import BadJson, parse_json_object
from paraclip.errors import UserError
from paraclip.files import check_input, disk_errors, take_lock
from paraclip.paraphrase.backends import Answer, add_tokens, tokens_in

_LOG_FORMAT = 1
_LOG_HEAD = b'{"paraclip"'
_OTHER_FOLDER = "Name another output folder."
_OTHER_OR_FRESH = "Name another output folder, or start from scratch with --fresh."
LONGEST_LINE = 8 << 20  # bytes
_KEY = re.compile(r"[0-9a-f]{16}")


class AnswerLog:
    """Answers by question, on disk.

    Args:
        path: the log file; created if missing.
        settings: JSON-serialisable settings that determine answers; must equal those in the log.
        fresh: whether to start a new log; `begin` or the first answer deletes the old one.
        earlier: another log in which answers are also looked up.
        wait: whether to wait for another run that is writing to it.

    Attributes:
        tokens: numbers of prompt and answer tokens that earlier runs logged.

    Raises:
        UserError: the file is not a log (it is not changed), its settings differ, another run is
            writing to it, or it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        settings: dict[str, Any],
        fresh: bool = False,
        earlier: "AnswerLog | None" = None,
        wait: bool = False,
    ) -> None:
        self.path, self.earlier, self.tokens = path, earlier, [0, 0]
        self._keys, self._offsets = np.zeros(0, np.uint64), np.zeros(0, np.uint64)
        self._head: dict[str, Any] | None = None  # settings that are not yet written
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            check_input(path)
            self._file: BinaryIO = path.open("ab+")
        try:
            hint = "Wait for it, or name another output folder."
            take_lock(self._file, path, hint, wait=wait)
            self._refuse_foreign()
            if not fresh:
                self._drop_unfinished()
            if fresh or self._file.seek(0, os.SEEK_END) == 0:
                self._head = {"paraclip": _LOG_FORMAT, "settings": settings}
            else:
                self._read(settings)
        except BaseException:
            self.close()
            raise

    def begin(self) -> None:
        """Write the settings of a new log, in place of the old one if the run is `fresh`."""
        if self._head is not None:
            with disk_errors(self.path):
                self._file.truncate(0)
                self._file.write(json.dumps(self._head).encode() + b"\n")
            self._head = None

    def _refuse_foreign(self) -> None:
        """Raise UserError if no run of this version wrote the file, before anything is changed."""
        self._file.seek(0)
        head = self._file.readline(LONGEST_LINE)
        if not _LOG_HEAD.startswith(head[: len(_LOG_HEAD)]):
            raise UserError(self.path, "is not a log of answers", _OTHER_FOLDER)
        if (object_of(head) or {}).get("paraclip", _LOG_FORMAT) != _LOG_FORMAT:
            hint = "Update ParaCLIP, or name another output folder."
            raise UserError(self.path, "is a log in the format of another version", hint)

    def _drop_unfinished(self) -> None:
        """Remove the last line of a killed run, and the settings of one without a server."""
        if self._file.seek(0, os.SEEK_END):
            with mmap(self._file.fileno(), 0, access=ACCESS_READ) as content:
                end = content.rfind(b"\n") + 1
            self._file.truncate(end)
        self._file.seek(0)
        head = self._file.readline(LONGEST_LINE)
        if head.startswith(_LOG_HEAD) and not self._file.read(1):
            self._file.truncate(0)

    def _read(self, settings: dict[str, Any]) -> None:
        """Check the settings and index every line."""
        self._file.seek(0)
        logged = (object_of(self._file.readline(LONGEST_LINE)) or {}).get("settings")
        if not isinstance(logged, dict):
            raise UserError(self.path, "is a log whose settings are damaged", _OTHER_OR_FRESH)
        current = json.loads(json.dumps(settings))
        for name in [*current, *(logged.keys() - current.keys())]:
            if logged.get(name) != current.get(name):
                change = f"{name} was {logged.get(name)!r} and is {current.get(name)!r}"
                what = f"was written with other settings: {change}"
                raise UserError(self.path, what, _OTHER_OR_FRESH)
        keys, offsets = array("Q"), array("Q")
        for offset, line in lines_with_offsets(self._file):
            entry = _entry_of(line)
            if entry is not None:
                keys.append(int(entry["key"], 16))
                offsets.append(offset)
                self.tokens = add_tokens(self.tokens, tokens_in(entry))
        self._keys, self._offsets = _sorted_pair(keys, offsets)

    def __len__(self) -> int:
        """Number of questions that were answered here before this run."""
        return len(self._keys)

    def find(self, key: str) -> list[Answer] | None:
        """The answers that an earlier run logged under a key of 16 hex digits, or None."""
        offset = _lookup(self._keys, self._offsets, int(key, 16))
        if offset is None:
            return None if self.earlier is None else self.earlier.find(key)
        self._file.seek(offset)
        entry = _entry_of(self._file.readline())
        if entry is None:
            return None
        tokens = [tokens_in(entry)] + [[0, 0]] * len(entry["answers"])  # the first has all
        return [
            Answer(text, cut, (prompt, answer))
            for (text, cut), (prompt, answer) in zip(entry["answers"], tokens, strict=False)
        ]

    def add(self, key: str, answers: list[Answer], **facts: str | int) -> None:
        """Write and flush all answers to one question, by the 16 hex digits that identify it, with
        further facts for readers of the file, such as the caption's id and the step."""
        entry: dict[str, Any] = {**facts, "key": key}
        entry["answers"] = [[answer.text, answer.cut] for answer in answers]
        tokens = add_tokens([0, 0], *(answer.tokens for answer in answers))
        entry |= {"tokens": tokens} if any(tokens) else {}
        self.begin()
        with disk_errors(self.path):
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        # Closing retries a failed write; that failure was reported when it happened.
        with suppress(OSError):
            self._file.close()


class EarlierAnswers(AnswerLog):
    """The log of earlier runs, which another process has locked: read-only."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self.earlier, self.tokens = path, None, [0, 0]
        self._file = path.open("rb")
        self._read(settings)


def lines_with_offsets(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Offsets and lines from the position of a file on; a line that is too long is empty."""
    offset, whole = file.tell(), True
    while line := file.readline(LONGEST_LINE):
        ends = line.endswith(b"\n")
        if whole:
            yield offset, line if ends or len(line) < LONGEST_LINE else b""
        offset, whole = offset + len(line), ends


def object_of(line: bytes) -> dict[str, Any] | None:
    """The JSON object in a line, or None if it contains none, or a lone surrogate."""
    try:
        return parse_json_object(line)
    except BadJson:
        return None


def _entry_of(line: bytes) -> dict[str, Any] | None:
    """The entry in a line, or None if it is damaged; its question is then asked again."""
    entry = object_of(line) or {}
    key, answers = entry.get("key"), entry.get("answers")
    if not isinstance(key, str) or not isinstance(answers, list):
        return None
    pairs = all(isinstance(one, list) and list(map(type, one)) == [str, bool] for one in answers)
    return entry if _KEY.fullmatch(key) and pairs else None


def _lookup(keys: np.ndarray, values: np.ndarray, key: int) -> int | None:
    """The value of a key in two arrays from `_sorted_pair`, or None."""
    index = int(np.searchsorted(keys, np.uint64(key)))
    return int(values[index]) if index < len(keys) and int(keys[index]) == key else None


def _sorted_pair(keys: Sequence[int], values: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Two uint64 arrays sorted by the first; equal keys keep their order."""
    key_array, value_array = np.array(keys, np.uint64), np.array(values, np.uint64)
    order = np.argsort(key_array, kind="stable")
    return key_array[order], value_array[order]
