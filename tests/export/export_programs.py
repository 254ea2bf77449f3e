"""The programs that run the loaders of other systems."""

import sys
from pathlib import Path

import pytest

from benchmarks.export.loaders import environments

LOADERS = Path(environments.__file__).parent


def program(environment: str) -> list[str]:
    """The program that runs an environment's loaders; skips without the environment."""
    if environment == "here":
        return [sys.executable]
    if environment == "transformers_js":
        found = "node" if environments.node_modules() else None
    else:
        path = environments.program(environment)
        found = str(path) if path else None
    if found is None:
        pytest.skip(f"no environment {environment}: make targets creates it")
    return [found]


def node() -> str:
    """The folder that Node's modules are in."""
    return str(environments.node_modules() or "")
