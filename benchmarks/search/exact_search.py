"""Time and memory of exact search: 5,000 pairs of wordings over a million cached vectors.

    python -m benchmarks.search.exact_search    # about 4 minutes on 2 free cores; 2 GiB of disk

Three things are measured, each in a separate process, on the same synthetic vectors: the bare
product of the two matrices, block by block, with discarded scores (no exact search on this machine
can be faster); `top_k` with k = 10; and what `paraclip evaluate --pool vectors.npy` does with the
vectors: check them, rank 50 results of both wordings, compute AO, JS, RBO and the share of first
results that change. The vectors are in a cone and in clusters, like CLIP's, and the second wording
of a query is close to the first. Some queries are ranked again by sorting all their scores.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from benchmarks.machine import CPU, RESULTS, facts_of, keep, markdown, peak_memory
from paraclip.evaluation.benchmarks.paraphrased_retrieval import RBO_DEPTH, ParaphrasedRetrieval
from paraclip.evaluation.pairs import Pairs
from paraclip.evaluation.pictures import read_pool
from paraclip.exact_search import top_k

CHUNK = 100_000  # vectors made at a time
CLUSTERS = 20_000
CHECKED = 50  # queries that are ranked again by sorting all scores
PRODUCT, SEARCH, WHOLE = "matrix product alone", "top_k, k = 10", "whole evaluation"


def make_vectors(folder: Path, pool: int, pairs: int, width: int) -> None:
    """Write pool.npy [pool, width] and queries.npy [2 x pairs, width], unit vectors float32."""
    random = torch.Generator().manual_seed(0)
    centre = torch.randn(width, generator=random)
    clusters = torch.randn(CLUSTERS, width, generator=random)

    def some(rows: int) -> torch.Tensor:
        own = torch.randn(rows, width, generator=random)
        chosen = torch.randint(0, CLUSTERS, (rows,), generator=random)
        return normalize(centre + clusters[chosen] + own, dim=1)

    written = np.lib.format.open_memmap(folder / "pool.npy", "w+", np.float32, (pool, width))
    for start in range(0, pool, CHUNK):
        part = written[start : start + CHUNK]
        part[:] = some(len(part)).numpy()
    written.flush()
    first = some(pairs)
    second = normalize(first + 0.5 * normalize(torch.randn(first.shape, generator=random)), dim=1)
    np.save(folder / "queries.npy", torch.cat([first, second]).numpy())


def product(queries: np.ndarray, folder: Path) -> dict[str, Any]:
    """The lower bound: every score is computed and discarded."""
    pool = np.load(folder / "pool.npy", mmap_mode="r")
    wanted = torch.from_numpy(queries)
    for start in range(0, len(pool), 4096):
        vectors = torch.from_numpy(np.array(pool[start : start + 4096]))
        for row in range(0, len(wanted), 1024):
            wanted[row : row + 1024] @ vectors.T
    return {}


def search(queries: np.ndarray, folder: Path) -> dict[str, Any]:
    """Run `top_k` alone; its result is kept for the check."""
    found = top_k(queries, np.load(folder / "pool.npy", mmap_mode="r"), 10)
    np.save(folder / "found.npy", found)
    return {}


def checked(folder: Path) -> dict[str, int]:
    """Number of checked queries, and how many were ranked as by sorting all scores."""
    queries, pool = np.load(folder / "queries.npy"), np.load(folder / "pool.npy", mmap_mode="r")
    found = np.load(folder / "found.npy")
    rows = np.linspace(0, len(queries) - 1, min(CHECKED, len(queries)), dtype=int)
    same = [found[row].tolist() == sorted_all(queries[row], pool) for row in rows]
    return {"checked": len(same), "same": sum(same)}


def sorted_all(query: np.ndarray, pool: np.ndarray) -> list[int]:
    """The first ten by sorting all scores in float64, ties by position."""
    wide = query.astype(np.float64)
    parts = [pool[start : start + CHUNK] @ wide for start in range(0, len(pool), CHUNK)]
    scores = np.concatenate(parts)
    near = np.flatnonzero(scores >= np.partition(scores, -10)[-10])
    return near[np.argsort(-scores[near], kind="stable")][:10].tolist()


def whole(queries: np.ndarray, folder: Path) -> dict[str, Any]:
    """From the file of vectors to the metrics."""
    count = len(queries) // 2
    texts = tuple(map(str, range(count)))
    pool = read_pool(folder / "pool.npy")
    benchmark = ParaphrasedRetrieval(Pairs("made up", texts, texts, texts, "-"), pool)
    ranked = top_k(queries, pool.vectors, max(benchmark.k, RBO_DEPTH))
    found = benchmark.found(ranked[:count], ranked[count:])
    return {"figures": {metric.name: 100 * metric.value() for metric in found}}


WORK = {PRODUCT: product, SEARCH: search, WHOLE: whole}


def measure_here(name: str, folder: Path, threads: int) -> dict[str, Any]:
    """Run one of the three in this process; return seconds and peak memory.

    The peak (VmHWM) includes the mapped pages of pool.npy, which the system may reclaim.
    """
    torch.set_num_threads(threads)
    queries = np.load(folder / "queries.npy")
    began = time.perf_counter()
    found = WORK[name](queries, folder)
    seconds = time.perf_counter() - began
    return {"what": name, "seconds": seconds, "peak_mib": peak_memory(CPU) / 2**20, **found}


def measure(name: str, folder: Path, threads: int) -> dict[str, Any]:
    """Run one of the three in a separate process."""
    command = [sys.executable, "-m", __spec__.name, "--one", name, "--folder", str(folder)]
    command += ["--threads", str(threads)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def as_table(result: dict[str, Any]) -> str:
    """The result in Markdown."""
    floor = result["rows"][0]["seconds"]
    rows = [
        [
            row["what"], f"{row['seconds']:.1f}", f"{row['seconds'] / floor:.2f}",
            f"{2 * result['pairs'] / row['seconds']:,.0f}", f"{row['peak_mib']:,.0f}",
        ]
        for row in result["rows"]
    ]  # fmt: skip
    check = result["check"]
    facts = (
        f"{result['pairs']:,} pairs ({2 * result['pairs']:,} queries) over {result['pool']:,} "
        f"vectors of {result['width']}. The peak counts the mapped pages of the file of vectors "
        f"({result['file_mib']:,.0f} MiB). {check['same']} of {check['checked']} queries checked "
        f"are ranked as by sorting all. {facts_of(result['threads'])}"
    )
    heads = ("what", "seconds", "times the product", "queries/s", "peak MiB")
    return f"{markdown(heads, rows)}\n\n{facts}"


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=int, default=1_000_000, help="vectors searched")
    parser.add_argument("--pairs", type=int, default=5_000, help="pairs of queries")
    parser.add_argument("--width", type=int, default=512, help="of a vector")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--one", choices=WORK, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser


def main() -> None:
    """Create the vectors, run the three measurements, write and print the table."""
    chosen = parser().parse_args()
    if chosen.one:
        print(json.dumps(measure_here(chosen.one, chosen.folder, chosen.threads)))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_vectors(folder, chosen.pool, chosen.pairs, chosen.width)
        rows = [measure(name, folder, chosen.threads) for name in WORK]
        size, check = (folder / "pool.npy").stat().st_size / 2**20, checked(folder)
    result = {
        "rows": rows, "check": check, "pool": chosen.pool, "pairs": chosen.pairs,
        "width": chosen.width, "threads": chosen.threads, "file_mib": size,
    }  # fmt: skip
    keep("exact_search", chosen.out, as_table(result), **result)


if __name__ == "__main__":
    main()
