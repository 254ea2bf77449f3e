"""Settings for all tests: property-based tests have no time limit per example, memory that is
freed is kept, as in the commands, nothing waits for the disk, a test of the fast suite that is slow
fails, and a test whose data or weights are not here is skipped."""

import os
import re
import shutil
import signal
import tempfile
from collections.abc import Generator
from contextlib import suppress
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from extent import DATA, EXAMPLES
from paraclip.cli import keep_freed_memory

if TYPE_CHECKING:
    from paraclip.models.mini import Mini
    from paraclip.models.openclip import OpenClip

settings.register_profile(
    "paraclip", deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow]
)

if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # of a runner under nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

keep_freed_memory()
os.fsync = lambda file: None  # tests kill processes, which lose nothing that was written

LONGEST = 2.0
"""Seconds of CPU that a test of the fast suite may take."""
ALLOWANCE = 2.25
"""For a slower machine, and for what the first test imports."""
PLAIN = (int, float, str, bool, tuple)
"""Types of what a module of torch knows besides its tensors."""


def _cpu_seconds() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs a folder of the research data, or a package with weights, which its
    mark `shared_data` or `weights` names and which is not here."""
    folders = [DATA / name for mark in item.iter_markers("shared_data") for name in mark.args]
    packages = [name for mark in item.iter_markers("weights") for name in mark.args]
    lacking = [str(folder) for folder in folders if not folder.is_dir()]
    lacking += [name for name in packages if find_spec(name) is None]
    if lacking:
        pytest.skip(f"needs {' and '.join(lacking)}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test of the fast suite (`-m "not slow"`) that takes too long.

    The CPU time of this process and of those that it waited for counts, not the clock: other
    processes of the suite run beside it.
    """
    start = _cpu_seconds()
    result = yield
    took = _cpu_seconds() - start
    if "not slow" in item.config.option.markexpr and took > ALLOWANCE * LONGEST:
        pytest.fail(f"took {took:.1f} s of CPU, and {LONGEST:g} is the most: mark it slow")
    return result


@pytest.fixture
def known_options(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The options that the help of the commands names, such as `--base`."""
    from paraclip.cli import COMMANDS, main

    monkeypatch.setenv("COLUMNS", "400")
    for name in COMMANDS:
        with pytest.raises(SystemExit):
            main([name, "--help"])
    found = re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", capsys.readouterr().out)
    return {*found, "--quiet", "--version"}


@pytest.fixture(scope="session")
def mini() -> "Mini":
    """`mini` with a tiny BERT and random weights."""
    import torch

    from paraclip.models.mini import Mini
    from tiny import word_files

    torch.manual_seed(0)
    return Mini(word_files("bert"))


@pytest.fixture(scope="session")
def clip() -> "OpenClip":
    """A tiny causal CLIP, whose context is 12."""
    from tiny import tiny_clip

    return tiny_clip()


@pytest.fixture
def kept_graphs(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Graphs in ONNX are kept for all tests of a run: an export takes seconds of CPU, and is the
    same for the same module, shapes and options."""
    from paraclip.models.formats import onnx_graph
    from paraclip.models.tensors import hash_tensors

    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "graphs"
    export = onnx_graph._export_graph

    def kept(graph, example, path, *options):  # type: ignore[no-untyped-def]
        plain = [
            [(name, value) for name, value in vars(one).items() if type(value) in PLAIN]
            for one in graph.modules()
        ]
        told = repr((graph, plain, example.shape, example.dtype, path.name, options))
        tensors = {**dict(graph.named_buffers()), **dict(graph.named_parameters())}
        folder = shared / sha256(f"{told}{hash_tensors(tensors)}".encode()).hexdigest()
        if not folder.is_dir():
            export(graph, example, path, *options)
            new = Path(tempfile.mkdtemp(dir=own))
            for file in (path, *path.parent.glob(f"{path.name}.*.data")):
                shutil.copy(file, new)
            shared.mkdir(exist_ok=True)
            with suppress(OSError):  # another process was first
                new.rename(folder)
            return
        for file in folder.iterdir():
            shutil.copy(file, path.parent)

    monkeypatch.setattr(onnx_graph, "_export_graph", kept)


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs with which every command works; copied before a command runs among them."""
    import numpy as np

    from paraclip.models.checkpoint import save_model
    from tiny import draw, make_triples, tiny_clip, write_triples

    folder = tmp_path_factory.mktemp("sound")
    rows = make_triples(4).to_pylist()
    for place, row in enumerate(rows):
        draw(folder / "pictures" / f"{place}.png", "disc", "red")
        (folder / "pictures" / f"{place}.txt").write_text(f"a disc {place}")
        row |= {"image_id": str(place), "image": None}
    write_triples(folder / "triples.parquet", rows, {"generator": {}})
    (folder / "pairs.csv").write_text("caption,paraphrase_2\na disc,a red disc\na,one\n")
    whole = save_model(tiny_clip(), folder / "base.safetensors").read_bytes()
    (folder / "damaged.safetensors").write_bytes(whole[: len(whole) // 2])
    np.save(folder / "index.npy", np.eye(3, dtype=np.float32))
    return folder
