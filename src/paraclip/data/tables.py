"""Readers of tables: CSV, TSV, JSONL, COCO's JSON and Parquet, one row at a time."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from paraclip.data.captions import Record, choose_columns, choose_keys, label
from paraclip.data.config import Columns
from paraclip.data.lines import bounded_lines, open_source
from paraclip.data.problems import Problems
from paraclip.data.untrusted_json import BadJson, array_at, open_json, parse_json_object
from paraclip.errors import UserError

_Fields = Iterator[tuple[int, list[str]]]
Splitter = Callable[[Iterator[tuple[int, str]], str, Problems], _Fields]
_ROWS_AT_ONCE = 1024
_CHECK_HEADER = "It must name the columns, with closed quotes, and end in a line feed."
_LAYOUT = 'It must hold {"images": [...], "annotations": [...]} or a list of objects.'
# Keys of the picture and the caption in plain lists; the first key that an element has is read.
_IMAGE_NAMES = ("file_name", "filename", "image")
_CAPTION_NAMES = ("captions", "caption", "sentences")


# --- CSV and TSV ---


def read_delimited(
    source: str, columns: Columns, problems: Problems, split: Splitter
) -> Iterator[Record]:
    """Records of a CSV or TSV file; `csv_fields` or `tsv_fields` splits its lines."""
    rows = read_fields(source, problems, split)
    header = [name.strip() for name in next(rows)[1]]
    chosen = choose_columns(header, columns, source)
    refuse_equal_names([name for name in header if name in chosen], source)
    indices = [header.index(name) if name is not None else None for name in chosen]
    for number, fields in rows:
        values = [fields[index] if index is not None else None for index in indices]
        yield Record(f"{source}:{number}", number, *values)


def read_fields(source: str, problems: Problems, split: Splitter) -> _Fields:
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
            raise UserError(source, "has a first line that cannot be read", _CHECK_HEADER)
        if not header:
            raise UserError(source, "is empty", "Its first line must name the columns.")
        yield first, header
        for number, fields in rows:
            if len(fields) == len(header):
                yield number, fields
                continue
            what = f"has {len(fields)} fields where the header has {len(header)}"
            problems.add(f"{source}:{number}", what)


def csv_fields(lines: Iterator[tuple[int, str]], source: str, problems: Problems) -> _Fields:
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
            what = f"is not CSV ({error})"
            if lost > 1:
                what = f"a quote that opens here is not closed properly and spans {lost:,} lines"
            problems.add(f"{source}:{last - lost + 1}", what, rows=lost)
            continue
        if fields and not (len(fields) == 1 and fields[0].isspace()):
            yield last - (reader.line_num - before) + 1, fields


def tsv_fields(lines: Iterator[tuple[int, str]], source: str, problems: Problems) -> _Fields:
    """Number and fields of each line; quotes are part of the text.

    Only fields that are quoted as a whole, as pandas writes them, are unquoted.
    """
    for number, line in lines:
        if line.strip():
            yield number, [_unquoted(field) for field in line.rstrip("\r\n").split("\t")]


def _unquoted(field: str) -> str:
    """The field without the quotes around it, if all quotes inside are doubled."""
    if len(field) < 2 or not (field.startswith('"') and field.endswith('"')):
        return field
    inside = field[1:-1].replace('""', "\0")
    return field if '"' in inside else inside.replace("\0", '"')


def read_plain_lines(source: str, columns: Columns, problems: Problems) -> Iterator[Record]:
    """Records of a text file with a caption in each line; blank lines are skipped."""
    with open_source(source) as stream:
        for number, line in bounded_lines(stream, source, problems):
            if line.strip():
                yield Record(f"{source}:{number}", number, line)


# --- JSON ---


def read_json_lines(source: str, columns: Columns, problems: Problems) -> Iterator[Record]:
    """Records of a JSONL file; the first object determines the keys of the caption and the id."""
    chosen = None
    for number, values in json_objects(source, problems):
        where = f"{source}:{number}"
        chosen = chosen or choose_keys(values, columns, source)
        if chosen.caption in values:
            yield chosen.record(where, number, values)
        else:
            problems.add(where, f"has no {label(chosen.caption)}")


def json_objects(source: str, problems: Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of each line of a JSONL file; other lines are added to `problems`."""
    with open_source(source) as stream:
        for number, line in bounded_lines(stream, source, problems):
            if not line.strip():
                continue
            try:
                yield number, parse_json_object(line)
            except BadJson as error:
                problems.add(f"{source}:{number}", f"the line {error}")


def read_coco(source: str, columns: Columns, problems: Problems) -> Iterator[Record]:
    """Records of a COCO captions file, streamed; only the names of the pictures are kept."""
    with open_json(source) as text:
        first = text.peek()
    if first not in ("[", "{"):
        raise UserError(source, "is not JSON", _LAYOUT)
    read = _read_list if first == "[" else _read_annotations
    yield from read(source, columns, problems)


