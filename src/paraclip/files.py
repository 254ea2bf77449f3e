"""Whole files or none: every result is written beside its place and moved there at the end."""

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

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
        if error.errno == errno.ENAMETOOLONG:
            raise UserError(path, "is too long a name", "Choose a shorter one.") from error
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
    check_name(path)
    # Two containers on one disk may have the same process id, so that names nothing.
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:12]}.part")
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_name(path: Path | str) -> None:
    """Refuse a path that cannot be written into a table or a report.

    Raises:
        UserError: its name is not UTF-8, or holds a NUL.
    """
    name = str(path)
    if "\0" in name:
        raise UserError(name.replace("\0", "\\0"), "holds a NUL character", "Check the name.")
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = name.encode("utf-8", "backslashreplace").decode()
        raise UserError(shown, "is a name that is not UTF-8", "Rename it.") from None


def check_input(path: Path | str) -> None:
    """Refuse an input that is there but that no reader should open.

    A pipe blocks until somebody writes into it, and a device such as /dev/zero never ends.

    Args:
        path: on this machine. That nothing is there is for the reader to report.

    Raises:
        UserError: the name is not UTF-8, or it is a pipe, a socket or a device.
    """
    check_name(path)
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        what = "is a pipe, a socket or a device, not a file"
        raise UserError(path, what, "Write its content to a file and name that.")


def refuse_overwriting(output: Path | str, inputs: Iterable[Path | str]) -> None:
    """Refuse an output path that is one of the inputs, by whatever name.

    Args:
        output: where something will be written.
        inputs: what is read; those that are not files on this machine are passed over.

    Raises:
        UserError: it is the same file, also by a symbolic or a hard link.
    """
    for path in inputs:
        with suppress(OSError, ValueError):
            if os.path.samefile(output, path):
                what = f"is the input {path}, which would be overwritten"
                raise UserError(output, what, "Choose another output place.")


def take_lock(file: IO[bytes], name: Path, hint: str) -> None:
    """Keep other processes from an open file until it is closed, however this process ends.

    A file system that knows no locks gives none, and says nothing.

    Args:
        file: open for writing.
        name: the place that the error names.
        hint: what to do if another process has it.

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
        UserError: it holds more than `most` bytes, or is no regular file.
    """
    check_input(path)
    with Path(path).open("rb") as source:
        content = source.read(most + 1)
    if len(content) > most:
        what = f"holds more than {most / 2**20:.0f} MiB"
        raise UserError(path, what, "Check that it is the file that was meant.")
    return content


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file, the first 16 hex digits.

    Raises:
        OSError: it is missing or may not be read.
        UserError: it is no regular file.
    """
    check_input(path)
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
