"""Latency and memory of `paraclip serve` over 100,000 vectors, compared with a matrix product.

    python -m benchmarks.search.speed            # about 3 minutes on 2 free cores

A server in a separate process responds over HTTP from a LanceDB index of synthetic vectors of 512.
32 clients on the same machine request ten results: without a pause, and with half a second between
two requests, like people who type. The server knows the queries, so no text encoder runs. For
comparison, one query at a time in this process: the product of numpy with the selection of ten, and
LanceDB's own search; and in a separate environment (`make targets`), rclip's search over its own
database, also without the text encoder. clip-retrieval's back end is not included, because its pins
of numpy and pyarrow have no wheels for current Pythons. Below the table is the time from the start
of `paraclip search` with `mini` to its end, in separate processes with a warm cache. Other work on
the machine slows all of it down.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from PIL import Image

from benchmarks.export.loaders import environments
from benchmarks.generation.watching import worked
from benchmarks.machine import RESULTS, facts_of, keep, say
from paraclip.compute.exact_search import nearest_rows
from paraclip.store import IndexFacts, Store, picture_id, schema
from paraclip.tables import markdown

QUERIES = 2_000
CLUSTERS = 2_000
AT_ONCE = 20_000
STARTS = 9
OF_RCLIP = 20  # number of queries: each reads its whole database
RCLIP = Path(environments.__file__).with_name("search_rclip.py")


class CannedTower:
    """A text tower that looks up vectors: the number in a query is the row."""

    image_space = "made-up"

    def __init__(self, name: str, vectors: np.ndarray) -> None:
        self.name, self.vectors = name, vectors

    def embed(self, texts: list[str]) -> np.ndarray:
        """Rows of the matrix."""
        return self.vectors[[int(text.split()[-1]) for text in texts]]


def unit_vectors(rows: int, width: int, seed: int) -> np.ndarray:
    """Unit vectors [rows, width] in a cone and in clusters, like CLIP's."""
    centres = np.random.default_rng(0).standard_normal((CLUSTERS, width)).astype(np.float32) + 1
    random = np.random.default_rng(seed)
    made = centres[random.integers(0, CLUSTERS, rows)]
    made = made + random.standard_normal((rows, width)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def make_store(address: str, rows: int, width: int) -> Store:
    """An index of synthetic vectors."""
    store = Store(address)
    store.save_facts(IndexFacts("made-up", width, "/made-up", "", {"base": "canned"}))
    for start in range(0, rows, AT_ONCE):
        paths = [f"folder/{number}.jpg" for number in range(start, min(start + AT_ONCE, rows))]
        count = len(paths)
        vectors = unit_vectors(count, width, 1 + start)
        flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width)
        columns = {
            "id": list(map(picture_id, paths)), "path": paths, "size": [1] * count,
            "modified": [1] * count, "hash": [""] * count, "caption": ["a made-up picture"] * count,
            "thumbnail": [b"x"] * count, "time": [datetime.now(UTC)] * count, "vector": flat,
        }  # fmt: skip
        store.put(pa.table(columns, schema=schema(width)))
    store.finish()
    return store


def serve(address: str, width: int) -> None:
    """Serve the index with the canned tower until killed; prints the port."""
    from paraclip.image_search.serving.server import ServerLimits, listen, make_server
    from paraclip.image_search.serving.service import Service, Version
    from paraclip.image_search.snapshot import open_pool

    store = Store(address)
    towers = {"base": CannedTower("canned", unit_vectors(QUERIES, width, 0))}
    service = Service(store, Version(*open_pool(store), {"base": 0.5}), towers)
    listener = listen("127.0.0.1", 0)
    print(listener.getsockname()[1], flush=True)
    make_server(service, ServerLimits()).run([listener])


async def client(port: int, number: int, pause: float, end: float, taken: list[float]) -> None:
    """Send one request after the other on one connection until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    random = np.random.default_rng(number)
    await asyncio.sleep(pause * random.random())
    while time.perf_counter() < end:
        query = quote(f"query {random.integers(QUERIES)}")
        began = time.perf_counter()
        writer.write(f"GET /api/search?q={query}&k=10 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        assert head.startswith(b"HTTP/1.1 200"), head
        taken.append(time.perf_counter() - began)
        if pause:
            await asyncio.sleep(pause * (0.5 + random.random()))
    writer.close()


async def load(port: int, clients: int, pause: float, seconds: float) -> list[float]:
    """Seconds of each response to a number of clients."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    await asyncio.gather(*(client(port, one, pause, end, taken) for one in range(clients)))
    return taken


def one_at_a_time(work: Callable[[np.ndarray], Any], queries: np.ndarray) -> list[float]:
    """Seconds of each query."""
    work(queries[:1])
    taken = []
    for number in range(len(queries)):
        began = time.perf_counter()
        work(queries[number : number + 1])
        taken.append(time.perf_counter() - began)
    return taken


