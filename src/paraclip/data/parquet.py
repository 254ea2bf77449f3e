"""Parquet files, a thousand rows at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from paraclip.data.config import Columns
from paraclip.data.lines import is_remote, open_source
from paraclip.data.problems import Problems
from paraclip.data.record import Chosen, Record, choose_columns, label
from paraclip.errors import UserError

ROWS_AT_ONCE = 1024


def read_parquet(source: str, columns: Columns, problems: Problems) -> Iterator[Record]:
    """Records of a Parquet file; only the chosen columns are read."""
    with open_parquet(source) as file:
        schema = file.schema_arrow
        chosen = choose_columns(schema.names, columns, source)
        refuse_pictures(schema, chosen, source)
        names = chosen.names()
        row = 0
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=names):
            for found in zip(*(values(batch.column(name)) for name in names), strict=True):
                row += 1
                yield chosen.record(f"{source}:{row}", row, dict(zip(names, found, strict=True)))


@contextmanager
def open_parquet(source: str) -> Iterator[pq.ParquetFile]:
    """The file, its rows not yet read."""
    try:
        if is_remote(source):
            with open_source(source) as stream:
                yield pq.ParquetFile(stream, buffer_size=2**20)
        else:
            with pq.ParquetFile(source, memory_map=False, buffer_size=2**20) as file:
                yield file
    except FileNotFoundError as error:
        raise UserError(source, "there is no such file", "Check the name.") from error
    except (pa.ArrowException, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        hint = "Make or fetch the file again."
        raise UserError(source, f"cannot be read as Parquet ({first})", hint) from error


def refuse_pictures(schema: pa.Schema, chosen: Chosen, source: str) -> None:
    """Raise where the image column holds pictures instead of their names."""
    if chosen.image is None:
        return
    kind = schema.field(chosen.image).type
    if pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        what = f"column {label(chosen.image)} holds pictures, not their names"
        hint = "Save them as files and name these, or give --image-column None."
        raise UserError(source, what, hint)


def values(column: pa.Array) -> list[Any]:
    """The column's values, texts as bytes: whether they are UTF-8 is judged row by row."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_string(kind):
        column = column.cast(pa.binary())
    elif pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        column = column.cast(pa.large_binary())
    elif pa.types.is_list(kind) and pa.types.is_string(kind.value_type):
        column = column.cast(pa.list_(pa.binary()))
    return list(column.to_pylist())
