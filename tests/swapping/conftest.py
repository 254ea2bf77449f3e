import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import onnx
import pytest
from program_caches import KINDS, small_architectures, small_base, write_cache

from paraclip.exporting import layouts
from paraclip.models.formats.onnx_graph import write_text_graph
from paraclip.models.openclip import OpenClip


@pytest.fixture(autouse=True)
def named(kept_graphs: None) -> Iterator[None]:
    """open_clip's names of the bases stand for tiny models."""
    with small_architectures():
        yield


@pytest.fixture(scope="session")
def tuned() -> dict[str, OpenClip]:
    """A tuned model of each program's base."""
    return {kind: small_base(kind, seed=1) for kind in KINDS}


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


@pytest.fixture
def large(cache: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """immich's cache with the base's weights beside its graphs, and exports likewise.

    In one file, as newer versions of torch export them for immich, and in a file each, as older
    ones did.
    """
    folder = cache("immich")
    first, second = sorted(folder.rglob("textual/model.onnx"))
    for path, one_file in ((first, True), (second, False)):
        onnx.save(
            onnx.load(path), path, save_as_external_data=True, size_threshold=1000,
            all_tensors_to_one_file=one_file, location=f"{path.name}.data",
        )  # fmt: skip
        assert len([*path.parent.iterdir()]) > 8
    monkeypatch.setattr(layouts, "write_text_graph", partial(write_text_graph, largest=1000))
    return folder
