"""The append-only log of all answers: what lets a killed run resume where it was.

The first line holds the settings that decide answers; every other line is one question's answers,
written and flushed the moment they came. To find them again only 16 bytes a question are held in
memory: a hash of the question, which holds id and text, and the place of its line. A caption whose
text was edited is thus another question; the old answers stay where they are.
"""

import json
import os
import re
from array import array
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from paraclip.errors import UserError
from paraclip.files import disk_errors, take_lock, text_hash
from paraclip.paraphrase.backends import Answer

FORMAT = 1
HEAD = b'{"paraclip"'
FRESH = "Name another output folder, or start over with --fresh."
KEY = re.compile(r"[0-9a-f]{16}")


class AnswerLog:
    """Answers by question, on disk.

    Args:
        path: the log file; made if it is not there.
        settings: what decides the answers, JSON-able; must be the same each time.
        fresh: throw away the answers that are there.

    Raises:
        UserError: the file is no log (it stays as it is), the settings differ from the log's,
            another run is writing it, or the place may not be written.
    """

    def __init__(self, path: Path, settings: dict[str, Any], fresh: bool = False) -> None:
        self.path = path
        self._keys, self._places = np.zeros(0, np.uint64), np.zeros(0, np.uint64)
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab+")
        try:
            self._open(settings, fresh)
        except BaseException:
            self.close()
            raise

    def _open(self, settings: dict[str, Any], fresh: bool) -> None:
        take_lock(self._file, self.path, "Wait for it, or name another output folder.")
        self._refuse_foreign()
        if fresh:
            self._file.truncate(0)
        self._drop_half_line()
        self._drop_empty_log()
        if self._file.seek(0, os.SEEK_END) == 0:
            self._append({"paraclip": FORMAT, "settings": settings})
        else:
            self._read(settings)

    def _refuse_foreign(self) -> None:
        """Leave a file alone that no run wrote, before anything in it is changed."""
        self._file.seek(0)
        head = self._file.read(len(HEAD))
        if not HEAD.startswith(head):
            raise UserError(self.path, "is not a log of answers", "Name another output folder.")

    def _drop_half_line(self) -> None:
        """A run that was killed while writing leaves a line without its end: it never counted."""
        size = self._file.seek(0, os.SEEK_END)
        place = size
        while place:
            start = max(0, place - 65536)
            self._file.seek(start)
            found = self._file.read(place - start).rfind(b"\n")
            if found >= 0:
                place = start + found + 1
                break
            place = start
        if place < size:
            self._file.truncate(place)

    def _drop_empty_log(self) -> None:
        """A log of settings alone, left by a run whose server was down, binds nobody."""
        self._file.seek(0)
        head = self._file.readline()
        if head.startswith(HEAD) and not self._file.readline():
            self._file.truncate(0)

    def _read(self, settings: dict[str, Any]) -> None:
        """Check the settings and index every line."""
        self._file.seek(0)
        self._check(self._file.readline(), settings)
        keys, places = array("Q"), array("Q")
        place = self._file.tell()
        for line in self._file:
            row = row_of(line)
            if row is not None:
                keys.append(int(row["key"], 16))
                places.append(place)
            place += len(line)
        self._keys, self._places = sorted_pair(keys, places)

    def _check(self, line: bytes, settings: dict[str, Any]) -> None:
        known = (object_of(line) or {}).get("settings")
        if not isinstance(known, dict):
            raise UserError(self.path, "is a log whose settings are damaged", FRESH)
        wanted = json.loads(json.dumps(settings))
        for name in [*wanted, *(known.keys() - wanted.keys())]:
            if known.get(name) != wanted.get(name):
                change = f"{name} was {known.get(name)!r} and is {wanted.get(name)!r}"
                raise UserError(self.path, f"was made with other settings: {change}", FRESH)

    def __len__(self) -> int:
        """Questions that were answered before this run."""
        return len(self._keys)

    def find(self, key: str) -> list[Answer] | None:
        """The answers that an earlier run logged under a key of 16 hex digits, or None."""
        place = lookup(self._keys, self._places, int(key, 16))
        if place is None:
            return None
        self._file.seek(place)
        row = row_of(self._file.readline())
        return None if row is None else [Answer(text, cut) for text, cut in row["answers"]]

    def add(self, key: str, caption_id: str, step: int, text: str, found: list[Answer]) -> None:
        """Write answers at once; they are safe from here on.

        Args:
            key: 16 hex digits that stand for the question.
            caption_id: whose question it is.
            step: 1 or 2.
            text: the text that was to be reworded.
            found: all candidates.
        """
        answers = [[answer.text, answer.cut] for answer in found]
        self._append(
            {"id": caption_id, "step": step, "key": key, "text": text_hash(text)}
            | {"answers": answers}
        )

    def _append(self, row: dict[str, Any]) -> None:
        with disk_errors(self.path):
            self._file.write(json.dumps(row).encode() + b"\n")
            self._file.flush()

    def close(self) -> None:
        """Let the file go."""
        # What no longer fitted on the disk was reported when it was written; closing retries it.
        with suppress(OSError):
            self._file.close()


def object_of(line: bytes) -> dict[str, Any] | None:
    """The JSON object in a line, or None where there is none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def row_of(line: bytes) -> dict[str, Any] | None:
    """A line's object; None for a line that is damaged, whose question is asked again."""
    row = object_of(line)
    if row is None or not isinstance(row.get("key"), str) or not KEY.fullmatch(row["key"]):
        return None
    answers = row.get("answers")
    return row if isinstance(answers, list) and all(map(is_answer, answers)) else None


def is_answer(found: Any) -> bool:
    """Whether something in a log is an answer: a text, and whether it was cut off."""
    if not isinstance(found, list) or len(found) != 2:
        return False
    return isinstance(found[0], str) and isinstance(found[1], bool)


def lookup(keys: np.ndarray, values: np.ndarray, wanted: int) -> int | None:
    """The value beside a key in two arrays that `sorted_pair` made, or None."""
    place = int(np.searchsorted(keys, np.uint64(wanted)))
    return int(values[place]) if place < len(keys) and int(keys[place]) == wanted else None


def sorted_pair(keys: Sequence[int], values: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Two uint64 arrays, ordered by the first; of equal keys the first stays first."""
    first, second = np.array(keys, np.uint64), np.array(values, np.uint64)
    order = np.argsort(first, kind="stable")
    return first[order], second[order]
