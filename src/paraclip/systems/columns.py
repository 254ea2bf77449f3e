"""Columns and matrices of vectors, as rows of an index."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from paraclip.arrays import Float
from paraclip.errors import UserError, nearest
from paraclip.systems.system import FIX, PATH_COLUMNS, ROWS_AT_ONCE, IndexAddress, Parts

PARQUET_ERRORS = (pa.ArrowException, OSError, KeyError)


def choose_one(found: list[str], place: IndexAddress, what: Literal["table", "column"]) -> str:
    """The name given by the user, or the only one; raises UserError if it is not clear."""
    named = place.table if what == "table" else place.column
    if named is not None:
        if named not in found:
            where = f"{place.where} has no {what} {named}"
            raise UserError(f"--{what}", where, nearest(named, found))
        return named
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(place.where, f"has no {what} of vectors", FIX)
    hint = f"Save those of {found[0]}, or ..., as .npy or .parquet, and name that file."
    if place.selectable:
        hint = f"Add --{what} {found[0]}, or ..."
    raise UserError(place.where, f"has several {what}s of vectors", hint)


@contextmanager
def read_as(kind: str, where: object, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Raise a library's errors for damaged files of a kind as `UserError`."""
    try:
        yield
    except errors as error:
        reason = str(error).partition("\n")[0][:200]
        raise UserError(where, f"cannot be read as {kind} ({reason})", FIX) from error


def rows_of(vectors: Float, names: Sequence[str | None] | None) -> Parts:
    """The parts of a mapped matrix."""
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        yield names and names[part], np.asarray(vectors[part], np.float32)


def columns_of(schema: pa.Schema, place: IndexAddress) -> tuple[str, str | None]:
    """The columns of the vectors and of the paths, if there is one."""
    vectors = [field.name for field in schema if _is_vector(field.type)]
    # A picture itself, as bytes or in a struct, is not its path.
    tests = (pa.types.is_nested, pa.types.is_binary, pa.types.is_large_binary)
    named = {field.name for field in schema if not any(test(field.type) for test in tests)}
    path = next((name for name in PATH_COLUMNS if name in named), None)
    return choose_one(vectors, place, "column"), path


def arrow_parts(
    batches: Iterable[pa.RecordBatch], column: str, path: str | None, place: IndexAddress
) -> Parts:
    for batch in batches:
        if batch.num_rows:
            names = batch.column(path).to_pylist() if path else None
            yield names, _vectors_of_column(batch.column(column), place.where)


def _is_vector(kind: Any) -> bool:
    """Whether an Arrow type is a list of floats."""
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in lists) and pa.types.is_floating(kind.value_type)


def _vectors_of_column(column: Any, where: object) -> Float:
    """A column of lists as [rows, width]; raises UserError for missing rows or unequal widths."""
    if column.null_count:
        raise UserError(where, "has rows without a vector", FIX)
    values = column.flatten().to_numpy(zero_copy_only=False)
    width, rest = divmod(len(values), len(column))
    fixed = pa.types.is_fixed_size_list(column.type)
    if rest or not width or not (fixed or (np.diff(column.offsets.to_numpy()) == width).all()):
        raise UserError(where, "has vectors of different widths", FIX)
    return np.asarray(values, np.float32).reshape(len(column), width)
