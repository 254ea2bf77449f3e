"""Which files of an output folder a run wrote: those alone may be replaced or deleted."""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from paraclip.errors import UserError
from paraclip.files import read_bounded

ALWAYS = ("triples.parquet", "rejected.jsonl", "failed.jsonl")
PROBLEMS, JSONL, SUMMARY, LOG = "problems.txt", "triples.jsonl", "summary.json", "answers.jsonl"
HINT = "Name another output folder, or move the file away."


def refuse_inputs(inputs: Iterable[str], out: Path) -> None:
    """Refuse to read from a file that the run would write.

    Args:
        inputs: the files that are read.
        out: the output folder.

    Raises:
        UserError: one of them is a file of the run.
    """
    written = [out / name for name in (*ALWAYS, PROBLEMS, JSONL, SUMMARY, LOG)]
    for name in inputs:
        with suppress(OSError, ValueError):
            if any(path.exists() and os.path.samefile(name, path) for path in written):
                what = "would be overwritten: it is an output of the run, too"
                raise UserError(name, what, "Name another output folder.")


def refuse_foreign(out: Path, problems: bool = False, jsonl: bool = False) -> None:
    """Refuse a folder in which a file that would be replaced is not of an earlier run.

    A folder with a log of answers, which is checked where it is opened, or with a summary is a
    run's. The two files that not every run writes count as its own where its summary says so.

    Args:
        out: the output folder.
        problems: problems.txt would be written.
        jsonl: triples.jsonl would be written.

    Raises:
        UserError: naming the file.
    """
    summary = summary_of(out)
    run = summary is not None or (out / LOG).exists()
    foreign = [] if run else [out / name for name in (*ALWAYS, SUMMARY)]
    optional = [(PROBLEMS, problems), (JSONL, jsonl)]
    own = extras(summary)
    foreign += [out / name for name, written in optional if written and name not in own]
    for path in foreign:
        if path.exists():
            raise UserError(path, "is there already, and no earlier run wrote it", HINT)


def extras(summary: dict[str, Any] | None) -> list[str]:
    """Of the two files that not every run writes, those that the run of a summary wrote."""
    if summary is None:
        return []
    broken, jsonl = summary.get("broken"), summary["provenance"]["settings"].get("jsonl")
    return [name for name, written in ((PROBLEMS, broken), (JSONL, jsonl)) if written]


def summary_of(out: Path) -> dict[str, Any] | None:
    """An earlier run's summary.json, or None where there is none."""
    try:
        found = json.loads(read_bounded(out / SUMMARY))
    except (OSError, ValueError, RecursionError, UserError):
        return None
    made = found.get("provenance") if isinstance(found, dict) else None
    whole = isinstance(made, dict) and isinstance(made.get("settings"), dict)
    return found if whole and "reused_answers" in found else None
