"""On a local Ray cluster: a worker, then the driver, is killed; nothing is lost or duplicated."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_server import FakeServer, rotate
from generating import captions
from ray_run import IN_FLIGHT

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

HERE, ROWS = Path(__file__).parent, 160
MARK = "PARACLIP_TEST_RUN"


class Gate:
    """Lets some answers pass; the others wait, so that a run cannot end before it is killed."""

    def __init__(self) -> None:
        self._change, self._passed, self._most = threading.Condition(), 0, 0

    def __call__(self, prompt: str, count: int) -> str:
        with self._change:
            self._change.wait_for(lambda: self._passed < self._most)
            self._passed += 1
        return rotate(prompt)

    def allow(self, most: int) -> None:
        """Let so many answers pass in total."""
        with self._change:
            self._most = most
            self._change.notify_all()


def started(url: str, out: Path, source: Path, mark: str) -> subprocess.Popen[bytes]:
    paths = [str(HERE), str(HERE.parent / "paraphrase"), os.environ.get("PYTHONPATH", "")]
    modules = {"PYTHONPATH": os.pathsep.join(paths), "PARACLIP_QUIET": "1", "OMP_NUM_THREADS": "1"}
    environment = os.environ | modules | {MARK: mark, "OPENAI_API_KEY": f"sk-{mark}"}
    command = [sys.executable, str(HERE / "ray_run.py"), url, str(out), str(source)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def workers(mark: str) -> list[int]:
    """Process ids of this test's Ray workers, excluding other Ray clusters on the machine."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ours = f"{MARK}={mark}".encode() in (folder / "environ").read_bytes()
            if ours and b"ray::_Worker" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def wait_for(process: subprocess.Popen[bytes], condition: Callable[[], object]) -> None:
    while not condition():
        assert process.poll() is None, "the run ended early"
        time.sleep(0.01)


def logged(out: Path) -> list[bytes]:
    """The entries in the logs of all parts."""
    logs = (path.read_bytes().splitlines() for path in out.glob("part-*/answers.jsonl"))
    return [line for log in logs for line in log[1:]]


def test_a_worker_and_the_driver_are_killed(tmp_path: Path) -> None:
    rows = list(captions(ROWS))
    source, out, mark = tmp_path / "captions.parquet", tmp_path / "out", uuid4().hex
    columns = ("id", "caption", "image_id")
    table = [{name: getattr(row, name) for name in columns} for row in rows]
    pq.write_table(pa.Table.from_pylist(table), source)
    with FakeServer() as server:
        server.key, gate = f"sk-{mark}", Gate()
        server.behave = gate
        process = started(server.url, out, source, mark)
        gate.allow(ROWS // 2)
        wait_for(process, lambda: len(logged(out)) >= ROWS // 2 - IN_FLIGHT)
        os.kill(workers(mark)[0], signal.SIGKILL)
        gate.allow(ROWS)
        wait_for(process, lambda: list(out.glob("part-*/summary.json")))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (out / "triples.parquet").exists()
        gate.allow(4 * ROWS)
        server.finish_requests()  # of those that were killed
        assert started(server.url, out, source, mark).wait() == 0
        twice = sum(count - 1 for count in server.answered.values())
        assert twice <= IN_FLIGHT // 2 + IN_FLIGHT  # one worker's share, then both workers'
    ids = Counter(pq.read_table(out / "triples.parquet")["id"].to_pylist())
    assert set(ids) == {row.id for row in rows} and set(ids.values()) == {1}
    assert len(logged(out)) == 2 * ROWS  # every answer once
    assert not [
        path for path in out.rglob("*") if path.is_file() and mark in path.read_text("latin1")
    ]
