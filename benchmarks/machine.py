"""Measurements of the machine, and storage of benchmark results."""

import argparse
import importlib
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from paraclip.files import write_text
from paraclip.provenance import provenance
from paraclip.tables import markdown

RESULTS = Path(__file__).parent / "results"


def parse_with_data(
    options: argparse.ArgumentParser, needed: Callable[[argparse.Namespace], bool] = lambda _: True
) -> argparse.Namespace:
    """Parse the command line with the option `--data`, whose default is PARACLIP_DATA.

    Exits with one line and code 2 if the data is needed, and neither is given or the folder does
    not exist.
    """
    given, meaning = os.environ.get("PARACLIP_DATA"), "research data (default: PARACLIP_DATA)"
    options.add_argument("--data", default=given, metavar="FOLDER", help=meaning)
    chosen = options.parse_args()
    if not needed(chosen):
        return chosen
    if not chosen.data:
        options.error("no research data: give --data FOLDER or set PARACLIP_DATA")
    if not Path(chosen.data).is_dir():
        options.error(f"--data: there is no folder {chosen.data}")
    return chosen


def say(text: str) -> None:
    """Print a line of progress immediately."""
    print(text, flush=True)


@dataclass(frozen=True)
class Taken:
    """Seconds that a piece of work took: wall time, and processor time of all threads.

    Other work on the machine increases the first, but hardly the second.
    """

    wall: float
    work: float


def taken_by(work: Callable[[], Any]) -> Taken:
    """The seconds of a piece of work."""
    began, worked = time.perf_counter(), time.process_time()
    work()
    return Taken(time.perf_counter() - began, time.process_time() - worked)


def load_average() -> float:
    """Average number of runnable processes in the last minute."""
    return os.getloadavg()[0]


def facts_of(threads: int | None = None) -> str:
    """The machine in words, for the line below a table."""
    made = provenance()["machine"]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else made["processor"]
    count = threads or torch.get_num_threads()
    threads_of_cores = f"{count} thread{'s' * (count > 1)} of {made['cores']} cores"
    return f"{device}, {threads_of_cores}, load average {load_average():.1f}."


def from_here(place: str) -> str:
    """A path relative to the working folder, so that results do not depend on the machine."""
    return place.removeprefix(f"{Path.cwd()}/")


def command() -> str:
    """The command of this process, as one runs it from the repository's root."""
    module = sys.modules["__main__"].__spec__
    program = ["-m", module.name] if module else [from_here(sys.argv[0])]
    return shlex.join(["python", *program, *map(from_here, sys.argv[1:])])


def keep(name: str, folder: Path, render: Callable[[dict[str, Any]], Any], **found: Any) -> None:
    """Write all results as `name`.json, and the tables that are rendered from it; print them.

    Args:
        name: of the files.
        folder: where they are written.
        render: makes Markdown of the record, as it is read from JSON: a table, or several by what
            is added to the name. The record names this function, which must be a module's.
        found: the results.
    """
    module = render.__module__
    if module == "__main__" and (spec := sys.modules[module].__spec__):
        module = spec.name
    made = {"load_average": load_average(), **provenance(), "command": command()}
    record = {**made, **found, "renderer": f"{module}:{render.__name__}"}
    text = json.dumps(record, indent=1) + "\n"
    write_text(folder / f"{name}.json", text)
    for title, table in rendered(name, json.loads(text)).items():
        write_text(folder / f"{title}.md", table + "\n")
        print(table)


def rendered(name: str, record: Mapping[str, Any]) -> dict[str, str]:
    """The tables of a stored record by their names, each with the date of its figures."""
    module, _, function = record["renderer"].partition(":")
    found = getattr(importlib.import_module(module), function)({**record, "name": name})
    tables = found if isinstance(found, dict) else {name: found}
    if "time" in record:
        day = datetime.fromisoformat(record["time"])
        date = f"\n\nMeasured on {day.day} {day:%B %Y}."
        tables = {title: text + date * ("|---" in text) for title, text in tables.items()}
    return {title: text.strip() for title, text in tables.items()}


def from_cells(record: Mapping[str, Any]) -> str:
    """The tables and texts between them that a record holds, cell by cell."""
    return "\n\n".join(
        part if isinstance(part, str) else markdown(part["heads"], part["rows"])
        for part in record["cells"]
    )
