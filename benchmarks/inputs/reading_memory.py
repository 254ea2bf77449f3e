"""Peak memory and speed of reading 10 thousand and 1 million captions, on Linux.

    python -m benchmarks.inputs.reading_memory

Writes synthetic captions to a temporary folder: CSV, JSONL and Parquet without ids (the row number
is used) and JSONL with ids, whose check for duplicates needs memory.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.machine import RESULTS, facts_of, keep, markdown, say

SIZES = (10_000, 1_000_000)
KINDS = ("captions.csv", "captions.jsonl", "captions.parquet", "ids.jsonl")
# Linux keeps a parent's peak in `ru_maxrss` across exec; VmHWM is reset.
READ = """
import json, sys, time
from paraclip.data.reading import read_captions
start = time.perf_counter()
rows = sum(1 for _ in read_captions(sys.argv[1]))
seconds = time.perf_counter() - start
status = open("/proc/self/status").read()
peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps({"rows": rows, "seconds": seconds, "peak_mib": peak}))
"""


def made_up(rows: int) -> Iterator[dict[str, str]]:
    """Captions about as long as those on the web."""
    for row in range(rows):
        text = f"A photo of {row % 97} red kites over the harbour wall at dusk, number {row}"
        yield {"caption": text, "page": f"https://example.org/{row}"}


def write(path: Path, rows: int) -> None:
    """Write a captions file in the format of its suffix."""
    if path.suffix == ".parquet":
        write_parquet(path, rows)
        return
    with path.open("w", encoding="utf-8", newline="") as out:
        if path.suffix == ".csv":
            table = csv.DictWriter(out, ["caption", "page"])
            table.writeheader()
            table.writerows(made_up(rows))
            return
        for number, row in enumerate(made_up(rows)):
            named = {"id": f"photo-{number:09d}", **row} if path.stem == "ids" else row
            out.write(json.dumps(named) + "\n")


def write_parquet(path: Path, rows: int) -> None:
    """Write row groups of 100,000, like img2dataset and pandas."""
    schema = pa.schema([("caption", pa.string()), ("page", pa.string())])
    source = made_up(rows)
    with pq.ParquetWriter(path, schema) as out:
        while part := list(islice(source, 100_000)):
            out.write_table(pa.Table.from_pylist(part, schema=schema))


def measure(path: Path) -> dict[str, float]:
    """Rows, seconds and peak resident MiB of a process that reads the file once."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def main() -> None:
    """Measure every format at every size; write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    out = parser.parse_args().out
    results = []
    for kind in KINDS:
        for rows in SIZES:
            say(f"{kind}: {rows:,} rows")
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / kind
                write(path, rows)
                results.append({"file": kind, **measure(path)})
    keep("reading_memory", out, as_table, results=results, facts=facts_of(1))


def as_table(record: dict[str, Any]) -> str:
    """A row for each file."""
    lines = [
        [
            found["file"], f"{found['rows']:,}", f"{found['peak_mib']:.0f}",
            f"{found['rows'] / found['seconds']:,.0f}",
        ]
        for found in record["results"]
    ]  # fmt: skip
    table = markdown(["file", "rows", "peak MiB", "rows/s"], lines)
    return f"{table}\n\n{record['facts']}"


if __name__ == "__main__":
    main()
