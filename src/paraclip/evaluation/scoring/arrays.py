"""Safe reading of arrays from untrusted .npz files."""

import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 2 * 2**30  # largest total size of the unpacked arrays, in bytes
# Exceptions other than ValueError that zipfile, zlib and numpy raise for damaged files.
DAMAGED = (
    *(KeyError, EOFError, OSError, RuntimeError, SyntaxError, tokenize.TokenError),
    *(zipfile.BadZipFile, zlib.error, MemoryError, OverflowError),
)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays by name; pickled objects are rejected.

    Raises:
        OSError: if the file is missing or not readable.
        ValueError: if the path is not a regular file, the file is damaged, or it unpacks to more
            than 2 GiB.
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
                return {name: stored[name] for name in stored}
        except DAMAGED as error:
            raise ValueError(str(error) or type(error).__name__) from error
