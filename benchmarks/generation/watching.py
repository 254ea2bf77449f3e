"""Runs a command and monitors the memory of all its processes, from Linux's /proc."""

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAUSE = 0.25  # seconds between two measurements


@dataclass(frozen=True)
class Watched:
    """Resources that a command used.

    Args:
        code: its exit code.
        seconds: elapsed time.
        peak: peak memory of all its processes in bytes; shared pages are counted once.
        parts: memory of each process at the peak in bytes, largest first.
        work: processor time of all its processes in seconds, at the last measurement.
        output: end of its output.
    """

    code: int
    seconds: float
    peak: int
    parts: tuple[int, ...]
    work: float
    output: str


def watched(
    command: Sequence[str], environment: Mapping[str, str], limit: float, log: Path
) -> Watched:
    """Run a command until it ends, or kill it after `limit` seconds.

    Args:
        command: program and arguments.
        environment: variables added to those of this process.
        limit: seconds.
        log: file for its output.
    """
    began, stop = time.perf_counter(), threading.Event()
    most: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    work: dict[int, float] = {}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=os.environ | dict(environment), stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip

        def look() -> None:
            while not stop.wait(PAUSE):
                processes = family(process.pid)
                work.update((one, seconds) for one in processes if (seconds := worked(one)))
                parts = tuple(sorted(filter(None, map(pss, processes)), reverse=True))
                most[0] = max(most[0], (sum(parts), parts))

        looking = threading.Thread(target=look)
        looking.start()
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            code = process.wait()
        finally:
            stop.set()
            looking.join()
    peak, parts = most[0]
    text = log.read_text(encoding="utf-8", errors="replace")
    seconds = time.perf_counter() - began
    return Watched(code, seconds, peak, parts, sum(work.values()), text[-2000:])


def family(root: int) -> list[int]:
    """Ids of a process and of its descendants."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(fields[1])
    found, grown = {root}, True
    while grown:
        new = {child for child, parent in parents.items() if parent in found} - found
        found, grown = found | new, bool(new)
    return sorted(found)


def pss(process: int) -> int:
    """Memory of a process in bytes, with its part of shared pages; 0 if it has ended."""
    with suppress(OSError, IndexError, ValueError):
        facts = Path(f"/proc/{process}/smaps_rollup").read_text()
        return int(facts.split("\nPss:")[1].split()[0]) * 1024
    return 0


class OtherWork:
    """Work of the machine other than the measured one; created when that begins."""

    def __init__(self) -> None:
        self._busy, self._began = busy_seconds(), time.perf_counter()

    def share(self, own: float) -> float:
        """Share of all cores that other work used, 0 to 1.

        Args:
            own: processor time of the measured work in seconds.
        """
        whole = (time.perf_counter() - self._began) * (os.cpu_count() or 1)
        return min(1.0, max(0.0, (busy_seconds() - self._busy - own) / whole))


def busy_seconds() -> float:
    """Processor time of all work since the machine started, in seconds."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, _idle, _waiting, *interrupts = map(int, fields)
    return (user + nice + system + sum(interrupts)) / TICK


def worked(process: int) -> float:
    """Processor time of a running process in seconds; 0 if it has ended."""
    with suppress(OSError, IndexError, ValueError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK
    return 0.0
