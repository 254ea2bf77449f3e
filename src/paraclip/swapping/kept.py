"""The base's file, kept beside the one that took its place, and put back.

It is FILE.BASE.WRITTEN.base, with 16 digits of the SHA-256 of the base and of what took its place,
so the folder alone says what is swapped, and nothing that the program fetched since is touched.
Weights beside a graph (`weight_files`) are there before the graph that names them, and are deleted
after it; the base's keep their names and stay.
"""

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from glob import escape
from mmap import ACCESS_READ, mmap
from pathlib import Path

from paraclip.compute.onnx_session import weight_files
from paraclip.errors import UserError
from paraclip.files import atomic_path, file_hash
from paraclip.swapping.cache import BASE, WEIGHTS, find_named

_KEPT = re.compile(rf"(.+?)\.([0-9a-f]{{16}})\.([0-9a-f]{{16}}){re.escape(BASE)}", re.DOTALL)


@dataclass(frozen=True)
class Kept:
    """A base that is kept, with the hashes in its name."""

    file: Path
    base: str
    written: str

    @property
    def path(self) -> Path:
        return self.file.with_name(f"{self.file.name}.{self.base}.{self.written}{BASE}")


def replace_file(change: Kept, new: Path) -> None:
    """Replace a file by one rename, and keep the old one beside it.

    Of a link, the link is kept and not what it leads to. Raises UserError if the disk is full.
    """
    for old in outdated(change):
        old.path.rename(outdated_path(old))
    if _hash(change.path) != change.base:  # else an earlier run has kept it
        with atomic_path(change.path) as temporary:
            _link(change.file, temporary)
    weights = {change.file.with_name(path.name): path for path in weight_files(new)}
    for path, source in {**weights, change.file: new}.items():  # the graph last
        with atomic_path(path) as temporary:
            shutil.copyfile(source, temporary)
            _set_owner(temporary, change.file.stat())
            shutil.copymode(change.file, temporary)
    for old in kept_of(change.file):
        if old != change:  # the same base, kept for an earlier model
            old.path.unlink()
    _drop_weights(change.file)


def restore_file(base: Kept) -> None:
    """Put a base back in its place; it stays kept as well."""
    if _hash(base.file) != base.base:
        with atomic_path(base.file) as temporary:
            _link(base.path, temporary)
    _drop_weights(base.file)


def _drop_weights(file: Path) -> None:
    """Delete weights that no graph here names: neither the file nor one that is kept of it."""
    beside = find_named(file.parent, f"{escape(file.name)}*")
    graphs = [path for path in beside if path.is_file() and path.suffix != WEIGHTS]
    for path in weight_files(file):
        if not any(_names(graph, path.name) for graph in graphs):
            path.unlink()


def _names(graph: Path, weights: str) -> bool:
    """Whether a graph, which may be large, names a file of weights."""
    with graph.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:  # nothing to map
            return False
        with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            return content.find(weights.encode()) >= 0


def _link(file: Path, path: Path) -> None:
    try:
        os.link(file, path, follow_symlinks=False)
    except OSError:  # a file system without hard links
        shutil.copy2(file, path, follow_symlinks=False)
        _set_owner(path, file.lstat())


def _set_owner(path: Path, facts: os.stat_result) -> None:
    """Give a file the owner and group of another, so that the program can still read it."""
    for owner in (-1, facts.st_uid):  # first the group alone: only root may give a file away
        with suppress(OSError):
            os.chown(path, owner, facts.st_gid, follow_symlinks=False)


def is_in_place(one: Kept) -> bool:
    """Whether a file is what took the base's place."""
    return _hash(one.file) == one.written


def _hash(path: Path) -> str:
    return file_hash(path) if path.is_file() else ""


def read_kept(paths: Iterable[Path]) -> list[Kept]:
    kept = []
    for path in paths:
        if match := _KEPT.fullmatch(path.name):
            name, base, written = match.groups()
            kept.append(Kept(path.with_name(name), base, written))
    return kept


def kept_of(file: Path) -> list[Kept]:
    found = read_kept(find_named(file.parent, f"{escape(file.name)}.*{BASE}"))
    return [one for one in found if one.file == file]


def outdated(change: Kept) -> list[Kept]:
    """Other bases that are kept of a file: the program has replaced what took their place."""
    return [old for old in kept_of(change.file) if old.base != change.base]


def outdated_path(old: Kept) -> Path:
    """Where no undo finds it."""
    return old.file.with_name(f"{old.file.name}.{old.base}.old")


def base_of(file: Path, kept: Sequence[Kept]) -> Kept | None:
    """The base of a file as it is now; None if it has changed since the swap."""
    present = _hash(file)  # "" if it is gone
    fitting = [one for one in kept if one.file == file and present in ("", one.base, one.written)]
    if len({one.base for one in fitting}) > 1:
        names = " and ".join(one.path.name for one in fitting)
        hint = "Delete all but the base's, and run this again."
        raise UserError(file, f"has several kept files: {names}", hint)
    if not fitting:
        return None
    base = fitting[0]
    if base.base not in (present, _hash(base.path)):
        what = "is gone or has not the SHA-256 of its name"
        hint = (
            f"Delete it, and {file}, too, if it is the tuned one: the program downloads the base."
        )
        raise UserError(base.path, what, hint)
    return base