def _read_list(source: str, columns: Columns, problems: Problems) -> Iterator[Record]:
    """Records of a list of objects: `image_id`, `file_name`, and `captions` or `caption`.

    Without an `id`, the id of a caption is its image id and a running number.
    """
    chosen, keyed = None, False
    with open_json(source) as text:
        for row, values in enumerate(text.elements(), start=1):
            where = f"{source}:{row}"
            if not isinstance(values, dict):
                problems.add(where, "the element is not an object")
                continue
            if chosen is None:
                usual = _CAPTION_NAMES if columns.caption == "caption" else ()
                caption = next((name for name in usual if name in values), columns.caption)
                chosen = choose_keys(values, replace(columns, caption=caption), source)
                keyed = chosen.id is None and "image_id" in values
            record = chosen.record(where, row, values)
            if columns.image == "image":
                record.image = next((values[x] for x in _IMAGE_NAMES if x in values), None)
            if keyed and isinstance(record.caption, list):
                # another picture may have the row's number as its id
                record.id = f"row {row}" if record.image_id is None else record.image_id
            yield record


def _read_annotations(source: str, columns: Columns, problems: Problems) -> Iterator[Record]:
    """Records of COCO's official layout."""
    names = {}
    if columns.image:
        names = {
            str(values["id"]): str(values["file_name"])
            for values in array_at(source, "images", _LAYOUT, to_end=False)
            if isinstance(values, dict) and "id" in values and "file_name" in values
        }
    chosen = None
    for row, values in enumerate(array_at(source, "annotations", _LAYOUT), start=1):
        where = f"{source}: annotation {row}"
        if not isinstance(values, dict):
            problems.add(where, "is not an object")
            continue
        chosen = chosen or choose_keys(values, replace(columns, image=None), source)
        record = chosen.record(where, row, values)
        if columns.image:
            record.image = names.get(str(record.image_id))
            if record.image is None:
                problems.add(where, f"there is no image with the id {record.image_id!r}")
                continue
        yield record


# --- Parquet ---


def read_parquet(source: str, columns: Columns, problems: Problems) -> Iterator[Record]:
    """Records of a Parquet file; only the chosen columns are read."""
    with open_parquet(source) as file:
        schema = file.schema_arrow
        chosen = choose_columns(schema.names, columns, source)
        if chosen.image is not None:
            kind = schema.field(chosen.image).type
            if any(test(kind) for test in (pa.types.is_struct, pa.types.is_binary,
                                           pa.types.is_large_binary)):  # fmt: skip
                what = f"column {label(chosen.image)} holds pictures, not their names"
                hint = "Save them as files and name these, or give --image-column None."
                raise UserError(source, what, hint)
        names = list(dict.fromkeys(name for name in chosen if name is not None))
        for row, values in parquet_rows(file, names):
            yield chosen.record(f"{source}:{row}", row, values)


def parquet_rows(
    file: pq.ParquetFile, names: Sequence[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number, from 1, and values by column of each row."""
    row = 0
    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=names):
        for values in zip(*(_python_values(batch.column(name)) for name in names), strict=True):
            row += 1
            yield row, dict(zip(names, values, strict=True))


@contextmanager
def open_parquet(source: str) -> Iterator[pq.ParquetFile]:
    """The file, before any row is read; raises UserError if it is broken or names are ambiguous."""
    with open_source(source) as stream:
        try:
            file = pq.ParquetFile(stream, buffer_size=2**20)
            refuse_equal_names(file.schema_arrow.names, source)
            yield file
        except (pa.ArrowException, OSError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            hint = "Make or fetch the file again."
            raise UserError(source, f"cannot be read as Parquet ({first})", hint) from error


def refuse_equal_names(names: Sequence[str], source: object) -> None:
    """Raise UserError if two columns of a file have the same name."""
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        what = f"has two columns called {label(twice)}"
        raise UserError(source, what, "Rename one or leave it out.")


def _python_values(column: pa.Array) -> list[Any]:
    """The column's values; texts as bytes, since the encoding is checked row by row.

    A value that Python does not have, such as a date after 9999, remains an Arrow scalar.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_string(kind):
        column = column.cast(pa.binary())
    elif pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        column = column.cast(pa.large_binary())
    elif pa.types.is_list(kind) and pa.types.is_string(kind.value_type):
        column = column.cast(pa.list_(pa.binary()))
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        return [_python_value(value) for value in column]


def _python_value(value: pa.Scalar) -> Any:
    """The value, or the scalar itself."""
    try:
        return value.as_py()
    except (ValueError, OverflowError):
        return value
