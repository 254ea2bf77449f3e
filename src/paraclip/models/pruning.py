"""Cached image features are kept for ever unless someone prunes them: by age and by size."""

import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

DAY = 86_400.0
# A run that is at work reads its shards again and again: what was just used stays.
IN_USE = 3_600.0
FOLDER = re.compile(r"[\w.-]+-[0-9a-f]{16}-(fp32|bf16)")
FILE = re.compile(r"[0-9a-f]{32}\.safetensors|rows-[0-9a-f]{16}\.npy|\..*\.part")


@dataclass(frozen=True)
class Pruned:
    """What `prune` did.

    Args:
        files: how many files it removed.
        removed: their bytes.
        kept: bytes of the features that are left.
    """

    files: int
    removed: int
    kept: int


def prune(cache: Path, days: float | None = None, most_bytes: int | None = None) -> Pruned:
    """Remove image features that were not used for long, then the longest unused until all fit.

    Only files that `FeatureCache` writes are touched, and none that was used within the hour.

    Args:
        cache: folder of image features, as given to `image_features`.
        days: most days since the last use, or None for any.
        most_bytes: most bytes of all files together, or None for any.
    """
    now = time.time()
    found = sorted(cached_files(cache), key=lambda path: path.stat().st_mtime)
    left = sum(path.stat().st_size for path in found)
    count = removed = 0
    for path in found:
        unused, size = now - path.stat().st_mtime, path.stat().st_size
        old = days is not None and unused > days * DAY
        if unused > IN_USE and (old or (most_bytes is not None and left > most_bytes)):
            path.unlink(missing_ok=True)
            count, removed, left = count + 1, removed + size, left - size
    for folder in {path.parent for path in found}:
        with suppress(OSError):  # not empty
            folder.rmdir()
    return Pruned(count, removed, left)


def cached_files(cache: Path) -> list[Path]:
    """Files of features in a cache; links and whatever else lies there are left out."""
    return [
        path
        for folder in (cache.iterdir() if cache.is_dir() else ())
        if FOLDER.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink()
        for path in folder.iterdir()
        if FILE.fullmatch(path.name) and path.is_file() and not path.is_symlink()
    ]
