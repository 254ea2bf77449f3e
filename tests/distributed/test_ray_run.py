"""Distributed runs on a small Ray: failures, URLs, several servers, too few CPUs."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_server import FakeServer, rotate
from generating import captions, generated_from_source
from ray_run import IN_FLIGHT, ray_config

from paraclip.data.triples import read_triples
from paraclip.errors import UserError
from paraclip.paraphrase.outputs import Summary

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
ROWS = 48


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PARACLIP_QUIET", "1")
    path = tmp_path / "captions.parquet"
    rows = [{"id": one.id, "caption": one.caption} for one in captions(ROWS)]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def generated(url: str | tuple[str, ...], out: Path, source: str) -> Summary:
    return generated_from_source(ray_config(url, out, source)).summary


def test_out_may_be_a_url_and_servers_several(
    small_ray: None, server: FakeServer, source: str, tmp_path: Path
) -> None:
    with FakeServer() as broken:
        broken.behave = lambda prompt, time: 500
        urls = (server.url, broken.url)
        out = Path(f"file://{tmp_path / 'bucket'}")
        summary = generated(urls, out, source)
        assert (summary.captions, summary.kept) == (ROWS, ROWS)
        assert broken.asked.total() < server.asked.total()
    triples = read_triples(tmp_path / "bucket" / "triples.parquet")
    assert sorted(triples["id"].to_pylist()) == sorted(one.id for one in captions(ROWS))
    assert not Path("file:").exists() and not (tmp_path / "bucket" / "answers.jsonl").exists()


def test_too_few_cpus_are_refused_and_not_waited_for(
    small_ray: None, server: FakeServer, source: str, tmp_path: Path
) -> None:
    config = ray_config(server.url, tmp_path / "out", source)
    with pytest.raises(UserError, match="5 workers need 5 logical CPUs and the cluster has 4"):
        generated_from_source(replace(config, ray_workers=5))
    assert not server.asked
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_a_refused_key_ends_the_run_with_one_line(
    small_ray: None, server: FakeServer, source: str, tmp_path: Path
) -> None:
    server.key = "sk-right"
    with pytest.raises(UserError, match="the server refuses the key"):
        generated(server.url, tmp_path / "out", source)


def test_a_fresh_run_that_cannot_begin_deletes_nothing(
    small_ray: None, server: FakeServer, source: str, tmp_path: Path
) -> None:
    config = replace(ray_config(server.url, tmp_path / "out", source), fresh=True)
    assert generated_from_source(config).summary.kept == ROWS
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    faults: list[dict[str, Any]] = [
        {"base_url": ("http://127.0.0.1:9/v1",)}, {"source": "none.csv"},
    ]  # fmt: skip
    for wrong in faults:
        with pytest.raises(UserError, match=r"no server answers|no such file"):
            generated_from_source(replace(config, **wrong))
        assert before == {path: path.read_bytes() for path in files}
    asked = server.asked.total()
    assert generated_from_source(config).summary.kept == ROWS
    assert server.asked.total() == asked + 2 * ROWS


# --- a worker, then the driver, is killed; nothing is lost or duplicated ---


HERE, MANY = Path(__file__).parent, 160
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
    pytest.importorskip("ray")
    rows = list(captions(MANY))
    source, out, mark = tmp_path / "captions.parquet", tmp_path / "out", uuid4().hex
    columns = ("id", "caption", "image_id")
    table = [{name: getattr(row, name) for name in columns} for row in rows]
    pq.write_table(pa.Table.from_pylist(table), source)
    with FakeServer() as server:
        server.key, gate = f"sk-{mark}", Gate()
        server.behave = gate
        process = started(server.url, out, source, mark)
        gate.allow(MANY // 2)
        wait_for(process, lambda: len(logged(out)) >= MANY // 2 - IN_FLIGHT)
        os.kill(workers(mark)[0], signal.SIGKILL)
        gate.allow(MANY)
        wait_for(process, lambda: list(out.glob("part-*/summary.json")))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (out / "triples.parquet").exists()
        gate.allow(4 * MANY)
        server.finish_requests()  # of those that were killed
        assert started(server.url, out, source, mark).wait() == 0
        twice = sum(count - 1 for count in server.answered.values())
        assert twice <= IN_FLIGHT // 2 + IN_FLIGHT  # one worker's share, then both workers'
    ids = Counter(pq.read_table(out / "triples.parquet")["id"].to_pylist())
    assert set(ids) == {row.id for row in rows} and set(ids.values()) == {1}
    assert len(logged(out)) == 2 * MANY  # every answer once
    assert not [
        path for path in out.rglob("*") if path.is_file() and mark in path.read_text("latin1")
    ]
