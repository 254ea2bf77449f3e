"""The append-only log of all answers: what makes a killed run go on where it was.

The first line holds the settings that decide answers; every other line is one question's answers,
written and flushed the moment they came. To find them again only 32 bytes a question are held in
memory: a hash of the question and the place of its line.
"""

import json
import os
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
FRESH = "Name another output folder, or start anew with --fresh."


def number_of(text: str) -> int:
    """A 64-bit hash of a text."""
    return int(text_hash(text), 16)


class AnswerLog:
    """Answers by question, on disk.

    Args:
        path: the log file; made if it is not there.
        settings: what decides the answers, JSON-able; must be the same each time.
        fresh: throw away what is there.

    Raises:
        UserError: the settings differ from the log's, another run is writing it, or the place may
            not be written.
    """

    def __init__(self, path: Path, settings: dict[str, Any], fresh: bool = False) -> None:
        self.path = path
        self._keys, self._places = np.zeros(0, np.uint64), np.zeros(0, np.uint64)
        self._ids, self._id_texts = self._keys, self._places
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
        if fresh:
            self._file.truncate(0)
        self._drop_half_line()
        self._drop_empty_log()
        if self._file.seek(0, os.SEEK_END) == 0:
            self._append({"paraclip": FORMAT, "settings": settings})
        else:
            self._read(settings)

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
        if head.startswith(b'{"paraclip"') and not self._file.readline():
            self._file.truncate(0)

    def _read(self, settings: dict[str, Any]) -> None:
        """Check the settings and index every line."""
        self._file.seek(0)
        self._check(self._file.readline(), settings)
        keys, places, ids, texts = array("Q"), array("Q"), array("Q"), array("Q")
        place = self._file.tell()
        for line in self._file:
            row = self._row(line)
            if row is not None:
                keys.append(int(row["key"], 16))
                places.append(place)
                if row["step"] == 1:
                    ids.append(number_of(row["id"]))
                    texts.append(int(row["text"], 16))
            place += len(line)
        self._keys, self._places = sorted_pair(keys, places)
        self._ids, self._id_texts = sorted_pair(ids, texts)

    @staticmethod
    def _row(line: bytes) -> dict[str, Any] | None:
        """A line's object; None for a line that is damaged, whose question is asked again."""
        try:
            row = json.loads(line)
            int(row["key"], 16), row["id"], row["step"], int(row["text"], 16), row["answers"]
        except (ValueError, KeyError, TypeError):
            return None
        return dict(row)

    def _check(self, line: bytes, settings: dict[str, Any]) -> None:
        try:
            known = json.loads(line)["settings"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(self.path, "is not a log of answers", FRESH) from error
        wanted = json.loads(json.dumps(settings))
        for name in [*wanted, *(known.keys() - wanted.keys())]:
            if known.get(name) != wanted.get(name):
                change = f"{name} was {known.get(name)!r} and is {wanted.get(name)!r}"
                raise UserError(self.path, f"was made with other settings: {change}", FRESH)

    def __len__(self) -> int:
        """Questions that were answered before this run."""
        return len(self._keys)

    def check_caption(self, caption_id: str, text: str) -> None:
        """Refuse a caption that had another text when the log was made.

        Raises:
            UserError: it had.
        """
        if not len(self):
            return
        known = lookup(self._ids, self._id_texts, number_of(caption_id))
        if known is not None and known != number_of(text):
            what = f"was made of other captions: {caption_id!r} had another text"
            raise UserError(self.path, what, FRESH)

    def find(self, key: str) -> list[Answer] | None:
        """The answers that an earlier run logged under a key of 16 hex digits, or None."""
        place = lookup(self._keys, self._places, int(key, 16))
        if place is None:
            return None
        self._file.seek(place)
        row = self._row(self._file.readline())
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
        # What no longer fitted on the disk was told when it was written; closing tries it again.
        with suppress(OSError):
            self._file.close()


def lookup(keys: np.ndarray, values: np.ndarray, wanted: int) -> int | None:
    """The value beside a key in two arrays that `sorted_pair` made, or None."""
    place = int(np.searchsorted(keys, np.uint64(wanted)))
    return int(values[place]) if place < len(keys) and int(keys[place]) == wanted else None


def sorted_pair(keys: Sequence[int], values: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Two uint64 arrays, ordered by the first; of equal keys the first stays first."""
    first, second = np.array(keys, np.uint64), np.array(values, np.uint64)
    order = np.argsort(first, kind="stable")
    return first[order], second[order]
