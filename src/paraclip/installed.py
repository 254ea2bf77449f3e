"""What `paraclip --version` prints: versions, extras that lack a package, and the cache."""

import os
import platform
import re
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from paraclip.files import cache_folder
from paraclip.version import __version__

FOR_DEVELOPERS = ("all", "benchmarks", "crosscheck", "dev", "docs", "recipes")
"""Extras that no user needs, or that name others."""
_EXTRA = re.compile(r"extra == ['\"]([\w-]+)")
_NAME = re.compile(r"[\w.-]+")  # before the versions, as in `onnx>=1.17`


def version_lines() -> list[str]:
    """One line of versions, one for each extra of which a package is missing, one for the cache."""
    versions = [f"{name} {metadata.version(name)}" for name in ("torch", "open_clip_torch")]
    first = ", ".join([f"paraclip {__version__}", f"Python {platform.python_version()}", *versions])
    missing = [
        f"{extra}: {', '.join(names)} missing: pip install 'paraclip[{extra}]'"
        for extra, names in sorted(_missing().items())
    ]
    folder = cache_folder()
    return [first, *missing, f"cache: {folder}, {_size(folder) / 1e6:,.1f} MB"]


def _missing() -> dict[str, list[str]]:
    """The packages that are not installed, by extra."""
    found: dict[str, list[str]] = {}
    for line in metadata.requires("paraclip") or []:
        name = _NAME.match(line)
        extras = set(_EXTRA.findall(line)) - set(FOR_DEVELOPERS)
        if name and extras and not _is_installed(name[0]):
            for extra in extras:
                found.setdefault(extra, []).append(name[0])
    return found


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _size(folder: Path) -> int:
    """Bytes of all files below a folder; links are not followed."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # another process may have removed it meanwhile
                total += os.lstat(os.path.join(parent, name)).st_size
    return total
