"""Tiny runs of the generation benchmarks: against other tools and at full scale."""

import argparse
import json
import sys
from pathlib import Path

import pytest

from benchmarks.generation import full_scale
from benchmarks.generation.peers import found_of, table_of
from benchmarks.generation.watching import Watched, watched

ALLOCATES = "import time; held = bytearray(64 << 20); held[:] = bytes(64 << 20); time.sleep(1.5)"
FORKS = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ALLOCATES!r}])"


@pytest.mark.parametrize("program", [ALLOCATES, FORKS])
def test_memory_of_a_command_and_its_children_is_seen(program: str, tmp_path: Path) -> None:
    run = watched([sys.executable, "-c", program], {}, 60.0, tmp_path / "log")
    assert run.work > 0 and run.code == 0 and run.peak > 64 << 20 and sum(run.parts) == run.peak


def test_a_command_that_hangs_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('begun', flush=True); import time; time.sleep(600)"]
    run = watched(command, {}, 1.0, tmp_path / "log")
    assert run.code == -9 and run.output == "begun\n"


def test_rates_leave_out_the_first_quarter() -> None:
    times = [0.0, 9.0, 9.5, 10.0, 10.5, 11.0, 11.5, 12.0]
    found = found_of("x", 4, Watched(0, 20.0, 3 << 20, (2 << 20, 1 << 20), 1.0, ""), times)
    assert (found.rate, found.seconds, found.peak, found.largest) == (1.0, 20.0, 3.0, 2.0)
    assert not found.fault
    failed = found_of("y", 5, Watched(1, 20.0, 3 << 20, (3 << 20,), 1.0, "no such thing"), times)
    table = table_of([found, failed], "below")
    assert "| x | 4 | 1.0 | 20 | 3 | 2 | 0% |" in table and "| y | 5 | - | - | - | - | - |" in table
    assert "y: exit code 1, 8 answers: no such thing" in table and table.endswith("below")


def test_full_scale_by_hand(tmp_path: Path) -> None:
    (tmp_path / "cost.json").write_text(
        json.dumps({"slopes": {"prompt_tokens": 140.0, "answer_tokens": 20.0}})
    )
    run = {"the run": {"work": 8.0, "answers": 2000}}
    (tmp_path / "server_speed.json").write_text(json.dumps({"settings": run}))
    slopes = full_scale.slopes_of(tmp_path)
    assert slopes == {"prompt_tokens": 70.0, "answer_tokens": 10.0, "processor_seconds": 0.004}
    options = argparse.Namespace(output_tokens=1000.0, latency=3.0)
    found = full_scale.estimate(2, slopes, options)
    assert found["answers_a_second"] == 200 and found["in_flight"] == 600
    assert found["hours"] == pytest.approx(1e7 / 200 / 3600) and found["asking_cores"] == 0.8
    assert "| 2 | 200 | 13.9 | 600 | 0.8 |" in full_scale.as_table([found], slopes, options)
