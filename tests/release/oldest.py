"""Prints the oldest versions that pyproject.toml allows, as constraints of pip: `make oldest`."""

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def oldest_versions(requirements: Iterable[str]) -> list[str]:
    """The requirements with each lower bound as the only version."""
    return [re.sub(r">=([\w.]+).*", r"==\1", line) for line in requirements]


if __name__ == "__main__":
    pins = oldest_versions([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["search"]])
    print("\n".join(pin for pin in pins if pin.split("==")[0] not in sys.argv[1:]))
