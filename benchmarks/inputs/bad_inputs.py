"""Feed bad inputs to every reader, server client, model loader and option; count the outcomes.

    python -m benchmarks.inputs.bad_inputs              # 8 to 25 minutes on 2 cores
    python -m benchmarks.inputs.bad_inputs --only servers --show
    python -m benchmarks.inputs.bad_inputs --only batches --keep    # its rows in the kept table

Each input runs in a separate forked process with limits on time and memory. The outcome is a clear
error (one line, exit code 2), accepted, a traceback, or a hang; the last two are bugs. The inputs
are listed in the modules of `AREAS`; generated ones are drawn with a fixed seed.
"""

import argparse
import faulthandler
import gc
import importlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from pathlib import Path

import torch

from benchmarks.inputs.attacks import (
    batches,
    caches,
    files,
    indexes,
    models,
    options,
    servers,
)
from benchmarks.inputs.attacks.cases import Case
from benchmarks.inputs.attacks.sound import write_sound
from benchmarks.machine import RESULTS, keep, markdown, say
from paraclip.cli import parse
from paraclip.errors import UserError

AREAS: dict[str, Callable[[Path], Iterator[Case]]] = {
    "files": files.cases,
    "servers": servers.cases,
    "models": models.cases,
    "batches": batches.cases,
    "indexes": indexes.cases,
    "caches": caches.cases,
    "options": options.cases,
}
IMPORTED = (
    "jinja2.sandbox", "open_clip", "paraclip.audit.command", "paraclip.evaluation.command",
    "paraclip.commands.generate",
    "paraclip.search.command", "paraclip.swap.command", "paraclip.training.command",
)  # fmt: skip
"""Modules that the forks need; not LanceDB, because its threads do not survive a fork."""
OUTCOMES = ("clear error", "accepted", "traceback", "hang")
MEMORY = 6 << 30  # maximum data size of one input in bytes
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Outcome:
    """Outcome of one input.

    Args:
        area: area of the case.
        name: name of the case.
        kind: one of OUTCOMES.
        detail: last line of the error.
        seconds: elapsed time.
    """

    area: str
    name: str
    kind: str
    detail: str
    seconds: float


