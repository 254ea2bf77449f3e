"""A run that is killed twice resumes and requests no answered question again."""

import os
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from fake_server import FakeServer
from generating import captions, fake_config, generated

from forked import SERVER
from paraclip.data.triples import read_triples


def run(url: str, out: Path) -> None:
    """A run, killed by the test."""
    generated(captions(60), fake_config(url, out))


def started(url: str, out: Path) -> BaseProcess:
    process = SERVER.Process(target=run, args=(url, out))
    process.start()
    return process


def wait_until_answered(server: FakeServer, count: int, process: BaseProcess) -> None:
    while server.answered.total() < count and process.is_alive():
        time.sleep(0.005)


def logged(out: Path) -> int:
    path = out / "answers.jsonl"
    return path.read_bytes().count(b"\n") - 1 if path.exists() else 0


def test_killed_twice_and_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARACLIP_QUIET", "1")
    with FakeServer() as server:
        server.delay = 0.02
        in_flight = 0
        for count in (15, 50):
            process = started(server.url, tmp_path)
            wait_until_answered(server, count, process)
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
            assert process.exitcode == -signal.SIGKILL
            server.finish_requests()  # what was on the wire when the run was killed
            in_flight += 4  # at most `concurrency` answers may have been on the wire
            assert logged(tmp_path) >= server.answered.total() - in_flight
            assert not (tmp_path / "triples.parquet").exists()
        with (tmp_path / "answers.jsonl").open("ab") as log:
            log.write(b'{"id": "c59", "step": 1, "key": "00')  # killed while writing
        known = logged(tmp_path)
        before = server.asked.total()
        process = started(server.url, tmp_path)
        process.join()
        assert process.exitcode == 0
        assert server.asked.total() - before == 120 - known  # two steps of 60 captions
        asked = server.asked.total()
        again = generated(captions(60), fake_config(server.url, tmp_path))
        assert again.kept == 60 and again.reused_answers == 120 and server.asked.total() == asked
    table = read_triples(tmp_path / "triples.parquet")
    assert table["id"].to_pylist() == [caption.id for caption in captions(60)]
