"""Marks of people on results, as triples that `paraclip train` reads.

A mark is a query and a picture. Pictures marked as right are rows of FILE, whose three texts are
the query: L1 learns from them, and L2 and L3 skip equal texts. Those marked as wrong are rows of
the same form in a second file beside it, FILE with the ending `.wrong.jsonl`: they are no matches,
so no training reads them with FILE.
"""

import json
from contextlib import ExitStack
from pathlib import Path
from threading import Lock

from paraclip.data.triples import TEXTS
from paraclip.data.untrusted_json import BadJson, parse_json_object
from paraclip.errors import UserError
from paraclip.files import OTHER_PATH, disk_errors, read_bounded, take_lock, text_hash, write_text

GENERATOR = "feedback"
_MOST_ROWS = 10_000  # of both files
_LONGEST = 500  # characters of a query


class Feedback:
    """The marks in two files; locked against other servers until it is closed.

    Args:
        path: FILE, ending in .jsonl; may not exist yet.

    Raises:
        UserError: another server uses the file, it was not written by ParaCLIP, or it cannot be
            read or written.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix != ".jsonl":
            raise UserError(path, "does not end in .jsonl", "`paraclip train` knows it by that.")
        self._files = {True: path, False: path.with_suffix(".wrong.jsonl")}
        lock = path.with_name(f".{path.name}.lock")
        with ExitStack() as held:
            with disk_errors(lock):
                path.parent.mkdir(parents=True, exist_ok=True)
                file = held.enter_context(lock.open("ab"))
            take_lock(file, path, "Stop the other server, or name another file.")
            self._rows = {verdict: _read_rows(file) for verdict, file in self._files.items()}
            self._held = held.pop_all()
        self._lock = Lock()

    def verdict(self, query: str, image: str) -> bool | None:
        """Whether a picture was marked as right or as wrong for a query; None if neither."""
        key = _key(_plain(query), image)
        return next((verdict for verdict, rows in self._rows.items() if key in rows), None)

    def mark(self, query: str, image: str, verdict: bool | None) -> None:
        """Store a mark in place of an earlier one; None removes it.

        Args:
            query: the words that were searched.
            image: absolute path of the picture.
            verdict: True for right, False for wrong.

        Raises:
            UserError: there are too many marks, or the file cannot be written.
        """
        text = _plain(query)
        key = _key(text, image)
        row = {"id": key, **dict.fromkeys(TEXTS, text), "image": image, "generator": GENERATOR}
        with self._lock:
            if verdict is self.verdict(text, image):
                return
            kept = {
                kind: {one: line for one, line in rows.items() if one != key}
                for kind, rows in self._rows.items()
            }
            if verdict is not None:
                kept[verdict][key] = json.dumps(row, ensure_ascii=False) + "\n"
                if sum(map(len, kept.values())) > _MOST_ROWS:
                    what = f"has {_MOST_ROWS:,} marks, which is the limit"
                    hint = "Start the server with another file."
                    raise UserError(self._files[True].name, what, hint)
            for kind, rows in kept.items():
                if rows != self._rows[kind]:
                    write_text(self._files[kind], "".join(rows.values()))
                    self._rows[kind] = rows

    def close(self) -> None:
        """Release the file."""
        self._held.close()


def _plain(query: str) -> str:
    """The query with single spaces, cut to a length of which the files can hold all marks."""
    return " ".join(query.split())[:_LONGEST].rstrip()


def _key(query: str, image: str) -> str:
    """The id of a row, which no other file of triples uses."""
    return f"{GENERATOR}-{text_hash(chr(0).join((query, image)))}"


def _read_rows(file: Path) -> dict[str, str]:
    """The lines of a file by id."""
    if not file.exists():
        return {}
    try:
        lines = list(filter(None, read_bounded(file).decode().split("\n")))
        found = [parse_json_object(line) for line in lines]
        rows = {row["id"]: f"{line}\n" for row, line in zip(found, lines, strict=True)}
        foreign = any(row.get("generator") != GENERATOR for row in found)
    except (BadJson, UnicodeError, KeyError, TypeError):
        foreign = True
    if foreign:
        raise UserError(file, "exists and was not written by ParaCLIP", OTHER_PATH)
    return rows
