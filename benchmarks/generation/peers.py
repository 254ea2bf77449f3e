"""Compare `paraclip generate` with the paper's way, datatrove and curator; also on Ray.

    python -m benchmarks.generation.peers --environments /somewhere/environments
    python -m benchmarks.generation.peers --environments ... --parts memory

Every system sends two questions per caption, the second one about the first answer, to one server
in a separate process, which answers each after a fixed latency. Only ParaCLIP judges the answers.
The server counts rows per second from the first quarter of the answers on, when programs and
models are loaded; the whole run includes loading. Memory is the total of all processes of a system.
The systems run in turns, several times, and the medians count: other work on the machine disturbs
all of them alike. The rate over ParaCLIP's is the median of the ratios within a turn.
The peers' environments are created in the given folder, which needs PyPI. Parts: `speed` (2 minutes
a turn on 2 free cores), `ray` (2 minutes), `memory` (5 minutes).
"""

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.generation.server_speed import numbered, serve
from benchmarks.generation.watching import OtherWork, Watched, watched, worked
from benchmarks.machine import RESULTS, facts_of, keep, say
from paraclip.tables import markdown

PEERS = Path(__file__).parent / "peer_programs"
SOURCES = Path(__file__).parents[2] / "src"
OURS = "paraclip generate"
_FEWEST = 1.9
"""Answers a row: ParaCLIP asks no second question where its filters reject the first answer."""
PACKAGES = {
    "datatrove": ("datatrove", "aiofiles", "aiohttp", "aiosqlite", "httpx", "orjson", "xxhash"),
    "curator": ("bespokelabs-curator",),
}
"""Packages for pip, by peer: the extras of datatrove need more than is used here."""
ACTORS, IN_FLIGHT_OF_ACTOR, ROWS_OF_ACTOR = (1, 2, 4), 32, 400
LIMIT = 1800.0  # seconds per system


@dataclass(frozen=True)
class Found:
    """Figures of a system.

    Args:
        system: name of the system.
        rows: number of captions.
        rate: captions per second, or 0 if it failed.
        seconds: duration of the whole run.
        start: seconds until the first question arrived.
        work: processor time per answer in milliseconds, loading included.
        peak: MiB of all processes.
        largest: MiB of the largest process.
        other: share of the machine that other work used.
        version: version of the package.
        ratio: its rate over ParaCLIP's in the same turns.
        fault: reason why there are no figures, or an empty string.
    """

    system: str
    rows: int
    rate: float
    seconds: float
    start: float
    work: float
    peak: float
    largest: float
    other: float
    version: str
    ratio: float = 1.0
    fault: str = ""


