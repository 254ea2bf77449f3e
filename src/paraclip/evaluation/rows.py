"""Rows of CSV, TSV, JSONL, JSON and Parquet files as dictionaries, one at a time."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from paraclip.data.captions import BrokenRow, label
from paraclip.data.problems import Problems
from paraclip.data.tables import (
    Splitter,
    csv_fields,
    json_objects,
    open_parquet,
    parquet_rows,
    read_fields,
    refuse_equal_names,
    tsv_fields,
)
from paraclip.data.untrusted_json import open_json
from paraclip.errors import UserError

_Item = TypeVar("_Item")
Values = dict[str, Any]
"""Values of a row by column name."""


def read_rows(source: str, problems: Problems) -> Iterator[tuple[str, Values]]:
    """Yield `file:row` and the values of each row of a table, JSON array or JSON object."""
    suffix = Path(source).suffix.lower()
    if suffix not in ROW_READERS:
        known = ", ".join(ROW_READERS)
        raise UserError(source, f"has an unknown format ({known})", "Convert it to one of these.")
    for number, values in ROW_READERS[suffix](source, problems):
        yield f"{source}:{number}", values


def good_rows(
    source: str | Path, make: Callable[[Values, str], _Item], problems: Problems, hint: str
) -> tuple[list[_Item], int]:
    """Return one item for each valid row of a file, and the number of invalid rows.

    Args:
        make: makes the item from the values and `file:row`; raises BrokenRow for a broken row.
        hint: how to get the file.

    Raises:
        UserError: the file is missing or has no valid row, or too many rows are broken.
    """
    if not Path(source).is_file():
        raise UserError(source, "there is no such file", hint)
    items, before = [], problems.count
    for where, values in read_rows(str(source), problems):
        try:
            items.append(make(values, where))
        except BrokenRow as broken:
            problems.add(where, str(broken))
    skipped = problems.count - before
    problems.check(len(items) + skipped)
    if not items:
        raise UserError(source, "contains no rows", hint)
    return items, skipped


def require_columns(values: Values, names: Iterable[str], where: str, hint: str) -> None:
    """Raise UserError, with the hint, for the first column that a row lacks."""
    for name in names:
        if name not in values:
            known = ", ".join(map(label, list(values)[:12])) or "none"
            raise UserError(where, f"has no column {label(name)} (it has {known})", hint)


def _delimited_rows(
    source: str, problems: Problems, split: Splitter
) -> Iterator[tuple[int, Values]]:
    """Line number and values of each row of a CSV or TSV file with a header."""
    rows = read_fields(source, problems, split)
    _, header = next(rows)
    refuse_equal_names(header, source)
    for number, fields in rows:
        yield number, dict(zip(header, fields, strict=True))


def _json_rows(source: str, problems: Problems) -> Iterator[tuple[int, Values]]:
    """Number and object of each element of a JSON array, or of each value of an object."""
    with open_json(source) as text:
        is_object = text.peek() == "{"
        elements = (text.value() for _ in text.keys()) if is_object else text.elements()  # noqa: SIM118
        for number, values in enumerate(elements, start=1):
            if isinstance(values, dict):
                yield number, values
            else:
                problems.add(f"{source}:{number}", "is not a JSON object")


def _all_parquet_rows(source: str, problems: Problems) -> Iterator[tuple[int, Values]]:
    """Number and values of each row of a Parquet file."""
    with open_parquet(source) as file:
        yield from parquet_rows(file, file.schema_arrow.names)


ROW_READERS: dict[str, Callable[[str, Problems], Iterator[tuple[int, Values]]]] = {
    ".csv": partial(_delimited_rows, split=csv_fields),
    ".tsv": partial(_delimited_rows, split=tsv_fields),
    ".jsonl": json_objects,
    ".ndjson": json_objects,
    ".json": _json_rows,
    ".parquet": _all_parquet_rows,
}
