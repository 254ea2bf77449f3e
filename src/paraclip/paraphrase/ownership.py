"""Which files of an output folder a run wrote: those alone may be replaced or deleted."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from paraclip.data.untrusted_json import parse_json_object
from paraclip.errors import UserError
from paraclip.files import read_bounded, refuse_overwriting

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
    inputs = list(inputs)
    for name in (*ALWAYS, PROBLEMS, JSONL, SUMMARY, LOG):
        refuse_overwriting(out / name, inputs)


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
        found = parse_json_object(read_bounded(out / SUMMARY))
    except (OSError, ValueError, UserError):
        return None
    made = found.get("provenance")
    whole = isinstance(made, dict) and isinstance(made.get("settings"), dict)
    return found if whole and "reused_answers" in found else None
