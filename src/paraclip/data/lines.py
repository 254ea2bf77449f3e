"""Files and their lines, from disk or an fsspec URL, decompressed and of bounded length."""

import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import fsspec

from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.files import check_input

LONGEST_LINE = 2**20
UTF8_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@contextmanager
def open_source(source: str) -> Iterator[IO[bytes]]:
    """A file opened for reading bytes; `.gz`, `.bz2` and `.xz` are decompressed.

    Raises UserError for a file that is missing, not a regular file, unreadable or truncated, and
    for a URL whose package is not installed.
    """
    if not is_remote(source):
        check_input(source)
    try:
        opened = fsspec.open(source, "rb", compression="infer").open()
    except FileNotFoundError as error:
        raise UserError(source, "there is no such file", "Check the name.") from error
    except ImportError as error:
        what = f"needs a package that is not installed ({error})"
        raise UserError(source, what, "Install it, or name a local file.") from error
    except (ValueError, OSError) as error:
        raise UserError(source, f"cannot be opened ({error})", "Check name and rights.") from error
    with opened as stream:
        try:
            yield stream
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            what = f"cannot be read to its end ({error})"
            raise UserError(source, what, "Fetch or make the file again.") from error


def is_remote(source: str) -> bool:
    """Whether the source is an fsspec URL rather than a path."""
    return "://" in source or "::" in source


def bounded_lines(
    stream: IO[bytes], source: str, problems: Problems, headed: bool = False
) -> Iterator[tuple[int, bytes]]:
    """Number (from 1) and bytes of each line; a quoted field of a CSV file may hold blank ones.

    Lines over 1 MiB are skipped, which bounds the memory.

    Args:
        stream: the file.
        source: its name, for messages.
        problems: lists overlong lines.
        headed: the first line contains the column names, so it cannot be skipped.
    """
    number = 0
    while line := stream.readline(LONGEST_LINE):
        number += 1
        if number == 1:
            line = without_mark(line, source)
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            if headed and number == 1:
                hint = "Its first line must name the columns."
                raise UserError(f"{source}:1", "the header is longer than 1 MiB", hint)
            while (rest := stream.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
            problems.add(f"{source}:{number}", "the line is longer than 1 MiB")
        else:
            yield number, line


def without_mark(line: bytes, source: str) -> bytes:
    """The first line without its byte order mark."""
    if line.startswith(UTF16_MARKS):
        raise UserError(source, "is in UTF-16", "Save it as UTF-8 (iconv -f UTF-16 -t UTF-8).")
    return line.removeprefix(UTF8_MARK)


def folder_of(source: str) -> str:
    """The folder of a path or URL."""
    return source.rpartition("/")[0] if is_remote(source) else str(Path(source).parent)
