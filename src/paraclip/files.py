"""Files are written completely or not at all; inputs are bounded and checked."""

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO
from uuid import uuid4

from paraclip.errors import UserError, printable

OTHER_PATH = "Choose another output path."
TOO_LONG = ("has a name that is too long", "Choose a shorter name.")
DISK_ERRORS = (
    ((errno.ENOSPC, errno.EDQUOT), "the disk is full", "Free some space and run again."),
    ((errno.EACCES, errno.EROFS, errno.EPERM, errno.EBUSY), "may not be written", OTHER_PATH),
    ((errno.EFBIG,), "exceeds the largest allowed file size", OTHER_PATH),
    ((errno.ENAMETOOLONG,), *TOO_LONG),
    (
        (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY),
        "cannot be written: a folder or a file is in the way",
        OTHER_PATH,
    ),
    # A missing parent is created first, so its file system (such as /proc) does not allow it.
    (
        (errno.ENOENT, errno.ELOOP, errno.ENOTSUP),
        "cannot be written: no files can be created there",
        OTHER_PATH,
    ),
)
"""Error numbers of the operating system, with a message and a hint."""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Raise `UserError` for a full disk or a path that cannot be written."""
    try:
        yield
    except OSError as error:
        for numbers, what, hint in DISK_ERRORS:
            if error.errno in numbers:
                with suppress(UserError):  # no home folder, so this is not the cache
                    if hint == OTHER_PATH and path.is_relative_to(cache_folder()):
                        hint = "Set PARACLIP_CACHE to another folder."
                raise UserError(path, what, hint) from error
        raise


@contextmanager
def readable(path: Path | str) -> Iterator[None]:
    """Raise `UserError` if a file or folder, or one below it, may not be read, or not be named."""
    try:
        yield
    except PermissionError as error:
        raise UserError(error.filename or path, "may not be read", "Check its rights.") from error
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise UserError(error.filename or path, *TOO_LONG) from error


def check_readable(path: Path | str) -> None:
    """Raise `UserError` for a file that may not be read, which safetensors reports as missing."""
    with readable(path):
        Path(path).open("rb").close()


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the same folder, renamed to `path` if the block succeeds.

    Raises:
        UserError: the disk is full, or the path cannot be written, is a pipe or a device, or does
            not end in a name, such as `..`. No incomplete file remains.
    """
    path = Path(path)
    check_output(path)
    # Not the process id: two containers on one disk may share it.
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:12]}.part")
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            # Without it, a crash of the machine may leave the new name on an empty file.
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)  # it has its final name after success


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder, which takes the place of the one at `path` if the block succeeds.

    Raises UserError if it cannot be written, such as for a full disk. No incomplete one remains.
    """
    # Beside it, because a rename cannot cross disks.
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:12]}.part")
    old = temporary.with_suffix(".old")
    try:
        with disk_errors(path):
            temporary.mkdir(parents=True)
            yield temporary
            if path.exists():  # a rename replaces no folder with files in it
                path.rename(old)
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if old.is_symlink():  # which `rmtree` refuses
        old.unlink()
    shutil.rmtree(old, ignore_errors=True)


def check_name(path: Path | str) -> None:
    """Raise UserError for a path that is not UTF-8 or contains a NUL."""
    name = str(path)
    if "\0" in name:
        raise UserError(printable(name), "contains a NUL character", "Check the name.")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(printable(name), "is a name that is not UTF-8", "Rename it.") from None


def check_input(path: Path | str, hint: str = "Write its content to a file and name that.") -> None:
    """Refuse pipes, which may block for ever, and devices such as /dev/zero, which never end.

    Raises UserError with the hint for a pipe, a socket or a device, and for a name that is too
    long; the reader reports missing files.
    """
    check_name(path)
    try:
        mode = os.stat(path).st_mode  # of a link's target, as of /dev/stdin
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UserError(path, *TOO_LONG) from error
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UserError(path, "is a pipe, a socket or a device, not a file", hint)


def check_file(path: Path | str, hint: str = "Check the path.") -> None:
    """Raise UserError, with the hint, for a path that is not a file; see `check_input`."""
    check_input(path)
    if not (path := Path(path)).is_file():
        raise UserError(path, "is a folder" if path.is_dir() else "there is no such file", hint)


def check_output(path: Path) -> None:
    """Refuse pipes, devices, and folders that cannot be replaced, such as `.`, `..` and `/`."""
    check_input(path, OTHER_PATH)
    if path.name in ("", ".."):  # `Path.name` of `.` and `/` is empty
        raise UserError(path, "does not end in the name of a file or a folder", OTHER_PATH)


def check_room(folder: Path, size: float = 0) -> None:
    """Raise UserError, before long work, if a folder of outputs, which may not exist yet, could not
    be written, or its disk lacks `size` bytes that are certainly needed; nothing is left there."""
    check_input(folder, OTHER_PATH)
    # A link to nothing is in the way as well, and `os.path.exists` denies it.
    # None is found in a working folder that may not be entered.
    there = next(filter(os.path.lexists, (folder, *folder.parents)), folder)
    # A file without a name: rights are tried, and nothing is left.
    with disk_errors(folder), TemporaryFile(dir=there):
        disk = shutil.disk_usage(there)
    if disk.total and size > disk.free:  # some file systems of networks state no size
        needed, free = map(_shown_size, (size, disk.free))
        what = f"needs {needed}, and its disk has {free} free"
        raise UserError(folder, what, "Free some space, or choose another folder.")


def _shown_size(count: float) -> str:
    """A number of bytes, in MB from 0.1 on."""
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count:,.0f} bytes"


def refuse_overwriting(output: Path | str, inputs: Iterable[Path | str]) -> None:
    """Refuse an output path that is one of the inputs; URLs and missing files are ignored."""
    if not os.path.exists(output):
        return
    for path in inputs:
        with suppress(OSError, ValueError):
            if os.path.samefile(output, path):
                what = f"is the input {path}, which would be overwritten"
                raise UserError(output, what, OTHER_PATH)


def take_lock(file: IO[bytes] | int, name: Path, hint: str = "", wait: bool = False) -> None:
    """Lock an open file, or the folder of a descriptor, until it is closed or the process ends.

    This has no effect on file systems without locks. If another process holds the lock, it waits,
    or raises UserError with the path `name` and the hint.
    """
    try:
        # Without waiting, to be able to say what is waited for.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        if not wait:
            raise UserError(name, "another run is writing here", hint) from error
        print(f"paraclip: waiting for another run, which is writing {name}", file=sys.stderr)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:  # some file systems of networks have no locks
        return


@contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Lock a folder, created if needed, until the block ends.

    If it is locked, it waits, or raises UserError.
    """
    check_name(folder)
    # It stays: if it were deleted, two runs could hold locks on two files of this name.
    path = folder / ".lock"
    with disk_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")  # created, but never truncated
    with file:
        take_lock(file, folder, "Wait for it, or name another folder.", wait)
        yield


