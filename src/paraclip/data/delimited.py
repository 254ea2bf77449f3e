"""Text files with one row per line: CSV and TSV with a header line, and JSONL."""

import csv
from collections.abc import Callable, Iterator
from typing import Any

from paraclip.data.captions import (
    Record,
    choose_columns,
    column_names,
    label,
    make_record,
    with_picture_keys,
)
from paraclip.data.config import Columns
from paraclip.data.lines import bounded_lines, open_source
from paraclip.data.parquet import refuse_equal_names
from paraclip.data.problems import Problems
from paraclip.data.untrusted_json import BadJson, parse_json_object
from paraclip.errors import UserError

Fields = Iterator[tuple[int, list[str]]]
CHECK_HEADER = "It must name the columns, with closed quotes, and end in a line feed."
Splitter = Callable[[Iterator[tuple[int, str]], str, Problems], Fields]


def read_delimited(
    source: str, columns: Columns, problems: Problems, split: Splitter
) -> Iterator[Record]:
    """Records of a CSV or TSV file; `csv_fields` or `tsv_fields` splits its lines."""
    rows = read_fields(source, problems, split)
    _, header = next(rows)
    chosen = choose_columns(header, columns, source)
    read = column_names(chosen)
    refuse_equal_names([name for name in header if name in read], source)
    names = (chosen.caption, chosen.image, chosen.id, chosen.image_id)
    indices = [header.index(name) if name is not None else None for name in names]
    for number, fields in rows:
        values = [fields[index] if index is not None else None for index in indices]
        yield Record(f"{source}:{number}", number, *values)


def read_fields(source: str, problems: Problems, split: Splitter) -> Fields:
    """Number and fields of the header line, then of each row with the same number of fields."""
    with open_source(source) as stream:
        lines = (
            (number, line.decode("utf-8", "surrogateescape"))
            for number, line in bounded_lines(stream, source, problems, headed=True)
        )
        before = problems.count
        rows = split(lines, source, problems)
        first, header = next(rows, (0, []))
        if problems.count > before:
            raise UserError(source, "has a first line that cannot be read", CHECK_HEADER)
        if not header:
            raise UserError(source, "is empty", "Its first line must name the columns.")
        yield first, header
        for number, fields in rows:
            if len(fields) == len(header):
                yield number, fields
                continue
            what = f"has {len(fields)} fields where the header has {len(header)}"
            problems.add(f"{source}:{number}", what)


def csv_fields(lines: Iterator[tuple[int, str]], source: str, problems: Problems) -> Fields:
    """Number of the first line and fields of each row; other rows are added to `problems`."""
    last = 0

    def counted() -> Iterator[str]:
        nonlocal last
        for number, line in lines:
            last = number
            yield line

    reader = csv.reader(counted(), strict=True)
    while True:
        before = reader.line_num
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            lost = reader.line_num - before
            problems.add(f"{source}:{last - lost + 1}", csv_fault(error, lost), rows=lost)
            continue
        if fields and not (len(fields) == 1 and fields[0].isspace()):
            yield last - (reader.line_num - before) + 1, fields


def csv_fault(error: csv.Error, lines: int) -> str:
    """The reason why a row is not CSV."""
    if lines > 1:
        return f"a quote that opens here is not closed properly and spans {lines:,} lines"
    return f"is not CSV ({error})"


def tsv_fields(lines: Iterator[tuple[int, str]], source: str, problems: Problems) -> Fields:
    """Number and fields of each line; quotes are part of the text.

    Only fields that are quoted as a whole, as pandas writes them, are unquoted.
    """
    for number, line in lines:
        if line.strip():
            yield number, [unquoted(field) for field in line.rstrip("\r\n").split("\t")]


def unquoted(field: str) -> str:
    """The field without the quotes around it, if all quotes inside are doubled."""
    if len(field) < 2 or not (field.startswith('"') and field.endswith('"')):
        return field
    inside = field[1:-1].replace('""', "\0")
    return field if '"' in inside else inside.replace("\0", '"')


def read_json_lines(source: str, columns: Columns, problems: Problems) -> Iterator[Record]:
    """Records of a JSONL file; the first object determines the keys of the caption and the id."""
    chosen = None
    for number, values in json_objects(source, problems):
        where = f"{source}:{number}"
        chosen = chosen or with_picture_keys(choose_columns(values, columns, source), columns)
        if chosen.caption in values:
            yield make_record(chosen, where, number, values)
        else:
            problems.add(where, f"has no {label(chosen.caption)}")


def json_objects(source: str, problems: Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of each line of a JSONL file; other lines are added to `problems`."""
    with open_source(source) as stream:
        for number, line in bounded_lines(stream, source, problems):
            if not line.strip():
                continue
            try:
                values = parse_json_object(line)
            except BadJson as error:
                problems.add(f"{source}:{number}", f"the line {error}")
                continue
            yield number, values
