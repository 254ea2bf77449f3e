"""The common form of an index, and checks that all readers share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paraclip.errors import UserError

Vectors = NDArray[np.float32]
PATH_COLUMNS = (
    *("image_path", "filepath", "file_path", "path", "file", "image", "url", "originalPath"),
    *("image_id", "id"),
)
"""Names of columns that may contain a picture's path, most likely first."""
FIX = "Read another index, or remove the row."


@dataclass(frozen=True)
class Index:
    """Vectors of pictures.

    Args:
        vectors: unit vectors, float32 [rows, width].
        paths: path of each row's picture; None if the store contains none.
        kind: kind of the store.
    """

    vectors: Vectors
    paths: list[str] | None
    kind: str


def made_index(
    vectors: NDArray[np.floating], paths: Sequence[str] | None, kind: str, where: object
) -> Index:
    """Make an index with unit vectors.

    Raises:
        UserError: there are no rows, a row is zero or not finite, or the number of paths differs.
    """
    if vectors.ndim != 2 or not len(vectors):
        raise UserError(where, f"holds no rows of vectors (shape {list(vectors.shape)})", FIX)
    rows = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(rows, axis=1)
    broken = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if len(broken):
        row = f"{where}: row {int(broken[0]) + 1}"
        raise UserError(row, "its vector is zero or not finite", FIX)
    if paths is not None and len(paths) != len(rows):
        what = f"{len(rows)} vectors have {len(paths)} paths"
        raise UserError(where, what, "Give one path for each row.")
    return Index(rows / lengths[:, None], None if paths is None else list(paths), kind)


def gathered(
    batches: Iterator[tuple[list[str], Vectors]], most: int, where: object
) -> Index | None:
    """Paths and vectors of all batches; None without batches, which the caller reports.

    Raises:
        UserError: there are more than `most` rows, or rows of different widths.
    """
    paths: list[str] = []
    parts: list[Vectors] = []
    for names, vectors in batches:
        paths += names
        parts.append(vectors)
        check_count(len(paths), most, where)
        check_width(vectors, parts[0], where)
    return made_index(np.concatenate(parts), paths, "", where) if parts else None


def check_count(rows: int, most: int, where: object) -> None:
    """Raise UserError if there are more rows than allowed."""
    if rows > most:
        what = f"holds more than {most:,} rows"
        raise UserError(where, what, "Raise --most-rows if there is memory for them.")


def check_width(vectors: Vectors, first: Vectors, where: object) -> None:
    """Raise UserError if the rows of two parts of an index have different widths."""
    if vectors.shape[1] != first.shape[1]:
        what = f"has vectors of {first.shape[1]} and of {vectors.shape[1]} numbers"
        raise UserError(where, what, "Name the files, the table or the column of one model.")


def stacked(rows: Sequence[Sequence[float]], where: object) -> Vectors:
    """Rows of equal width as one array; raises UserError if their widths differ."""
    try:
        return np.asarray(rows, np.float32)
    except ValueError as error:
        raise UserError(where, "has rows of different widths", FIX) from error
