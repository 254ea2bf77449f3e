"""What made a result: versions, machine, settings, time. Goes into every file that is written."""

import os
import platform
import re
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import paraclip

USER = re.compile(r"\b(\w+://)\S*@")  # to the last @, since a password may hold any letter
QUERY = re.compile(r"\b(\w+://[^\s?]*)\?\S+")
PACKAGES = (
    *("torch", "torchvision", "open_clip_torch", "transformers", "timm", "numpy", "pillow"),
    *("pyarrow", "xllamacpp"),
)


def package_versions() -> dict[str, str]:
    """Versions of ParaCLIP, Python and the libraries that figures depend on."""
    found = {"paraclip": paraclip.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def now() -> str:
    """The time in UTC, to the second, as ISO 8601 has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def machine() -> dict[str, Any]:
    """Processor, cores and operating system; no host or user name."""
    return {"processor": processor_name(), "cores": os.cpu_count(), "system": platform.system()}


def processor_name() -> str:
    """The processor's trade name where Linux tells it, else the architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.machine()


def program() -> str:
    """What was called: paraclip, or a script."""
    name = os.path.basename(sys.argv[0])
    return name if name.endswith(".py") and name != "__main__.py" else "paraclip"


def without_secrets(text: str) -> str:
    """A text whose addresses have neither user and password nor a query, which may hold a key."""
    return QUERY.sub(r"\1?...", USER.sub(r"\1", text))


def provenance(**settings: Any) -> dict[str, Any]:
    """A JSON-able record of how a result was made.

    Args:
        settings: whatever decides the result: configuration, input hashes, seed, generator.
    """
    return {
        "command": [program(), *map(without_secrets, sys.argv[1:])],
        "time": now(),
        "versions": package_versions(),
        "machine": machine(),
        **settings,
    }