def write_text(path: Path | str, text: str) -> None:
    """Write a text file as UTF-8; raises the errors of `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_bounded(path: Path | str, most: int = 64 * 2**20) -> bytes:
    """Return the bytes of a small file; raises OSError if it cannot be read, and UserError if it is
    larger than `most` bytes or not a regular file."""
    check_input(path)
    with Path(path).open("rb") as source:
        size = min(os.fstat(source.fileno()).st_size, most)  # as much is allocated as is asked for
        content = source.read(size + 1)  # one byte more shows a file that is too large
        if size < len(content):  # it grows, or tells no size
            content += source.read(most - size)
    if len(content) > most:
        what = f"holds more than {most / 2**20:.0f} MiB"
        raise UserError(path, what, "Check that it is the right file.")
    return content


@contextmanager
def read_errors(path: Path | str, hint: str) -> Iterator[None]:
    """Raise `UserError` with the hint if a file is missing, cannot be read, or is not UTF-8."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(path, "there is no such file", hint) from error
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", hint) from error
    except UnicodeDecodeError as error:
        raise UserError(path, "is not UTF-8", hint) from error


def read_lines(path: Path | str, hint: str, most: int = 64 * 2**20) -> list[str]:
    """Return the lines of a text file; raises UserError, with the hint for what is no such file."""
    with read_errors(path, hint):
        text = read_bounded(path, most).decode("utf-8-sig")
    if "\0" in text:
        raise UserError(path, "contains NUL characters: it is in UTF-16, or no text", hint)
    return text_lines(text)


def text_lines(text: str) -> list[str]:
    """Return the lines of a text; unlike `str.splitlines`, no other separator ends a line."""
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")


def file_hash(path: Path | str) -> str:
    """Return 16 hex digits of a file's SHA-256; raises the errors of `read_bounded`."""
    check_input(path)
    with Path(path).open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()[:16]


def text_hash(text: str) -> str:
    """Return the first 16 hex digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def cache_folder() -> Path:
    """Folder of all caches: `PARACLIP_CACHE`, by default `~/.cache/paraclip`; raises UserError if
    it is in the home folder of an unknown user."""
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"  # XDG Base Directory Specification
    folder = os.environ.get("PARACLIP_CACHE") or f"{root}/paraclip"
    try:
        return Path(folder).expanduser()
    except RuntimeError as error:
        what = "is in the home folder of an unknown user"
        raise UserError(folder, what, "Set PARACLIP_CACHE to another folder.") from error
