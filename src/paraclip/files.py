"""Whole files or none: every result is written beside its place and moved there at the end."""

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from paraclip.errors import UserError


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk, or a place that cannot be written, into a `UserError` that names it."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(path, "the disk is full", "Free some space and run again.") from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise UserError(path, "may not be written", "Choose another output place.") from error
        if error.errno == errno.EFBIG:
            what = "may not grow so large here"
            raise UserError(path, what, "Choose another output place.") from error
        if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST):
            what = "is no place for it: a folder or a file is in the way"
            raise UserError(path, what, "Choose another output place.") from error
        raise


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the same folder; it becomes `path` only if the block succeeds.

    Raises:
        UserError: the disk is full or the place may not be written; nothing half stays behind.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
    finally:
        with suppress(NotADirectoryError):
            temporary.unlink(missing_ok=True)


def take_lock(file: IO[bytes], name: Path, hint: str) -> None:
    """Keep other processes from an open file until it is closed, however this process ends.

    A file system that knows no locks gives none, and says nothing.

    Args:
        file: open for writing.
        name: told where another has it.
        hint: what to do then.

    Raises:
        UserError: another process has it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(name, "another run is writing here", hint) from error
    except OSError:
        return


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes that ask for it out of a folder until the block ends.

    Raises:
        UserError: another process is in it, or it may not be written.
    """
    path = folder / ".lock"
    with disk_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    with file:
        take_lock(file, folder, "Wait for it, or name another folder.")
        yield


def write_text(path: Path | str, text: str) -> None:
    """Write a whole text file or none of it."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_bounded(path: Path | str, most: int = 64 * 2**20) -> bytes:
    """The bytes of a small file.

    Raises:
        OSError: it is missing or may not be read.
        UserError: it holds more than `most` bytes.
    """
    with Path(path).open("rb") as source:
        content = source.read(most + 1)
    if len(content) > most:
        what = f"holds more than {most / 2**20:.0f} MiB"
        raise UserError(path, what, "Check that it is the file that was meant.")
    return content


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file, the first 16 hex digits."""
    with Path(path).open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()[:16]


def text_hash(text: str) -> str:
    """SHA-256 of a text, the first 16 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def cache_folder() -> Path:
    """Where things that can be made again are kept: `PARACLIP_CACHE`, else `~/.cache/paraclip`."""
    named = os.environ.get("PARACLIP_CACHE")
    root = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(named if named else f"{root}/paraclip").expanduser()
