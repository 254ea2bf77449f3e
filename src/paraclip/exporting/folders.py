"""Output folders are written completely or not at all, and never replaced without `force`."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from paraclip.errors import UserError
from paraclip.files import OTHER_PATH, check_output, disk_errors

MODE = 0o755


@contextmanager
def new_folder(path: Path, force: bool = False) -> Iterator[Path]:
    """Yield a temporary folder next to `path`, renamed to `path` if the block succeeds.

    Args:
        path: the folder; missing parents are created.
        force: whether to replace an existing folder, which is kept until the new one is complete.

    Raises:
        UserError: the path exists and `force` is False, it is a file or does not end in a name,
            or the disk is full.
    """
    check_free(path, force)
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:12]}.part")
    try:
        with disk_errors(path):
            temporary.mkdir(parents=True, mode=MODE)
            yield temporary
            replace_folder(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_free(path: Path, force: bool = False) -> None:
    """Raise UserError if a folder may not be written at a path."""
    check_output(path)
    with disk_errors(path):
        if path.is_file():
            raise UserError(path, "is a file, and a folder is to be written", OTHER_PATH)
        if path.exists() and not force and any(path.iterdir()):
            raise UserError(path, "exists already", "Name another folder, or add --force.")


def replace_folder(new: Path, path: Path) -> None:
    """Move a folder to a path, replacing an existing folder there."""
    if not path.exists():
        new.rename(path)
        return
    old = path.with_name(f".{path.name}.{uuid4().hex[:12]}.old")
    path.rename(old)
    new.rename(path)
    if old.is_symlink():
        old.unlink()
    shutil.rmtree(old, ignore_errors=True)


def check_free_file(path: Path, force: bool = False) -> None:
    """Raise UserError if a file exists and may not be replaced."""
    check_output(path)
    with disk_errors(path):
        if path.exists() and not force:
            raise UserError(path, "exists already", "Name another file, or add --force.")
