"""Types of NumPy arrays that several packages use, and safe reading of untrusted files."""

import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paraclip.errors import UserError

Float = NDArray[np.floating]
"""Floating-point numbers of any precision."""
Integers = NDArray[np.int64]
"""Indices and counts."""

LARGEST = 2 * 2**30  # largest total size of the unpacked arrays, in bytes
# Exceptions that numpy raises for a damaged header.
_BAD_HEADER = (
    *(ValueError, TypeError, EOFError, OSError, RuntimeError, SyntaxError, tokenize.TokenError),
    *(MemoryError, OverflowError),
)
# These and the exceptions of zipfile and zlib.
_DAMAGED = (*_BAD_HEADER, KeyError, zipfile.BadZipFile, zlib.error)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays by name; pickled objects are rejected.

    Raises OSError for a file that is missing or not readable, and ValueError for one that is
    damaged, not a regular file, or unpacks to more than 2 GiB.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")  # opening a FIFO would block
    with path.open("rb") as stream:
        try:
            with zipfile.ZipFile(stream) as packed:
                if sum(part.file_size for part in packed.infolist()) > LARGEST:
                    raise ValueError("it unpacks to more than 2 GiB")
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored}
            for name, value in arrays.items():
                if not isinstance(value, np.ndarray):  # numpy returns other members as bytes
                    raise ValueError(f"its member {name} is not an array")
            return arrays
        except _DAMAGED as error:
            raise ValueError(str(error) or type(error).__name__) from error


def map_matrix(path: Path, hint: str) -> Float:
    """Map a matrix of floats from a .npy file, nothing unpickled; raises UserError for another
    file."""
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except _BAD_HEADER as error:
        reason = str(error) or type(error).__name__
        raise UserError(path, f"is not a readable .npy file ({reason})", hint) from error
    if not isinstance(values, np.ndarray):
        values.close()
        raise UserError(path, "is an .npz file of several arrays", hint)
    if values.ndim != 2 or values.dtype.kind != "f":
        what = f"is not a matrix of floats ({values.dtype}, shape {list(values.shape)})"
        raise UserError(path, what, hint)
    return values
