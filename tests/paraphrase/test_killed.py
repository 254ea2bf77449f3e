"""A run that is killed twice resumes and requests no answered question again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_encoder import BagEncoder
from fake_server import FakeServer
from generating import captions, fake_config

from paraclip.data.triples import read_triples
from paraclip.paraphrase.config import SMALL
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.run import generate

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parent


def started(url: str, out: Path) -> subprocess.Popen[bytes]:
    modules = os.pathsep.join([str(FOLDER), os.environ.get("PYTHONPATH", "")])
    quiet = os.environ | {"PARACLIP_QUIET": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": modules}
    command = [sys.executable, str(FOLDER / "killed_run.py"), url, str(out)]
    return subprocess.Popen(command, env=quiet, stderr=subprocess.DEVNULL)


def wait_until_answered(server: FakeServer, count: int, process: subprocess.Popen[bytes]) -> None:
    while server.answered.total() < count and process.poll() is None:
        time.sleep(0.005)


def logged(out: Path) -> int:
    path = out / "answers.jsonl"
    return path.read_bytes().count(b"\n") - 1 if path.exists() else 0


def test_killed_twice_and_finished(tmp_path: Path) -> None:
    with FakeServer() as server:
        server.delay = 0.02
        in_flight = 0
        for count in (15, 50):
            process = started(server.url, tmp_path)
            wait_until_answered(server, count, process)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            in_flight += 4  # at most `concurrency` answers may have been on the wire
            assert logged(tmp_path) >= server.answered.total() - in_flight
            assert not (tmp_path / "triples.parquet").exists()
        with (tmp_path / "answers.jsonl").open("ab") as log:
            log.write(b'{"id": "c59", "step": 1, "key": "00')  # killed while writing
        known = logged(tmp_path)
        before = server.asked.total()
        assert started(server.url, tmp_path).wait() == 0
        assert server.asked.total() - before == 120 - known  # two steps of 60 captions
        asked = server.asked.total()
        judge = Judge(SMALL, BagEncoder())  # type: ignore[arg-type]
        again = generate(captions(60), fake_config(server.url, tmp_path), tmp_path, judge=judge)
        assert again.kept == 60 and again.reused_answers == 120 and server.asked.total() == asked
    table = read_triples(tmp_path / "triples.parquet")
    assert table["id"].to_pylist() == [caption.id for caption in captions(60)]
