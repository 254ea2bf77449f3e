import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from program_caches import small_architectures, small_base, write_cache

from paraclip.models.openclip import OpenClip
from paraclip.systems import SWAPPED


@pytest.fixture(autouse=True)
def named() -> Iterator[None]:
    """open_clip's names of the bases stand for tiny models."""
    with small_architectures():
        yield


@pytest.fixture(scope="session")
def tuned() -> dict[str, OpenClip]:
    """A tuned model of each system's base."""
    return {system: small_base(system, seed=1) for system in SWAPPED}


@pytest.fixture(scope="session")
def _templates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    written: dict[str, Path] = {}

    def template(system: str) -> Path:
        if system not in written:
            folder = tmp_path_factory.mktemp(system) / "cache"
            with small_architectures():
                written[system] = write_cache(system, small_base(system), folder)
        return written[system]

    return template


@pytest.fixture
def cache(_templates: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A fresh copy of a system's cache."""

    def copy(system: str) -> Path:
        return shutil.copytree(_templates(system), tmp_path / system, symlinks=True)

    return copy
