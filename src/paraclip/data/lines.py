"""Files and their lines, from disk or a URL, decompressed and of bounded length."""

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from paraclip.data.captions import Problems
from paraclip.errors import UserError
from paraclip.files import check_input

_LONGEST_LINE = 2**20  # bytes; a file without line feeds would fill the memory
UTF8_MARK = b"\xef\xbb\xbf"  # the byte order mark, which Excel writes
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")  # a scheme as in RFC 3986, section 3.1
_ON_DISK = ("file://", "local://")  # fsspec's names of the local file system
_SCHEMES = frozenset(
    ("http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf", "memory")
)
"""Others wrap further URLs or run programs, and reach hosts and files that the URL hides."""
DECOMPRESSORS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_MOST_EXPANSION = 100  # times the compressed size; text reaches about 10
ALWAYS_ALLOWED = 2**24  # decompressed bytes


def local_path(name: str) -> str:
    """A name without `file://` or `local://`; URLs of other schemes are unchanged."""
    return name.partition("://")[2] if name.startswith(_ON_DISK) else name


def is_remote(name: str) -> bool:
    """Whether a name is a URL rather than a path; `::` is an ordinary part of paths."""
    return not name.startswith(_ON_DISK) and _URL.match(name) is not None


def check_scheme(url: str) -> None:
    """Raise UserError for a URL whose scheme is not supported, or that chains several."""
    if url.partition("://")[0] not in _SCHEMES or "::" in url:
        what = "is a URL of a kind that is not supported"
        raise UserError(url, what, f"Name a file, or a URL of {', '.join(sorted(_SCHEMES))}.")


def file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system of a remote URL, and the path in it; raises UserError for a scheme that
    is not supported, or whose package is not installed."""
    import fsspec

    check_scheme(url)
    try:
        files, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        what = f"needs a package that is not installed ({error})"
        raise UserError(url, what, "Install it, or name a local file.") from error
    except Exception as error:  # each file system raises its own types
        raise UserError(url, f"cannot be opened ({error})", "Check the URL.") from error
    return files, str(path)


@contextmanager
def open_source(source: str) -> Iterator[IO[bytes]]:
    """A file opened for reading bytes; `.gz`, `.bz2` and `.xz` are decompressed.

    Raises UserError for a file that is missing, not a regular file, unreadable or truncated, for
    one that expands more than a hundred times, and like `file_system`.
    """
    source = local_path(source)
    try:
        if is_remote(source):
            files, path = file_system(source)
            opened = files.open(path, "rb")
        else:
            check_input(source)
            opened = Path(source).open("rb")  # noqa: SIM115
    except FileNotFoundError as error:
        raise UserError(source, "there is no such file", "Check the name.") from error
    except UserError:
        raise
    except Exception as error:  # each file system raises its own types
        raise UserError(source, f"cannot be opened ({error})", "Check name and rights.") from error
    decompress = DECOMPRESSORS.get(Path(source).suffix.lower())
    with opened as stream:
        try:
            if decompress is None:
                yield stream
            else:
                with decompress(stream) as expanded:
                    # A raw file's own `readline` reads a byte at a time.
                    yield io.BufferedReader(_Expanded(expanded, stream), 2**16)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            what = f"cannot be read to its end ({error})"
            raise UserError(source, what, "Fetch or make the file again.") from error


class _Expanded(io.RawIOBase):
    """Decompressed bytes, unless they are very many more than the compressed ones."""

    def __init__(self, expanded: IO[bytes], stored: IO[bytes]) -> None:
        self._expanded, self._stored, self._count = expanded, stored, 0

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; raises OSError if the file expands too much."""
        count: int = self._expanded.readinto(buffer)  # type: ignore[attr-defined]
        self._count += count
        if self._count > ALWAYS_ALLOWED + _MOST_EXPANSION * self._stored.tell():
            raise OSError(f"it expands to more than {_MOST_EXPANSION} times its size")
        return count


def _check_first(first: bytes, source: str, headed: bool) -> None:
    """Raise UserError for a first line in UTF-16, or with others that end by CR alone in it."""
    # Without a mark, every second byte of most texts is NUL.
    halves = (first[start::2].strip(b"\0") for start in (0, 1) if len(first) > 1)
    if first.startswith(UTF16_MARKS) or not all(halves):
        hint = "Save it as UTF-8 (iconv -f UTF-16 -t UTF-8)."
        raise UserError(source, "is in UTF-16, or no text", hint)
    # A quoted name of a column may contain CR.
    if not headed and b"\r" in first.rstrip(b"\r\n"):
        hint = r"Save it with line feeds (tr '\r' '\n')."
        raise UserError(source, "ends its lines by CR alone", hint)


def bounded_lines(
    stream: IO[bytes], source: str, problems: Problems, headed: bool = False
) -> Iterator[tuple[int, bytes]]:
    """Number (from 1) and bytes of each line; a quoted field of a CSV file may hold blank ones.

    Lines over 1 MiB are listed in `problems` and skipped, which bounds the memory; not the first
    line of a `headed` file, which contains the column names.
    """
    number = 0
    while line := stream.readline(_LONGEST_LINE):
        number += 1
        if number == 1:
            _check_first(line, source, headed)
            line = line.removeprefix(UTF8_MARK)
        if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            if headed and number == 1:
                hint = "Its first line must name the columns."
                raise UserError(f"{source}:1", "the header is longer than 1 MiB", hint)
            while (rest := stream.readline(_LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
            problems.add(f"{source}:{number}", "the line is longer than 1 MiB")
        else:
            yield number, line
