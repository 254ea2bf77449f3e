"""Provenance of every written file: versions, machine, settings, time."""

import os
import platform
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from paraclip.errors import without_password
from paraclip.version import __version__

FOLDED = re.compile(r"([a-zA-Z][\w+.-]+):/+(.+)")
"""A URL as a path: pathlib merges double slashes."""
_QUERY = re.compile(r"\b([A-Za-z]\w+:/+[^\s?]*)\?\S+")  # a signed address has its key there
_HTTP_PATH = re.compile(r"\bhttps?:/+[^\s/]+(/\S*)")  # some services have it here
KEY = re.compile(r"(?<=/)(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{16,}(?![\w.%-])")
"""A part of a path that looks like a key: 16 or more letters and digits, and no file ending."""
_PACKAGES = (
    *("torch", "torchvision", "open_clip_torch", "transformers", "timm", "numpy", "pillow"),
    "pyarrow",
)


def package_versions() -> dict[str, str]:
    """Return the versions of ParaCLIP, Python and the libraries that affect figures."""
    versions = {"paraclip": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def _now() -> str:
    """Return the time in UTC, to the second, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _processor_name() -> str:
    """The processor's trade name from Linux, else the architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.machine()  # ARM states no model name there


def without_secrets(text: str) -> str:
    """The text without the secrets of its URLs: user, password, query, and keys in http paths."""
    text = _QUERY.sub(r"\1?...", without_password(text))
    # In these paths alone: a file on disk may have such a name.
    return _HTTP_PATH.sub(lambda found: KEY.sub("***", found[0]), text)


def unfolded(path: Path) -> str:
    """The original URL of a path (see FOLDED), or else the absolute path."""
    folded = FOLDED.fullmatch(str(path))
    if folded is None:
        return str(path.absolute())
    scheme, rest = folded.groups()
    return f"{scheme}://{'/' if scheme == 'file' else ''}{rest}"


def shown_path(path: Path) -> str:
    """A path, or a URL with all slashes, without the keys that a URL may contain."""
    return without_secrets(unfolded(path)) if FOLDED.fullmatch(str(path)) else str(path)


def publishable(value: Any) -> Any:
    """A value for a file that may be published: its texts and paths, at any depth, without secrets.

    Every option that is stored passes through this function.
    """
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, Path):
        return shown_path(value)
    if isinstance(value, Mapping):
        return {name: publishable(one) for name, one in value.items()}
    if isinstance(value, list | tuple):  # JSON has lists alone
        return [publishable(one) for one in value]
    return value


def provenance(**settings: Any) -> dict[str, Any]:
    """Return a JSON-serialisable record of how a result was made, without secrets in addresses.

    Args:
        settings: everything that determines the result: configuration, hashes, seed, generator.
    """
    program = Path(sys.argv[0])  # kept without its folder, which may name the user
    # `python -m paraclip` runs `paraclip/__main__.py`.
    own = program.name == "paraclip" or program.parts[-2:] == ("paraclip", "__main__.py")
    # Another program's options may hold a token; ParaCLIP has none that does.
    command = ["paraclip", *map(without_secrets, sys.argv[1:])] if own else [program.name]
    # No name of the host or the user.
    machine = {"processor": _processor_name(), "cores": os.cpu_count(), "system": platform.system()}
    return {
        "command": command,
        "time": _now(),
        "versions": package_versions(),
        "machine": machine,
        **publishable(settings),
    }
