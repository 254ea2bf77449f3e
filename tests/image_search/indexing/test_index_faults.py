"""The state after an index run is killed, interrupted, or has no disk space."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forked import Command
from paraclip.data.captions import Problems
from paraclip.errors import UserError
from paraclip.image_search import build
from paraclip.image_search.build import IndexSummary, build_index
from paraclip.image_search.snapshot import open_pool
from paraclip.models.mini import SentenceModel
from paraclip.output_folder import OutputFolder
from paraclip.store import Store
from postgres_server import wait_until
from tiny import draw, largest_file, word_files

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("interruptible")]

COUNT = 40


def index(source: Path, address: str, model: str, **options: Any) -> IndexSummary:
    return build_index(str(source), address, model, Problems(1.0), **options)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(COUNT):
        size = (40 + number, 30)
        draw(folder / f"{number:02}.png", "disc" if number % 2 else "square", "red", size)
    return folder


@contextmanager
def slow_batches() -> Iterator[None]:
    """A run writes after every batch of two pictures, embeds slowly, and hangs in the middle."""
    build.ROWS_AT_ONCE, build.IMAGES_AT_ONCE = 2, 2
    embed, batches = build.pixel_vectors, count()

    def slowly(*arguments: Any) -> Any:
        time.sleep(0.05 if next(batches) < 10 else 600)
        return embed(*arguments)

    build.pixel_vectors = slowly
    yield


@pytest.mark.parametrize("rebuild", [False, True])
def test_a_killed_run_resumes_and_a_rebuild_leaves_the_index_until_its_end(
    many: Path, address: str, models: dict[str, str], rebuild: bool
) -> None:
    store = Store(address)
    if rebuild:
        index(many, address, models["other"])
    before = store.facts()
    words = ["--index", address, "--base", models["base"], *["--rebuild"] * rebuild]
    command = Command("index", many, *words, within=slow_batches)
    written = store.staged() if rebuild else store
    wait_until(
        lambda: not command.process.is_alive() or bool(written.facts() and written.count() >= 6)
    )
    os.kill(command.pid, signal.SIGKILL)
    assert command.wait().returncode == -signal.SIGKILL
    kept = written.count()
    assert 6 <= kept < COUNT
    if rebuild:
        assert (store.facts(), store.count()) == (before, COUNT)
    summary = index(many, address, models["base"], rebuild=rebuild)
    assert (summary.total, summary.added, summary.embedded) == (COUNT, COUNT - kept, COUNT - kept)
    assert sorted(store.state()["path"].to_pylist()) == [f"{n:02}.png" for n in range(COUNT)]
    after = store.facts()
    assert after is not None and after.models == {"base": models["base"]}


@pytest.mark.parametrize(("rebuild", "most"), [(False, 100), (True, 2000)])
def test_a_full_disk_is_one_line_and_the_index_stays(
    many: Path, tmp_path: Path, models: dict[str, str], rebuild: bool, most: int
) -> None:
    address = str(tmp_path / "index")
    index(many, address, models["base"])
    draw(many / "new.png", "disc", "blue")
    with largest_file(most), pytest.raises(UserError, match="largest allowed file size"):
        index(many, address, models["base"], rebuild=rebuild)
    assert len(open_pool(Store(address))[2]) == COUNT
    assert index(many, address, models["base"]).total == COUNT + 1


@pytest.mark.parametrize("rebuild", [False, True])
def test_a_model_whose_vectors_are_not_finite_is_an_error(
    many: Path, tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch,
    rebuild: bool,
) -> None:  # fmt: skip
    address = str(tmp_path / "index")
    if rebuild:
        index(many, address, models["base"])
    nan = np.nan
    monkeypatch.setattr(build, "pixel_vectors", lambda _, some, __: np.full((len(some), 16), nan))
    with pytest.raises(UserError, match="NaN or infinite") as caught:
        index(many, address, models["base"], rebuild=rebuild)
    assert str(many) not in str(caught.value)
    assert Store(address).count() == (COUNT if rebuild else 0)


def test_a_rebuild_replaces_no_file_of_the_user(
    many: Path, tmp_path: Path, models: dict[str, str]
) -> None:
    folder = tmp_path / "index"
    (folder / "pictures-of-mine.lance").mkdir(parents=True)
    (folder / "index.json").write_text("my notes")
    for rebuild in (False, True):
        with pytest.raises(UserError, match=r"index\.json: "):
            index(many, str(folder), models["base"], rebuild=rebuild)
    assert (folder / "index.json").read_text() == "my notes"
    (folder / "index.json").unlink()
    assert index(many, str(folder), models["base"], rebuild=True).total == COUNT
    assert (folder / "pictures-of-mine.lance").is_dir()


def test_an_index_of_another_version_can_be_rebuilt(
    many: Path, tmp_path: Path, models: dict[str, str]
) -> None:
    address = str(tmp_path / "index")
    index(many, address, models["base"])
    facts = tmp_path / "index" / "index.json"
    OutputFolder(facts.parent, "index").write(facts, '{"format": "paraclip-index-1"}')
    with pytest.raises(UserError, match="is not an index of this version"):
        index(many, address, models["base"])
    assert index(many, address, models["base"], rebuild=True).total == COUNT
    assert len(list((tmp_path / "index").glob("*.lance"))) == 1


def test_a_model_without_an_image_encoder_replaces_nothing(
    many: Path, tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = str(tmp_path / "index")
    index(many, store, models["base"])
    text_only = SentenceModel(word_files("bert"))
    monkeypatch.setattr(build, "load_model", lambda *_: text_only)
    with pytest.raises(UserError, match="minilm: has only a text encoder and reads no pictures"):
        index(many, store, "minilm", rebuild=True)
    assert Store(store).count() == COUNT


# --- Ctrl-C, and SIGTERM while modules are imported: one line ---


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "paraclip", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def interrupt(process: subprocess.Popen[str], number: int = signal.SIGINT) -> str:
    """Send SIGINT, as Ctrl-C does, or another; returns the last line of standard error."""
    process.send_signal(number)
    try:
        shown = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    # Where the interrupt meets `exec` of a string, as dataclasses use it, CPython notes it as
    # unhandled even if it is caught, and ends by the signal: a shell calls both 130.
    expected = (130, -signal.SIGINT) if number == signal.SIGINT else (128 + number,)
    assert process.returncode in expected, shown
    assert "Traceback" not in shown
    return shown.splitlines()[-1]


def imported(process: subprocess.Popen[str], part: str) -> bool:
    """Whether a process has loaded a shared library, or has ended."""
    try:
        return part in Path(f"/proc/{process.pid}/maps").read_text()
    except OSError:
        return True


@pytest.fixture
def made(pictures: Path, address: str, models: dict[str, str]) -> str:
    index(pictures, address, models["base"])
    return address


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("library", ["_pydantic_core", "_multiarray_umath", "libarrow"])
def test_search_at_any_moment(made: str, library: str, number: int) -> None:
    process = start("search", "disc", "--index", made)
    wait_until(lambda: imported(process, library), 60)
    assert interrupt(process, number) == "paraclip: interrupted."


def test_serve_before_it_listens(made: str) -> None:
    process = start("serve", "--index", made, "--port", "0")
    # The tower is prepared first.
    wait_until(lambda: imported(process, "onnxruntime_pybind11_state"), 240)
    assert interrupt(process) == "paraclip: interrupted."