def main() -> None:
    """Run all cases; print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=AREAS, help="one area")
    parser.add_argument("--keep", action="store_true", help="with --only: replace its rows")
    parser.add_argument("--every", type=int, default=1, help="only every n-th input")
    parser.add_argument("--seconds", type=float, default=40.0, help="limit of one input")
    parser.add_argument("--workers", type=int, default=3, help="inputs at once")
    parser.add_argument("--show", action="store_true", help="print every input with its outcome")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    prepare()
    with tempfile.TemporaryDirectory(prefix="paraclip-bad-") as scratch:
        found = attack_all(Path(scratch), options)
    report(found, options)


def prepare() -> None:
    """Import once what every fork needs, and stop threads before forking."""
    torch.set_num_threads(1)
    os.environ |= {"PARACLIP_QUIET": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

    for module in IMPORTED:
        importlib.import_module(module)
    parse(["captions", "nowhere.csv"])  # fills the parser's caches
    gc.collect()
    gc.freeze()  # a collection in a fork would copy all of this


def attack_all(scratch: Path, options: argparse.Namespace) -> list[Outcome]:
    """Every outcome, in the order of the areas."""
    os.environ["PARACLIP_CACHE"] = str(scratch / "cache")
    in_child(lambda: write_all_sound(scratch / "sound"))
    areas = [options.only] if options.only else list(AREAS)
    cases = [case for area in areas for case in AREAS[area](scratch / "sound")]
    chosen = cases[:: options.every]
    found = []
    for outcome in attack(chosen, scratch, options.seconds, options.workers):
        found.append(outcome)
        if options.show or outcome.kind in OUTCOMES[2:]:
            say(f"{outcome.kind}: {outcome.area}: {outcome.name}: {outcome.detail}")
    order = {(case.area, case.name): place for place, case in enumerate(chosen)}
    return sorted(found, key=lambda outcome: order[outcome.area, outcome.name])


def write_all_sound(sound: Path) -> None:
    """Write the sound inputs, some of them with commands."""
    write_sound(sound, files.NAMES)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    batches.write_round(sound)
    indexes.write_indexes(sound)


def in_child(work: Callable[[], object]) -> None:
    """Run a function in a separate process, whose threads end with it."""
    child = FORK.Process(target=work)
    child.start()
    child.join()
    if child.exitcode:
        raise SystemExit("the sound inputs could not be made")


@dataclass(frozen=True)
class Running:
    """A running case, with its process, folder and start time."""

    case: Case
    child: "multiprocessing.context.ForkProcess"
    folder: Path
    began: float


def attack(cases: Sequence[Case], scratch: Path, seconds: float, workers: int) -> Iterator[Outcome]:
    """Run the cases, a few at a time."""
    waiting, running = deque(enumerate(cases)), []
    while waiting or running:
        while waiting and len(running) < workers:
            running.append(start(*waiting.popleft(), scratch))
        wait([one.child.sentinel for one in running], timeout=0.2)
        for one in list(running):
            taken = time.monotonic() - one.began
            if one.child.exitcode is not None or taken > seconds:
                running.remove(one)
                yield finish(one, taken)


def start(number: int, case: Case, scratch: Path) -> Running:
    """Fork a process for a case."""
    folder = scratch / str(number)
    folder.mkdir()
    child = FORK.Process(target=run_case, args=(case, folder))
    child.start()
    return Running(case, child, folder, time.monotonic())


def finish(one: Running, taken: float) -> Outcome:
    """The outcome of a case; ends its process and all child processes."""
    hung = one.child.exitcode is None
    with suppress(ProcessLookupError):
        os.killpg(one.child.pid, signal.SIGKILL)
    one.child.join()
    stderr = one.folder / "errors.txt"
    errors = stderr.read_text("utf-8", "replace") if stderr.is_file() else ""
    for folder in (one.folder, one.folder.parent, tempfile.gettempdir()):
        errors = errors.replace(f"{folder}/", "")
    kind = "hang" if hung else kind_of(one.child.exitcode, errors)
    shutil.rmtree(one.folder, ignore_errors=True)
    lines = errors.strip().splitlines()
    return Outcome(one.case.area, one.case.name, kind, lines[-1][:300] if lines else "", taken)


def kind_of(code: int | None, errors: str) -> str:
    """The outcome by exit code and standard error; an error without a message counts as a bug."""
    if "Traceback (most recent call last)" in errors or code not in (0, 2):
        return "traceback"
    if code == 2:
        return "clear error" if errors.strip() else "traceback"
    return "accepted"


def run_case(case: Case, folder: Path) -> None:
    """In the child: run the case and exit with the code that the command line would return."""
    os.setpgid(0, 0)
    errors = os.open(folder / "errors.txt", os.O_WRONLY | os.O_CREAT)
    silence = os.open(os.devnull, os.O_RDWR)
    for descriptor, stream in ((silence, 0), (silence, 1), (errors, 2)):
        os.dup2(descriptor, stream)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    faulthandler.enable()
    os.chdir(folder)
    code = 1
    try:
        code = case.action(folder) or 0
    except UserError as error:
        print(f"paraclip: {error}", file=sys.stderr)
        code = 2
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)


def report(found: list[Outcome], options: argparse.Namespace) -> None:
    """Print the table; write it with all outcomes, unless only a part was run without --keep."""
    if options.only and not options.keep:
        print(table_of(found)[0])
        return
    if options.only:
        found = merged(options.out / "bad_inputs.json", found)
    table, totals = table_of(found)
    outcomes = [{**asdict(outcome), "seconds": round(outcome.seconds, 1)} for outcome in found]
    keep("bad_inputs", options.out, table, totals=totals, outcomes=outcomes)


def merged(path: Path, found: list[Outcome]) -> list[Outcome]:
    """The stored outcomes of an earlier run, with those of these areas replaced."""
    kept = [Outcome(**outcome) for outcome in json.loads(path.read_text())["outcomes"]]
    areas = {outcome.area for outcome in found}
    return [outcome for outcome in kept if outcome.area not in areas] + found


def table_of(found: list[Outcome]) -> tuple[str, dict[str, int]]:
    """The table by area, and the totals."""
    areas = dict.fromkeys(outcome.area for outcome in found)
    counted = Counter((outcome.area, outcome.kind) for outcome in found)
    totals = {kind: sum(outcome.kind == kind for outcome in found) for kind in OUTCOMES}
    rows = [[area, *(str(counted[area, kind]) for kind in OUTCOMES)] for area in areas]
    rows += [["all", *map(str, totals.values())]]
    heads = [f"{kind}s" if kind != "accepted" else kind for kind in OUTCOMES]
    return markdown(["inputs", *heads], rows), totals


if __name__ == "__main__":
    main()