def main() -> None:
    """Run the parts, print the tables, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--environments", type=Path, required=True, help="folder outside of this one"
    )
    parser.add_argument("--parts", nargs="+", default=["speed", "ray"], choices=list(PARTS))
    parser.add_argument("--peers", nargs="+", default=list(PACKAGES), choices=list(PACKAGES))
    parser.add_argument("--turns", type=int, default=3, help="for speed; the medians count")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--one-by-one", type=int, default=20, help="rows for the paper's way")
    parser.add_argument("--memory-rows", type=int, default=100_000)
    parser.add_argument("--latency", type=float, default=0.5, help="seconds before each answer")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    for part in options.parts:
        PARTS[part](options)


def speed(options: argparse.Namespace) -> None:
    """Run all systems in turns with the same captions."""
    ask = partial(ours, options, options.rows, options.latency)
    ways = [ask, partial(ask, "everything", system="the same without filters")]
    ways.append(partial(paper, options))
    ways += [partial(of_peer, options, peer) for peer in options.peers]
    turns: list[list[Found]] = []
    for _ in range(options.turns):
        turns.append([])
        for way in ways:
            turns[-1].append(way())
            say(str(turns[-1][-1]))
    found = [middle(of_system, turns) for of_system in zip(*turns, strict=True)]
    setting = f"{options.latency * 1000:.0f} ms latency, {options.concurrency} in flight"
    below = f"{setting}; the paper's way has one. Medians of {options.turns} turns. {facts_of()}"
    every = [[asdict(one) for one in turn] for turn in turns]
    keep("generation_peers", options.out, table_of, settings=[*map(asdict, found)], turns=every,
         below=below)  # fmt: skip


def middle(of_system: Sequence[Found], turns: Sequence[Sequence[Found]]) -> Found:
    """The medians of a system over all turns, or its first fault; ParaCLIP begins each turn."""
    for one in of_system:
        if one.fault:
            return one
    names = ("rate", "seconds", "start", "work", "peak", "largest", "other")
    medians = {name: median(getattr(one, name) for one in of_system) for name in names}
    ratios = [one.rate / turn[0].rate for one, turn in zip(of_system, turns, strict=True)]
    return replace(of_system[0], **medians, ratio=median(ratios))


def memory(options: argparse.Namespace) -> None:
    """Run ParaCLIP with many captions; a filter that accepts everything replaces MiniLM."""
    found = [ours(options, rows, 0.0, "everything") for rows in (1000, options.memory_rows)]
    below = f"No latency, {options.concurrency} in flight; filters accept everything. {facts_of()}"
    keep("generation_memory", options.out, table_of, settings=[*map(asdict, found)], below=below)


def ray(options: argparse.Namespace) -> None:
    """Run ParaCLIP on a local Ray with an increasing number of actors."""
    found = []
    for actors in ACTORS:
        words = ["--ray-workers", str(actors)]
        flight = actors * IN_FLIGHT_OF_ACTOR
        system = f"{actors} actor{'s' * (actors > 1)}"
        rows = actors * ROWS_OF_ACTOR
        found.append(ours(options, rows, options.latency, *words, flight=flight, system=system))
        say(str(found[-1]))
    below = (
        f"{IN_FLIGHT_OF_ACTOR} in flight for each actor, {options.latency * 1000:.0f} ms latency."
    )
    keep("generation_ray", options.out, table_of, settings=[*map(asdict, found)],
         below=f"{below} {facts_of()}")  # fmt: skip


PARTS = {"speed": speed, "ray": ray, "memory": memory}


def ours(
    options: argparse.Namespace,
    rows: int,
    latency: float,
    *words: str,
    flight: int | None = None,
    system: str = OURS,
) -> Found:
    """Run ParaCLIP in this environment."""
    script, flight = "paraclip_run", flight or options.concurrency
    return measured(system, sys.executable, script, rows, latency, flight, *words)


def paper(options: argparse.Namespace) -> Found:
    """One request at a time, written at the end."""
    rows, latency = options.one_by_one, options.latency
    return measured("the paper's way", sys.executable, "paper_run", rows, latency, 1)


def of_peer(options: argparse.Namespace, peer: str) -> Found:
    """Run a peer in its own environment, which is created if it is missing."""
    try:
        python = environment(options.environments / peer, PACKAGES[peer])
    except subprocess.CalledProcessError as error:
        fault = f"cannot be installed ({error})"
        return Found(peer, 0, 0, 0, 0, 0, 0, 0, 0, "", fault=fault)
    rows, latency = options.rows, options.latency
    found = measured(peer, python, f"{peer}_run", rows, latency, options.concurrency)
    return Found(**asdict(found) | {"version": version_of(python, PACKAGES[peer][0])})


def environment(folder: Path, packages: tuple[str, ...]) -> str:
    """The Python of a virtual environment with the packages."""
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
        done.touch()
    return str(python)


def version_of(python: str, package: str) -> str:
    """The version of an installed package."""
    name = package.partition("[")[0]
    code = f"from importlib.metadata import version; print(version({name!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip()


def measured(
    system: str, python: str, script: str, rows: int, latency: float, flight: int, *words: str
) -> Found:
    """Run a script of `peers/` against a separate server."""
    with tempfile.TemporaryDirectory() as folder, served(latency) as (url, server):
        captions = Path(folder) / "captions.jsonl"
        with captions.open("w", encoding="utf-8") as lines:
            for row in numbered(rows):
                lines.write(json.dumps({"id": row.id, "caption": row.caption}) + "\n")
        command = [python, str(PEERS / f"{script}.py"), url, str(captions), f"{folder}/out"]
        environment = {
            "PYTHONPATH": str(SOURCES) if python == sys.executable else "", "HOME": folder,
            "PARACLIP_QUIET": "1", "OMP_NUM_THREADS": "1", "OPENAI_API_KEY": "",
        }  # fmt: skip
        others, began = OtherWork(), time.monotonic()
        run = watched([*command, str(flight), *words], environment, LIMIT, Path(folder) / "log")
        other = others.share(run.work + worked(server))
        times = times_of(url)
        start = times[0] - began - latency if times else 0.0
        return found_of(system, rows, run, times, other, start)


def found_of(
    system: str, rows: int, run: Watched, times: list[float], other: float = 0.0, start: float = 0.0
) -> Found:
    """The figures of a run, from the times of its answers."""
    later = times[len(times) // 4 :]
    answers = (len(later) - 1) / (later[-1] - later[0]) if len(later) > 1 else 0.0
    fault = ""
    if run.code or len(times) < _FEWEST * rows:
        fault = f"exit code {run.code}, {len(times)} answers: {run.output.strip()[-300:]}"
    largest = run.parts[0] if run.parts else 0
    sizes = (run.peak / 2**20, largest / 2**20)
    work = 1000 * run.work / max(len(times), 1)
    return Found(
        system, rows, answers / 2, run.seconds, start, work, *sizes, other, "", fault=fault
    )


@contextmanager
def served(latency: float) -> Iterator[tuple[str, int]]:
    """The address of a server in a separate process, and the process."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("spawn")
    server = context.Process(target=serve, args=(latency, sender), daemon=True)
    server.start()
    try:
        yield f"http://127.0.0.1:{receiver.recv()}/v1", server.pid or 0
    finally:
        server.kill()


def times_of(url: str) -> list[float]:
    """The time at which the server sent each answer."""
    with urllib.request.urlopen(f"{url}/times") as response:
        times: list[float] = json.load(response)
    return times


COLUMNS = {
    "rate": ("rows/s", ".1f"), "ratio": ("over ParaCLIP's", ".2f"),
    "start": ("s to the first question", ".1f"), "seconds": ("whole run, s", ".0f"),
    "work": ("processor ms/answer", ".1f"), "peak": ("peak MiB", ",.0f"),
    "largest": ("of the largest process", ",.0f"), "other": ("other work on the machine", ".0%"),
}  # fmt: skip
"""Heads and formats of figures; earlier results lack some."""


def table_of(record: dict[str, Any]) -> str:
    """A table with the failures below it."""
    found = record["settings"]
    shown = {name: COLUMNS[name] for name in COLUMNS if name in found[0]}
    rows = [
        [f"{one['system']} {one['version']}".strip(), f"{one['rows']:,}",
         *("-" if one["fault"] else f"{one[name]:{form}}" for name, (_, form) in shown.items())]
        for one in found
    ]  # fmt: skip
    heads = ["system", "rows", *(head for head, _ in shown.values())]
    faults = [f"{one['system']}: {one['fault']}" for one in found if one["fault"]]
    return "\n\n".join([markdown(heads, rows), *faults, record["below"]])


if __name__ == "__main__":
    main()
