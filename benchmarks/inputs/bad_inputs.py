"""Feed bad inputs to every reader, model loader and option; count the outcomes.

    python -m benchmarks.inputs.bad_inputs              # everything, minutes on 2 cores
    python -m benchmarks.inputs.bad_inputs --only 'files*' --show

Each input of `areas.py` runs in a separate process, in a folder of its own, with limits on time and
memory. Outcomes: a clear error (one line, exit code 2), accepted, a traceback, a hang, or a file
lost (one that was in the folder before has changed or vanished). The last three are bugs. Random
damage is drawn with fixed seeds.
"""

import argparse
import faulthandler
import fnmatch
import gc
import hashlib
import importlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import stat
import sys
import tempfile
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import torch

from benchmarks.inputs.areas import all_cases
from benchmarks.inputs.cases import Case, paraclip
from benchmarks.inputs.sound import write_sound
from benchmarks.machine import RESULTS, keep, say
from paraclip.cli import parse
from paraclip.errors import UserError
from paraclip.tables import markdown

IMPORTED = (
    "open_clip", "paraclip.api", "paraclip.evaluation.run", "paraclip.paraphrase.run",
    "paraclip.training.train", "PIL.PngImagePlugin", "pyarrow.parquet",
)  # fmt: skip
"""Modules that the forks need; not LanceDB, because its threads do not survive a fork."""
OUTCOMES = ("clear error", "accepted", "traceback", "hang", "file lost")
MEMORY = 6 << 30  # maximum data size of one input in bytes
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Outcome:
    """Outcome of one input: its case, the kind (of OUTCOMES), the error's last line, seconds."""

    area: str
    name: str
    kind: str
    detail: str
    seconds: float


@dataclass(frozen=True)
class Running:
    """A running case, with its process, folder and start time."""

    case: Case
    child: ForkProcess
    folder: Path
    began: float


def main() -> None:
    """Run all cases; print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="*", help="pattern of areas; the table is not kept")
    parser.add_argument("--every", type=int, default=1, help="only every n-th input")
    parser.add_argument("--seconds", type=float, default=40.0, help="limit of one input")
    parser.add_argument("--workers", type=int, default=3, help="inputs at once")
    parser.add_argument("--show", action="store_true", help="print every input with its outcome")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    prepare()
    with tempfile.TemporaryDirectory(prefix="paraclip-bad-") as scratch:
        outcomes = attack_all(Path(scratch), options)
    found = [{**asdict(one), "seconds": round(one.seconds, 1)} for one in outcomes]
    if options.only != "*":
        print(table_of({"outcomes": found}))
        return
    totals = {kind: sum(one.kind == kind for one in outcomes) for kind in OUTCOMES}
    keep("bad_inputs", options.out, table_of, totals=totals, outcomes=found)


def prepare() -> None:
    """Import once what every fork needs, and stop threads before forking."""
    torch.set_num_threads(1)
    os.environ |= {"PARACLIP_QUIET": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    for module in IMPORTED:
        importlib.import_module(module)
    parse(["export", "model", "out"])  # fills the parser's caches
    gc.collect()
    gc.freeze()  # a collection in a fork would copy all of this


def attack_all(scratch: Path, options: argparse.Namespace) -> list[Outcome]:
    """Every outcome, in the order of the cases, and one for the inputs that all cases share."""
    os.environ["PARACLIP_CACHE"] = str(scratch / "cache")
    sound = scratch / "sound"
    in_child(lambda: write_sound(sound))
    before = snapshot(sound)
    cases = [case for case in all_cases(sound) if fnmatch.fnmatch(case.area, options.only)]
    chosen = cases[:: options.every]
    outcomes = []
    for outcome in attack(chosen, scratch, options.seconds, options.workers):
        outcomes.append(outcome)
        if options.show or outcome.kind in OUTCOMES[2:]:
            say(f"{outcome.kind}: {outcome.area}: {outcome.name}: {outcome.detail}")
    order = {(case.area, case.name): number for number, case in enumerate(chosen)}
    outcomes.sort(key=lambda outcome: order[outcome.area, outcome.name])
    lost = lost_files(before, snapshot(sound), ("index/*",))
    kind = "file lost" if lost else "accepted"
    return [*outcomes, Outcome("inputs that cases share", "all", kind, ", ".join(lost)[:300], 0.0)]


def in_child(work: Callable[[], object]) -> None:
    """Run a function in a separate process, whose threads end with it."""
    child = FORK.Process(target=work)
    child.start()
    child.join()
    if child.exitcode:
        raise SystemExit("the sound inputs could not be made")


def attack(cases: Sequence[Case], scratch: Path, seconds: float, workers: int) -> Iterator[Outcome]:
    """Run the cases, a few at a time."""
    waiting, running = deque(enumerate(cases)), []
    while waiting or running:
        while waiting and len(running) < workers:
            number, case = waiting.popleft()
            folder = scratch / str(number) / "folder"
            folder.mkdir(parents=True)
            child = FORK.Process(target=run_case, args=(case, folder))
            child.start()
            running.append(Running(case, child, folder, time.monotonic()))
        wait([one.child.sentinel for one in running], timeout=0.2)
        for one in list(running):
            taken = time.monotonic() - one.began
            if one.child.exitcode is not None or taken > seconds:
                running.remove(one)
                yield finish(one, taken)


def run_case(case: Case, folder: Path) -> None:
    """In the child: write the inputs, run the case, exit with the code of the command line."""
    os.setpgid(0, 0)
    errors = os.open(folder.with_name("errors.txt"), os.O_WRONLY | os.O_CREAT)
    silence = os.open(os.devnull, os.O_RDWR)
    for descriptor, stream in ((silence, 0), (silence, 1), (errors, 2)):
        os.dup2(descriptor, stream)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    faulthandler.enable()
    os.chdir(folder)
    code = 1
    try:
        action = case.make(folder)
        folder.with_name("before.json").write_text(json.dumps(snapshot(folder)))
        code = (action() if callable(action) else paraclip(*action)) or 0
    except UserError as error:
        print(f"paraclip: {error}", file=sys.stderr)
        code = 2
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)


def snapshot(folder: Path) -> dict[str, str]:
    """What is in a folder: the hash of each file, the target of each link, the kind of the rest."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            shown = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            shown = os.readlink(path) if stat.S_ISLNK(mode) else str(stat.S_IFMT(mode))
        found[str(path.relative_to(folder))] = shown
    return found


