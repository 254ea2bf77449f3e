"""Parquet files, a thousand rows at a time."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from paraclip.data.captions import Record, choose_columns, column_names, label, make_record
from paraclip.data.config import Columns
from paraclip.data.lines import open_source
from paraclip.data.problems import Problems
from paraclip.errors import UserError

ROWS_AT_ONCE = 1024


def read_parquet(source: str, columns: Columns, problems: Problems) -> Iterator[Record]:
    """Records of a Parquet file; only the chosen columns are read."""
    with open_parquet(source) as file:
        schema = file.schema_arrow
        chosen = choose_columns(schema.names, columns, source)
        refuse_pictures(schema, chosen, source)
        for row, values in parquet_rows(file, column_names(chosen)):
            yield make_record(chosen, f"{source}:{row}", row, values)


def parquet_rows(
    file: pq.ParquetFile, names: Sequence[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number, from 1, and values by column of each row."""
    row = 0
    for batch in file.iter_batches(ROWS_AT_ONCE, columns=names):
        for values in zip(*(python_values(batch.column(name)) for name in names), strict=True):
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


def refuse_pictures(schema: pa.Schema, chosen: Columns, source: str) -> None:
    """Raise UserError if the image column contains pictures instead of their names."""
    if chosen.image is None:
        return
    kind = schema.field(chosen.image).type
    if pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        what = f"column {label(chosen.image)} holds pictures, not their names"
        hint = "Save them as files and name these, or give --image-column None."
        raise UserError(source, what, hint)


def python_values(column: pa.Array) -> list[Any]:
    """The column's values; texts as bytes, since the encoding is checked row by row."""
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
        return [python_value(value) for value in column]


def python_value(value: pa.Scalar) -> Any:
    """The value; the scalar itself if Python has no such value (a date after 9999)."""
    try:
        return value.as_py()
    except (ValueError, OverflowError):
        return value
