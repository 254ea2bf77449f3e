"""safetensors reports a full disk in words only; here it becomes the error that Python has."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError

OS_ERROR = re.compile(r"os error (\d+)")


@contextmanager
def native_disk_errors() -> Iterator[None]:
    """Turn a `SafetensorError` that carries an error number of the system into an `OSError`."""
    try:
        yield
    except SafetensorError as error:
        number = OS_ERROR.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), str(error)) from error
