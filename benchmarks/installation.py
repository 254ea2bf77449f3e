"""How many packages and megabytes each extra installs, and which packages are the largest.

    python -m benchmarks.installation                                        # about two minutes

Nothing is installed: pip says which packages it would install, and the sizes are those of the same
packages in this environment, with Python's compiled files.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.machine import RESULTS, facts_of, keep
from paraclip.tables import markdown

ROOT = Path(__file__).parents[1]
EXTRAS = ("all", "llm", "plots", "offline")
LARGEST = 8
"""Packages that are listed."""


def resolved() -> dict[str, Any]:
    """Metadata of the packages that pip would install with all extras, by name."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    source = f"{ROOT}[{','.join(EXTRAS)}]"
    done = subprocess.run(
        [*command, "--report", "-", source], capture_output=True, text=True, check=True
    )
    listed = [one["metadata"] for one in json.loads(done.stdout)["install"]]
    return {canonicalize_name(one["name"]): one for one in listed}


def installed(metadata: Mapping[str, Any], extra: str) -> set[str]:
    """ParaCLIP with an extra, and all packages that it requires."""
    found, left = set[tuple[str, str]](), [("paraclip", extra), ("paraclip", "")]
    while left:
        name, wanted = left.pop()
        if name not in metadata or (name, wanted) in found:
            continue
        found.add((name, wanted))
        for line in metadata[name].get("requires_dist", ()):
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": wanted}):
                other = canonicalize_name(needed.name)
                left += [(other, one) for one in ("", *needed.extras)]
    return {name for name, _ in found}


def megabytes(name: str) -> float:
    """Size of an installed package's files."""
    files = map(Path, (str(one.locate()) for one in distribution(name).files or ()))
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    metadata = resolved()
    sets = {extra: installed(metadata, extra) for extra in ("", *EXTRAS)}
    sizes = {name: megabytes(name) for name in set[str]().union(*sets.values())}
    rows = {
        extra: [len(names), sum(map(sizes.__getitem__, names))] for extra, names in sets.items()
    }
    largest = sorted(sets["all"], key=sizes.__getitem__, reverse=True)[:LARGEST]
    packages = [[name, sizes[name], name in sets[""]] for name in largest]
    keep("installation", options.out, as_table, rows=rows, packages=packages, facts=facts_of())


def as_table(record: dict[str, Any]) -> str:
    """Packages and megabytes of each extra, and of the largest packages."""
    labels = {"": "no extra"}
    rows = [
        [labels.get(extra, f"`{extra}`"), str(count), f"{size:,.0f}"]
        for extra, (count, size) in record["rows"].items()
    ]
    largest = [
        [f"`{name}`", "" if required else "`all`", f"{size:,.0f}"]
        for name, size, required in record["packages"]
    ]
    first = markdown(["", "packages", "MB"], rows)
    return f"{first}\n\n{markdown(['largest', 'only with', 'MB'], largest)}\n\n{record['facts']}"


if __name__ == "__main__":
    main()
