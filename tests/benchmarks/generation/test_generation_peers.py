"""Tiny runs of the generation benchmarks: against other tools and at full scale."""

import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks.generation.peers import found_of, middle, table_of
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


def test_ratios_are_within_a_turn() -> None:
    first = found_of(
        "x", 4, Watched(0, 20.0, 3 << 20, (2 << 20,), 1.0, ""), [0.0, 9.0, 9.5, 10.0] * 2
    )
    turns = [[replace(first, rate=mine), replace(first, rate=other, seconds=mine)]
             for mine, other in ((1.0, 2.0), (4.0, 4.0), (8.0, 4.0))]  # fmt: skip
    found = middle([turn[1] for turn in turns], turns)
    assert (found.rate, found.ratio, found.seconds) == (4.0, 1.0, 4.0)
    assert middle([replace(first, fault="no")], turns[:1]).fault == "no"


def test_rates_leave_out_the_first_quarter() -> None:
    times = [0.0, 9.0, 9.5, 10.0, 10.5, 11.0, 11.5, 12.0]
    found = found_of("x", 4, Watched(0, 20.0, 3 << 20, (2 << 20, 1 << 20), 1.0, ""), times)
    assert (found.rate, found.seconds, found.peak, found.largest) == (1.0, 20.0, 3.0, 2.0)
    assert not found.fault
    failed = found_of("y", 5, Watched(1, 20.0, 3 << 20, (3 << 20,), 1.0, "no such thing"), times)
    table = table_of({"settings": [asdict(found), asdict(failed)], "below": "below"})
    assert "| x | 4 | 1.0 | 1.00 | 0.0 | 20 | 125.0 | 3 | 2 | 0% |" in table
    assert "| y | 5 | - | - | - | - | - | - | - | - |" in table
    assert "y: exit code 1, 8 answers: no such thing" in table and table.endswith("below")
