"""Ctrl-C in index, search, serve and swap-check: one line, exit code 130, and index resumes.

SIGTERM while modules are imported does the same; `tests/test_signals.py` sends it later.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from paraclip.data.problems import Problems
from paraclip.image_search.build import build_index
from paraclip.models.features import encode_images
from paraclip.models.loading import load_model
from paraclip.store import Store
from postgres_server import wait_until
from tiny import draw

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("interruptible")]

SCRIPT = str(Path(__file__).parent / "killed_index.py")
COUNT = 40


def start(*words: str, program: Sequence[str] = ("-m", "paraclip")) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *program, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
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


def test_index_resumes(tmp_path: Path, models: dict[str, str]) -> None:
    folder, address = tmp_path / "many", str(tmp_path / "index")
    folder.mkdir()
    for number in range(COUNT):
        draw(folder / f"{number:02}.png", "disc", "red", (40 + number, 30))
    store = Store(address)
    words = ("index", str(folder), "--index", address, "--base", models["base"])
    process = start(*words, program=[SCRIPT])
    wait_until(
        lambda: process.poll() is not None or (store.facts() is not None and store.count() >= 6),
        120,
    )
    line = interrupt(process)
    assert line == "paraclip: interrupted; run the same command again to resume."
    kept = store.count()
    assert 6 <= kept < COUNT
    summary = build_index(str(folder), address, models["base"], Problems(1.0))
    assert (summary.total, summary.added) == (COUNT, COUNT - kept)


@pytest.fixture
def index(pictures: Path, tmp_path: Path, models: dict[str, str]) -> str:
    address = str(tmp_path / "index")
    build_index(str(pictures), address, models["base"], Problems(1.0))
    return address


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("library", ["_pydantic_core", "_multiarray_umath", "libarrow"])
def test_search_at_any_moment(index: str, library: str, number: int) -> None:
    process = start("search", "disc", "--index", index)
    wait_until(lambda: imported(process, library), 60)
    assert interrupt(process, number) == "paraclip: interrupted."


def test_serve_before_it_listens(index: str) -> None:
    process = start("serve", "--index", index, "--port", "0")
    # The tower is prepared first.
    wait_until(lambda: imported(process, "onnxruntime_pybind11_state"), 240)
    assert interrupt(process) == "paraclip: interrupted."


def test_swap_check(pictures: Path, tmp_path: Path, models: dict[str, str]) -> None:
    photos = [str(path) for path in pictures.rglob("*.png")]
    vectors = encode_images(load_model(models["base"], "cpu"), photos).tolist()
    pq.write_table(pa.table({"path": photos, "vector": vectors}), tmp_path / "index.parquet")
    queries = tmp_path / "queries.txt"
    queries.write_text("\n".join(f"a red disc {number}" for number in range(20_000)))
    process = start(
        "swap-check", "--index", str(tmp_path / "index.parquet"), "--base", models["base"],
        "--tuned", models["tuned"], "--queries", str(queries),
    )  # fmt: skip
    wait_until(lambda: imported(process, "libtorch_cpu"), 60)
    assert interrupt(process) == "paraclip: interrupted; run the same command again to start over."
