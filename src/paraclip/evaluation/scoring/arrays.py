"""Arrays of an .npz file, read with no trust in it."""

import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 2 * 2**30  # bytes of all arrays unpacked
# What zipfile, zlib and numpy's header reader raise over damaged bytes, beside ValueError.
DAMAGED = (
    *(KeyError, EOFError, NotImplementedError, SyntaxError, tokenize.TokenError),
    *(zipfile.BadZipFile, zlib.error, MemoryError, OverflowError),
)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays by name; pickled objects are refused.

    Raises:
        OSError: the file is missing or may not be read.
        ValueError: it is not a regular file, is damaged, or unpacks to more than any file that
            ParaCLIP writes.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")  # opening a FIFO would wait for a writer
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
