"""Rows of CSV, TSV, JSONL, JSON and Parquet files as dictionaries, one at a time."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from paraclip.data.captions import BrokenRow, json_object
from paraclip.data.delimited import csv_fields, read_fields, tsv_fields
from paraclip.data.json_stream import JsonStream
from paraclip.data.lines import bounded_lines, open_source
from paraclip.data.parquet import ROWS_AT_ONCE, open_parquet, values
from paraclip.data.problems import Problems
from paraclip.errors import UserError

Item = TypeVar("Item")
Row = tuple[str, dict[str, Any]]
"""Where it stands (`pairs.csv:12`), and its values by column."""


def read_rows(source: str, problems: Problems) -> Iterator[Row]:
    """The rows of a table; JSON is an array of objects, or an object of objects.

    Raises:
        UserError: there is no such file, its kind is unknown, or it is broken as a whole.
    """
    suffix = Path(source).suffix.lower()
    if suffix not in READERS:
        known = ", ".join(READERS)
        raise UserError(source, f"is of no known kind ({known})", "Convert it to one of these.")
    return READERS[suffix](source, problems)


def good_rows(
    source: str | Path, make: Callable[[dict[str, Any], str], Item], problems: Problems
) -> tuple[list[Item], int]:
    """What is made of each row of a file, and how many were broken.

    Args:
        source: as for `read_rows`.
        make: from a row and where it stands; it raises BrokenRow for one that is broken.
        problems: where those are noted.

    Raises:
        UserError: as `read_rows`; what `make` raises; too many rows are broken.
    """
    made, before = [], problems.count
    for where, row in read_rows(str(source), problems):
        try:
            made.append(make(row, where))
        except BrokenRow as broken:
            problems.add(where, str(broken))
    skipped = problems.count - before
    problems.check(len(made) + skipped)
    return made, skipped


def read_delimited(source: str, problems: Problems) -> Iterator[Row]:
    """Rows of a CSV or TSV file with a header."""
    split = tsv_fields if Path(source).suffix.lower() == ".tsv" else csv_fields
    rows = read_fields(source, problems, split)
    _, header = next(rows)
    for number, fields in rows:
        yield f"{source}:{number}", dict(zip(header, fields, strict=True))


def read_json_lines(source: str, problems: Problems) -> Iterator[Row]:
    """Rows of a JSONL file, an object a line."""
    with open_source(source) as stream:
        for number, line in bounded_lines(stream, source, problems):
            try:
                yield f"{source}:{number}", json_object(line)
            except BrokenRow as broken:
                problems.add(f"{source}:{number}", str(broken))


def read_json(source: str, problems: Problems) -> Iterator[Row]:
    """Rows of a JSON array of objects; of an object, its values."""
    with open_source(source) as stream:
        text = JsonStream(stream, source)
        found = keyed_values(text) if text.peek() == "{" else text.elements()
        for number, row in enumerate(found, start=1):
            if isinstance(row, dict):
                yield f"{source}:{number}", row
                continue
            problems.add(f"{source}:{number}", "is not a JSON object")


def keyed_values(text: JsonStream) -> Iterator[Any]:
    """The values of a JSON object."""
    keys = text.keys()
    for _ in keys:
        yield text.value()


def read_parquet(source: str, problems: Problems) -> Iterator[Row]:
    """Rows of a Parquet file."""
    with open_parquet(source) as file:
        names = file.schema_arrow.names
        number = 0
        for batch in file.iter_batches(ROWS_AT_ONCE):
            for row in zip(*(values(batch.column(name)) for name in names), strict=True):
                number += 1
                yield f"{source}:{number}", dict(zip(names, row, strict=True))


READERS = {
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".parquet": read_parquet,
}
