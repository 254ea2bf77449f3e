"""The files of a program in its cache, and what it made from them."""

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from glob import escape, glob
from pathlib import Path
from uuid import uuid4

from paraclip.errors import UserError
from paraclip.files import check_name, disk_errors, readable, take_lock
from paraclip.systems.system import Cache

BASE, WEIGHTS = ".base", ".data"
"""Ends of the names of bases that are kept, and of weights beside a graph."""
DOWNLOAD_AGAIN = "Delete it, let the program download it again, and run this again."


@contextmanager
def cache_errors(cache: Path | str) -> Iterator[None]:
    """Raise UserError for what is wrong with the cache's folders, such as a loop of links."""
    check_name(cache)
    try:
        with readable(cache):
            yield
    except OSError as error:
        what = f"cannot be used ({error.strerror or error})"
        raise UserError(error.filename or cache, what, "Check --cache.") from error


@contextmanager
def locked_folders(folders: Iterable[Path]) -> Iterator[None]:
    """Wait until no other run changes these folders; no file of ours is needed in them.

    Not the cache as a whole, which has several names: the hub's, or the folder of a model in it.
    """
    same = {_identity(folder): folder for folder in folders}
    with ExitStack() as stack:
        for _, folder in sorted(same.items()):  # in one order, so that no two runs wait for another
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            take_lock(descriptor, folder, wait=True)
        yield


def _identity(folder: Path) -> tuple[int, int]:
    facts = folder.stat()  # device and inode, since links give a folder several paths
    return facts.st_dev, facts.st_ino


def files_of(places: Sequence[Cache], cache: Path, base: str) -> list[Path]:
    """The program's files that may hold the base's text encoder."""
    found = (path for one in places for path in _in_folders(one, cache, one.files, base))
    files = [path for path in found if path.is_file()]
    if not files:
        wanted = " or ".join(
            f"{folder.format(base=base)}/{name}"
            for place in places
            for folder in place.folders
            for name in place.files
        )
        what = f"holds no {wanted}"
        raise UserError(cache, what, "Check --cache, and let the program download the base first.")
    return files


def _in_folders(place: Cache, cache: Path, names: Iterable[str], base: str = "*") -> list[Path]:
    """Files with these names (or patterns) in the program's folders, each by one of its paths."""
    with suppress(FileNotFoundError, NotADirectoryError):
        os.listdir(cache)  # glob passes over a folder that may not be read
    folders = [folder.format(base=base) for folder in place.folders]
    found: dict[object, Path] = {}
    for pattern in (f"{folder}/{name}" for folder in folders for name in names):
        for path in find_named(cache, pattern):
            check_name(path)
            found.setdefault((_identity(path.parent), path.name), path)
    return sorted(found.values())


def find_named(folder: Path, pattern: str) -> list[Path]:
    """Files and links that match a pattern, which may lead out of the folder.

    `**/` is any number of folders, but no links, which may form loops.
    """
    start, deep, rest = pattern.rpartition("**/")
    roots = glob(os.path.join(escape(str(folder)), start))
    if deep:
        own = [root for root in roots if not (start and os.path.islink(root.rstrip("/")))]
        roots = [inside for root in own for inside, _, _ in os.walk(root)]
    found = [path for root in roots for path in glob(os.path.join(escape(root), rest))]
    return sorted({Path(os.path.normpath(path)) for path in found})


def model_folder(file: Path) -> str:
    """The folder of a model in the hub's cache, with all its commits; "" for other files."""
    return str(file).rpartition("/snapshots/")[0]


def files_of_models(
    place: Cache, cache: Path, bases: Sequence[str], files: Iterable[Path]
) -> set[Path]:
    """The program's files of the models that these files are of, in all their revisions."""
    files = {*files}
    models = {model_folder(file) for file in files}
    groups = ({*_in_folders(place, cache, place.files, base)} for base in bases or ("",))
    found = {one for group in groups if group & files for one in group if one.is_file()}
    return {one for one in found if model_folder(one) in models}


def listings(place: Cache, files: Sequence[Path]) -> set[Path]:
    return {path for file in files if place.sizes for path in find_named(file.parent, place.sizes)}


def check_writable(folders: Iterable[Path]) -> None:
    """Raise UserError for a folder that may not be written."""
    for folder in folders:
        if not os.access(folder, os.W_OK):
            hint = "Run this as the user that it belongs to."
            raise UserError(folder, "may not be written", hint)


def prepared_from(place: Cache, files: Sequence[Path]) -> list[Path]:
    """Files and folders that the program made from the files."""
    return [
        made for file in files for name in place.prepared for made in find_named(file.parent, name)
    ]


def clear(place: Cache, files: Sequence[Path], folders: Iterable[Path]) -> None:
    """Remove what the program made from the old files, and what a killed run left in folders."""
    for made in prepared_from(place, files):
        # renamed first: half a folder could pass for a whole one
        with disk_errors(made):
            made.rename(made.with_name(f".{made.name}.{uuid4().hex[:12]}.part"))
    for path in (path for folder in folders for path in folder.iterdir()):
        if _part(place).fullmatch(path.name):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def traces(place: Cache, cache: Path) -> list[Path]:
    """Kept files, the lists of sizes last, and what a killed run left."""
    names = [*place.files, *filter(None, [place.sizes])]
    kept = [path for name in names for path in _in_folders(place, cache, [f"{name}.*{BASE}"])]
    parts = [
        os.path.join(os.path.dirname(name), f".{os.path.basename(name)}.*.part")
        for name in (*names, *place.prepared)
    ]
    part = _part(place)
    return kept + [path for path in _in_folders(place, cache, parts) if part.fullmatch(path.name)]


def _part(place: Cache) -> re.Pattern[str]:
    """Names of temporary files and folders of `swap` and `undo`, and of no other program."""
    names = (*place.files, *place.prepared, os.path.basename(place.sizes))
    ours = "|".join(re.escape(name).replace(r"\*", "[^.]+") for name in names if name)
    kept = rf"(?:\.[0-9a-f]{{16}}){{2}}{re.escape(BASE)}|\.[0-9a-f]{{16}}{re.escape(WEIGHTS)}"
    return re.compile(rf"\.(?:{ours})(?:{kept})?\.[0-9a-f]{{12}}\.part")