def bare(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Search as a simple script would."""
    scores = vectors @ query[0]
    best = np.argpartition(scores, -10)[-10:]
    return best[np.argsort(-scores[best])]


def figures(name: str, taken: list[float], seconds: float | None, memory: int | None) -> list[str]:
    """A row of the table."""
    p50, p99 = (1000 * float(np.percentile(taken, share)) for share in (50, 99))
    rate = len(taken) / (seconds if seconds is not None else sum(taken))
    shown = "" if memory is None else f"{memory / 2**20:,.0f}"
    return [name, f"{rate:,.0f}", f"{p50:.1f}", f"{p99:.1f}", shown]


def resident(process: int) -> int:
    """Resident bytes of a process."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def over_http(address: str, options: argparse.Namespace) -> list[list[str]]:
    """Rows of the server under both loads, including its memory."""
    command = [sys.executable, "-m", __spec__.name]
    command += ["--serve", address, "--width", str(options.width)]
    rows = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            asyncio.run(load(port, options.clients, 0.0, options.seconds / 3))  # fill its cache
            for label, pause in (("without a pause", 0.0), ("half a second apart", 0.5)):
                say(f"{options.clients} clients {label}")
                began, before = time.perf_counter(), worked(process.pid)
                taken = asyncio.run(load(port, options.clients, pause, options.seconds))
                seconds = time.perf_counter() - began
                used = (worked(process.pid) - before) / len(taken)
                name = f"`paraclip serve`, {options.clients} clients {label}"
                row = figures(name, taken, seconds, resident(process.pid))
                rows.append([*row, f"{1000 * used:.2f}"])
        finally:
            process.terminate()
    return rows


def in_process(store: Store, options: argparse.Namespace) -> list[list[str]]:
    """Rows of one query at a time, without HTTP."""
    queries = unit_vectors(options.queries, options.width, 0)
    parts = [
        np.asarray(part["vector"].combine_chunks().flatten()).reshape(-1, options.width)
        for part in store.batches(("vector",))
    ]
    vectors = np.concatenate(parts)
    ways = {
        "bare numpy product and selection, one at a time": lambda query: bare(vectors, query),
        "ParaCLIP's exact search, one at a time": lambda query: nearest_rows(query, vectors, 10),
        "LanceDB's exact search, one at a time": lambda query: store.nearest(query, 10, exact=True),
    }
    rows = []
    for name, way in ways.items():
        say(name)
        worked = time.process_time()
        taken = one_at_a_time(way, queries)
        used = (time.process_time() - worked) / (len(taken) + 1)
        rows.append([*figures(name, taken, None, None), f"{1000 * used:.2f}"])
    return [*rows, *by_rclip(vectors, queries[:OF_RCLIP])]


def by_rclip(vectors: np.ndarray, queries: np.ndarray) -> list[list[str]]:
    """The row of rclip's own search; none without its environment."""
    python = environments.program("rclip3")
    if python is None:
        say("rclip is left out: make targets creates its environment")
        return []
    say("rclip")
    with tempfile.TemporaryDirectory() as place:
        names = [f"{place}/{name}.npy" for name in ("vectors", "queries", "seconds")]
        np.save(names[0], vectors)
        np.save(names[1], queries)
        subprocess.run([python, RCLIP, *names], check=True, env={**os.environ, "PYTHONPATH": ""})
        taken = np.load(names[2]).tolist()
    return [[*figures("rclip 3's search, one at a time", taken, None, None), ""]]


def first_results(folder: Path, starts: int) -> list[float]:
    """Seconds of `paraclip search` from start to end, one process after the other."""
    pictures, store = folder / "pictures", str(folder / "picture_index")
    pictures.mkdir(exist_ok=True)
    for number in range(148):
        Image.new("RGB", (256, 256), (number, 255 - number, 90)).save(pictures / f"{number}.png")
    program = [sys.executable, "-m", "paraclip"]
    quiet = {**os.environ, "PARACLIP_QUIET": "1"}
    command = [*program, "index", str(pictures), "--index", store]
    subprocess.run(command, check=True, env=quiet, stdout=subprocess.DEVNULL)
    taken = []
    for number in range(starts + 1):
        command = [*program, "search", f"{number} red discs", "--index", store, "--k", "1"]
        began = time.perf_counter()
        subprocess.run(command, check=True, env=quiet, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - began)
    return taken[1:]  # the first one copies the vectors


def main() -> None:
    """Measure, print the table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    parser.add_argument("--queries", type=int, default=200, help="one at a time")
    parser.add_argument("--serve", metavar="STORE", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.width)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PARACLIP_CACHE"] = f"{folder}/cache"
        say(f"Making an index of {options.rows:,} vectors")
        store = make_store(f"{folder}/index", options.rows, options.width)
        rows = [*in_process(store, options), *over_http(f"{folder}/index", options)]
        say("The first result of `paraclip search`")
        starts = first_results(Path(folder), STARTS)
    keep("search_speed", options.out, as_table, rows=rows, first_results=starts,
         vectors=options.rows, width=options.width, facts=facts_of(os.cpu_count()))  # fmt: skip


def as_table(record: dict[str, Any]) -> str:
    """A row for each way to search; below it, the first result."""
    heads = ["", "queries/s", "p50 ms", "p99 ms", "resident MiB", "processor ms a query"]
    starts = record["first_results"]
    note = (
        f"{record['vectors']:,} vectors of {record['width']}, ten results. {record['facts']}"
        f" `paraclip search` to its first result: median of {len(starts)} starts"
        f" {np.median(starts):.2f} s, at most {max(starts):.2f} s."
    )
    return f"{markdown(heads, record['rows'])}\n\n{note}"


if __name__ == "__main__":
    main()
