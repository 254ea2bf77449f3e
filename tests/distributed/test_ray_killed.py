"""On a local Ray cluster: a worker, then the driver, is killed; nothing is lost or duplicated."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_server import FakeServer
from generating import captions
from ray_run import BLOCK, IN_FLIGHT

pytest.importorskip("ray.data")
pytestmark = pytest.mark.slow

HERE, ROWS = Path(__file__).parent, 160
MARK = "PARACLIP_TEST_RUN"


def started(url: str, out: Path, source: Path, mark: str) -> subprocess.Popen[bytes]:
    paths = [str(HERE), str(HERE.parent / "paraphrase"), os.environ.get("PYTHONPATH", "")]
    modules = {"PYTHONPATH": os.pathsep.join(paths), "PARACLIP_QUIET": "1", "OMP_NUM_THREADS": "1"}
    environment = os.environ | modules | {MARK: mark, "OPENAI_API_KEY": f"sk-{mark}"}
    command = [sys.executable, str(HERE / "ray_run.py"), url, str(out), str(source)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def askers(mark: str) -> list[int]:
    """Process ids of this test's Ray workers, excluding other Ray clusters on the machine."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ours = f"{MARK}={mark}".encode() in (folder / "environ").read_bytes()
            if ours and b"MapWorker(MapBatches(_Asker))" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def wait_for_answers(server: FakeServer, count: int, process: subprocess.Popen[bytes]) -> None:
    while server.answered.total() < count:
        assert process.poll() is None, "the run ended early"
        time.sleep(0.01)


def committed(out: Path) -> int:
    names = [path.name for path in (out / "ray" / "checkpoint").glob("*.parquet")]
    return sum(".pending." not in name for name in names)


def test_a_worker_and_the_driver_are_killed(tmp_path: Path) -> None:
    rows = list(captions(ROWS))
    source, out, mark = tmp_path / "captions.parquet", tmp_path / "out", uuid4().hex
    columns = ("id", "caption", "image_id")
    table = [{name: getattr(row, name) for name in columns} for row in rows]
    pq.write_table(pa.Table.from_pylist(table), source)
    with FakeServer() as server:
        server.delay, server.key = 0.05, f"sk-{mark}"
        process = started(server.url, out, source, mark)
        wait_for_answers(server, 4 * BLOCK, process)
        os.kill(askers(mark)[0], signal.SIGKILL)
        wait_for_answers(server, 8 * BLOCK, process)
        while not committed(out):
            assert process.poll() is None, "nothing was committed before the end"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (out / "triples.parquet").exists()
        assert server.answered.total() < 2 * ROWS
        assert started(server.url, out, source, mark).wait() == 0
        twice = sum(count - 1 for count in server.answered.values())
        assert twice <= IN_FLIGHT // 2 + IN_FLIGHT  # one worker's share, then both workers'
    ids = Counter(pq.read_table(out / "triples.parquet")["id"].to_pylist())
    assert list(ids) == [row.id for row in rows] and set(ids.values()) == {1}
    log = (out / "answers.jsonl").read_bytes()
    assert log.count(b"\n") == 1 + 2 * ROWS  # every answer once, and no block's log is left
    assert not list((out / "ray" / "answers").iterdir())
    assert not [
        path for path in out.rglob("*") if path.is_file() and mark in path.read_text("latin1")
    ]
