"""Contents of the cache folder, and how it is pruned."""

import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from paraclip.files import cache_folder

PARTS = {
    "image_features": "features of the frozen image towers",
    "search": "vectors of indexes, for exact search",
    "towers": "text encoders for search, without torch",
    "results": "scores of models on benchmarks",
    "builtin": "the built-in language model",
    "scenes": "pictures of the benchmark scenes",
    "cifar": "pictures of CIFAR",
    "tuxpaint-stamps-default": "Debian's Tux Paint stamps",
}
"""Folders in the cache and their contents."""
PRUNED = ("search", "towers", "results")
"""Folders whose entries are removed as a whole by the time of their last use; image features
follow their own rules."""
DAY = 86_400.0  # seconds
IN_USE = 3_600.0  # seconds
GB = 10**9


@dataclass(frozen=True)
class Part:
    """A folder in the cache.

    Args:
        name: name of the folder.
        purpose: its contents.
        files: number of files.
        bytes: total size of the files in bytes.
    """

    name: str
    purpose: str
    files: int
    bytes: int


@dataclass(frozen=True)
class Pruned:
    """Number of files removed, their bytes, and the bytes that remain."""

    files: int
    removed: int
    kept: int


def parts(cache: Path | None = None) -> list[Part]:
    """The folders in the cache that are not empty, largest first."""
    cache = cache or cache_folder()
    nonempty = []
    for folder in entries(cache):
        if folder.is_dir():
            sizes = [state.st_size for state in states(folder)]
            purpose = PARTS.get(folder.name, "not ParaCLIP's")
            nonempty.append(Part(folder.name, purpose, len(sizes), sum(sizes)))
    return sorted(nonempty, key=lambda part: -part.bytes)


def states(entry: Path) -> Iterator[os.stat_result]:
    """State of a file, or of all regular files below a folder; without links and unreadable parts.

    Files that another process removes meanwhile are left out.
    """
    below = (Path(folder, name) for folder, _, names in os.walk(entry) for name in names)
    for path in (entry, *below):
        with suppress(OSError):
            state = path.lstat()
            if stat.S_ISREG(state.st_mode):
                yield state


def prune(days: float, most_bytes: int | None = None, cache: Path | None = None) -> Pruned:
    """Remove what was not used for a number of days.

    Args:
        days: longest time since the last use.
        most_bytes: largest size of the image features, or None for no limit.
        cache: folder; by default ParaCLIP's.
    """
    from paraclip.models.feature_cache import prune as prune_features

    cache = cache or cache_folder()
    features = prune_features(cache / "image_features", days, most_bytes)
    count, removed = features.files, features.removed
    for name in PRUNED:
        for entry in entries(cache / name):
            if unused_for(entry) > max(days * DAY, IN_USE):
                sizes = [state.st_size for state in states(entry)]
                count += len(sizes)
                removed += sum(sizes)
                remove(entry)
    return Pruned(count, removed, sum(part.bytes for part in parts(cache)))


def entries(folder: Path) -> list[Path]:
    """The entries of a folder, without links; none if it is missing or may not be read."""
    try:
        return [entry for entry in sorted(folder.iterdir()) if not entry.is_symlink()]
    except OSError:
        return []


def unused_for(entry: Path) -> float:
    """Seconds since a file, or the newest file in a folder, was written or read."""
    newest = max((max(state.st_mtime, state.st_atime) for state in states(entry)), default=0.0)
    return time.time() - newest


def remove(entry: Path) -> None:
    """Remove a file or a folder."""
    if entry.is_dir():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)