def lost_files(
    before: Mapping[str, str], after: Mapping[str, str], may_change: Sequence[str]
) -> list[str]:
    """Names that changed or vanished, except those that fit a pattern of `may_change`."""
    changed = [name for name, shown in before.items() if after.get(name) != shown]
    return [n for n in changed if not any(fnmatch.fnmatch(n, one) for one in may_change)]


def finish(one: Running, taken: float) -> Outcome:
    """The outcome of a case; ends its process and all child processes."""
    hung = one.child.exitcode is None
    with suppress(ProcessLookupError):
        os.killpg(one.child.pid, signal.SIGKILL)
    one.child.join()
    stderr, before = one.folder.with_name("errors.txt"), one.folder.with_name("before.json")
    errors = stderr.read_text("utf-8", "replace") if stderr.is_file() else ""
    lost = []
    if before.is_file():
        was = json.loads(before.read_text())
        lost = lost_files(was, snapshot(one.folder), one.case.may_change)
    for folder in (one.folder, one.folder.parents[1], tempfile.gettempdir()):
        errors = errors.replace(f"{folder}/", "")
    kind = "hang" if hung else kind_of(one.child.exitcode, errors)
    if lost and kind in ("clear error", "accepted"):
        kind, errors = "file lost", ", ".join(lost)
    shutil.rmtree(one.folder.parent, ignore_errors=True)
    lines = errors.strip().splitlines()
    return Outcome(one.case.area, one.case.name, kind, lines[-1][:300] if lines else "", taken)


def kind_of(code: int | None, errors: str) -> str:
    """The outcome by exit code and standard error; an error without a message counts as a bug."""
    if "Traceback (most recent call last)" in errors or code not in (0, 2):
        return "traceback"
    if code == 2:
        return "clear error" if errors.strip() else "traceback"
    return "accepted"


def table_of(record: Mapping[str, Any]) -> str:
    """The table by area."""
    areas = {one["area"]: "" for one in record["outcomes"]}
    counted = Counter((one["area"], one["kind"]) for one in record["outcomes"])
    counted += Counter(("all", one["kind"]) for one in record["outcomes"])
    rows = [[area, *(str(counted[area, kind]) for kind in OUTCOMES)] for area in [*areas, "all"]]
    heads = ("clear errors", "accepted", "tracebacks", "hangs", "files lost")
    return markdown(["inputs", *heads], rows)


if __name__ == "__main__":
    main()
