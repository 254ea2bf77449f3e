"""A batch run killed between any two of its steps requests nothing twice."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_batches import FakeBatchServer

from paraclip.data.triples import read_triples

pytestmark = pytest.mark.slow
FOLDER = Path(__file__).parent


def test_killed_at_every_step(tmp_path: Path) -> None:
    modules = os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")])
    quiet = os.environ | {"PARACLIP_QUIET": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": modules}
    with FakeBatchServer() as server:
        done = subprocess.run(
            [sys.executable, str(FOLDER / "killed_batches.py"), server.url, str(tmp_path)],
            env=quiet, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        kills = int(done.stdout)
        assert kills > 20
        assert len(server.answered) == 4 * (kills + 2)  # two steps of two captions
        assert set(server.answered.values()) == {1}  # each question was paid once
    for number in range(kills + 2):
        table = read_triples(tmp_path / str(number) / "out" / "triples.parquet")
        assert table["id"].to_pylist() == [f"c{2 * number}", f"c{2 * number + 1}"]
