"""Freed memory is kept for the next step, unless the environment configures malloc."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from paraclip.cli import keep_freed_memory

LIBC = Path("/proc/self/maps")
GLIBC = sys.platform == "linux" and "libc.so.6" in LIBC.read_text()
STEPS = """
import resource, sys
from paraclip.cli import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for step in range(4):
    before = faults()
    block = b"x" * (48 << 20)
    del block
    print(faults() - before)
"""


def page_faults(how: str) -> list[int]:
    """Page faults of four steps that each allocate and free 48 MiB, in a process of their own."""
    configuring = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
    clean = {key: text for key, text in os.environ.items() if not key.startswith(configuring)}
    words = [sys.executable, "-c", STEPS, how]
    done = subprocess.run(words, env=clean, check=True, capture_output=True, text=True)
    return [int(line) for line in done.stdout.split()]


@pytest.mark.skipif(not GLIBC, reason="only glibc has these settings")
class TestKeepFreedMemory:
    def test_steps_reuse_pages(self) -> None:
        assert 10 * max(page_faults("kept")[1:]) < min(page_faults("default")[1:])

    @pytest.mark.parametrize(
        "name", ["MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD"]
    )
    def test_environment_has_priority(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(name, "1")
        assert not keep_freed_memory()
