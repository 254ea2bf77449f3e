"""Parquet and LanceDB: Arrow tables with a column of vectors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from paraclip.errors import UserError, nearest
from paraclip.swap.config import SwapCheckConfig
from paraclip.swap.stores.index import FIX, PATH_COLUMNS, Index, Vectors, gathered

ROWS_AT_ONCE = 16_384
LANCE_ERRORS = (ValueError, RuntimeError, OSError)
PARQUET_ERRORS = (pa.ArrowException, OSError, KeyError)


def read_parquet(config: SwapCheckConfig) -> Index:
    """A Parquet file or a folder of them."""
    with read_as("Parquet", config.index, PARQUET_ERRORS):
        table = ds.dataset(config.index, format="parquet")
        return index_of(table.schema, table, config, "parquet")


def read_lancedb(config: SwapCheckConfig) -> Index:
    """Read a table of a LanceDB folder.

    Raises:
        UserError: there is no such folder, lancedb is not installed, `--table` is needed, or the
            table is damaged.
    """
    try:
        import lancedb
    except ImportError as error:
        hint = "pip install '.[search]'"
        raise UserError("lancedb", "this package is not installed", hint) from error
    if not Path(config.index).is_dir():  # LanceDB would create it
        raise UserError(config.index, "is not a folder", FIX)
    database = lancedb.connect(config.index)
    names = sorted(path.stem for path in Path(config.index).glob("*.lance"))
    name = only_one(names, config.table, config.index, "table")
    with read_as("LanceDB", config.index, LANCE_ERRORS):
        table = database.open_table(name)
        return index_of(table.schema, Batches(table), config, "lancedb")


class Batches:
    """A LanceDB table with the only method of a dataset that is used here."""

    def __init__(self, table: Any) -> None:
        self.table = table

    def to_batches(self, columns: list[str], batch_size: int) -> Iterator[Any]:
        """Record batches of some columns."""
        count = self.table.count_rows()
        for start in range(0, count, batch_size):
            query = self.table.search().select(columns).limit(batch_size).offset(start)
            yield from query.to_arrow().to_batches()


def index_of(schema: Any, source: Any, config: SwapCheckConfig, kind: str) -> Index:
    """Read the index in a table.

    Args:
        schema: Arrow schema.
        source: object with `to_batches(columns=, batch_size=)`.
        config: names the column, if there are several.
        kind: kind of the store.
    """
    vector_columns = [field.name for field in schema if is_vector(field.type)]
    column = only_one(vector_columns, config.column, config.index, "column")
    named = {field.name for field in schema if not is_content(field.type)}
    path = next((name for name in PATH_COLUMNS if name in named), None)
    columns = [column, *([path] if path else [])]

    def rows() -> Iterator[tuple[list[str], Vectors]]:
        for batch in source.to_batches(columns=columns, batch_size=ROWS_AT_ONCE):
            if batch.num_rows:
                found = batch.column(path).to_pylist() if path else [None] * batch.num_rows
                names = ["" if name is None else str(name) for name in found]
                yield names, matrix(batch.column(column), config.index)

    index = gathered(rows(), config.most_rows, config.index)
    if index is None:
        raise UserError(config.index, "holds no rows", FIX)
    return replace(index, kind=kind, paths=index.paths if path else None)


def is_vector(kind: Any) -> bool:
    """Whether an Arrow type is a list of floats."""
    lists = (
        pa.types.is_list(kind),
        pa.types.is_large_list(kind),
        pa.types.is_fixed_size_list(kind),
    )
    return any(lists) and pa.types.is_floating(kind.value_type)


def is_content(kind: Any) -> bool:
    """Whether an Arrow type holds a picture itself, as bytes or in a struct, and not its path."""
    return pa.types.is_nested(kind) or any(
        holds(kind) for holds in (pa.types.is_binary, pa.types.is_large_binary)
    )


def matrix(column: Any, where: object) -> Vectors:
    """A column of lists as [rows, width]; raises UserError for missing rows or unequal widths."""
    if column.null_count:
        raise UserError(where, "has rows without a vector", FIX)
    values = column.flatten().to_numpy(zero_copy_only=False)
    width, rest = divmod(len(values), len(column))
    if rest or not width or not equal_widths(column, width):
        raise UserError(where, "has vectors of different widths", FIX)
    return np.asarray(values, np.float32).reshape(len(column), width)


def equal_widths(column: Any, width: int) -> bool:
    """Whether every list of a column has this length."""
    if pa.types.is_fixed_size_list(column.type):
        return True
    offsets = column.offsets.to_numpy()
    return bool((np.diff(offsets) == width).all())


def only_one(found: list[str], named: str | None, where: object, what: str) -> str:
    """Return the name given by the user, or the only one.

    Raises:
        UserError: there is none with that name, none at all, or several.
    """
    if named is not None:
        if named not in found:
            raise UserError(f"--{what}", f"{where} has no {what} {named}", nearest(named, found))
        return named
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(where, f"has no {what} of vectors", FIX)
    raise UserError(where, f"has several {what}s of vectors", f"Add --{what} {found[0]}, or ...")


@contextmanager
def read_as(kind: str, where: object, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Raise a library's errors for damaged tables of a kind as `UserError`."""
    try:
        yield
    except errors as error:
        reason = str(error).partition("\n")[0][:200]
        raise UserError(where, f"cannot be read as {kind} ({reason})", FIX) from error
