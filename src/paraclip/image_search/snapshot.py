"""The vectors and paths of an index in memory-mapped files, for exact search.

A snapshot belongs to one version of a store and is kept in the cache folder, so that the next
search starts without reading the store. Snapshots of other versions are removed.
"""

import random
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from paraclip.arrays import Float
from paraclip.compute.exact_search import nearest_rows
from paraclip.errors import UserError
from paraclip.files import atomic_folder, cache_folder, text_hash
from paraclip.indexes import facts_in_space
from paraclip.store import SHOWN, IndexFacts, Store, existing_facts, not_an_index, vectors_of

VECTORS, ROWS = "vectors.f32", "rows.arrow"
_KINDS = pa.schema([(name, pa.string()) for name in SHOWN[:3]])  # of the rows
_ABANDONED_SECONDS = 3600.0  # age at which an unfinished snapshot is that of a killed process


@dataclass(frozen=True)
class Hit:
    """A result.

    Args:
        id: id of the picture.
        path: path in the index.
        caption: the caption; "" without one.
        score: cosine of query and picture.
        close: whether it is better than what unrelated queries get (see `evaluation.metrics`).
    """

    id: str
    path: str
    caption: str
    score: float
    close: bool = True


@dataclass(frozen=True)
class _Snapshot:
    """Exact search over one version of an index."""

    vectors: Float  # unit vectors float32 [rows, width]
    rows: pa.Table  # columns id, path and caption

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def captions(self) -> pa.ChunkedArray:
        """All captions."""
        return self.rows["caption"]

    def sample(self, count: int) -> list[Hit]:
        """Random pictures, each once, with score 0; fewer if there are not as many."""
        places = random.sample(range(len(self)), min(count, len(self)))
        rows = self.rows.take(pa.array(places, pa.int64())).to_pylist()
        return [Hit(**row, score=0.0) for row in rows]

    def nearest(self, queries: Float, k: int) -> list[list[Hit]]:
        """The first k results of each query [queries, width]."""
        positions, scores = nearest_rows(queries, self.vectors, min(k, len(self.vectors)))
        shown = self.rows.take(pa.array(positions.ravel(), pa.int64()))
        hits = list(map(Hit, *(column.to_pylist() for column in shown), scores.ravel().tolist()))
        count = positions.shape[1]
        return [hits[row * count : (row + 1) * count] for row in range(len(positions))]


@dataclass(frozen=True)
class _LargePool:
    """The same in the store itself, for a table that is too large for memory."""

    store: Store
    facts: IndexFacts
    count: int  # kept, since a server reports it also while the store is unavailable
    captions = None  # not in memory

    def __len__(self) -> int:
        return self.count

    def sample(self, count: int) -> list[Hit]:
        # A store finds no random rows, but those next to random directions.
        shape = count, self.facts.width
        directions = np.random.default_rng().standard_normal(shape).astype(np.float32)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        found = {hit.id: replace(hit, score=0.0) for (hit,) in self.nearest(directions, 1)}
        return list(found.values())

    def nearest(self, queries: Float, k: int) -> list[list[Hit]]:
        ids, scores = self.store.nearest(queries, k)
        wanted = sorted({one for found in ids for one in found})
        by_id = {row["id"]: row for row in self.store.rows(wanted, SHOWN[:3]).to_pylist()}
        facts_in_space(self.store, self.facts.image_space)
        return [
            [
                Hit(**by_id[one], score=float(score))
                for one, score in zip(found, values, strict=True)
                if one in by_id
            ]
            for found, values in zip(ids, scores, strict=True)
        ]


SearchPool = _Snapshot | _LargePool
"""The pictures of an index, as they are searched."""


def open_pool(store: Store) -> tuple[IndexFacts, str, SearchPool]:
    """Facts, version and pool, a snapshot of a small table; raises UserError without an index."""
    existing_facts(store)  # a clear error without an index
    # The version first: what changes meanwhile is of a later one, which is opened next.
    version, facts = store.version(), existing_facts(store)
    # The same from every working folder.
    folder = cache_folder() / "search" / text_hash(str(store.folder.absolute()))
    if (pool := _open_snapshot(folder / version, facts.width)) is not None:
        return facts, version, pool
    shutil.rmtree(folder / version, ignore_errors=True)  # damaged
    if (count := store.count()) >= store.EXACT_BELOW:
        return facts, version, _LargePool(store, facts, count)
    return facts, version, _take_snapshot(store, facts, folder, version)


def _open_snapshot(folder: Path, width: int) -> _Snapshot | None:
    """The snapshot in a folder; None if it is missing or broken."""
    try:
        with pa.memory_map(str(folder / ROWS)) as file:
            rows = pa.ipc.open_file(file).read_all()
        size = width * len(rows)
        # An empty file cannot be mapped.
        numbers = np.memmap(folder / VECTORS, "<f4", "r") if size else np.empty(0, np.float32)
    except (OSError, ValueError, pa.ArrowInvalid):
        return None
    fits = len(numbers) == size and rows.schema.equals(_KINDS)
    return _Snapshot(numbers.reshape(-1, width), rows) if fits else None


def _take_snapshot(store: Store, facts: IndexFacts, folder: Path, version: str) -> _Snapshot:
    """Copy the vectors and paths of a store, and remove snapshots of other versions."""
    rows = [_KINDS.empty_table()]
    try:
        with atomic_folder(folder / version) as new:
            with (new / VECTORS).open("wb") as file:
                for part in store.batches(SHOWN):  # a few thousand rows at a time
                    file.write(vectors_of(part).data)
                    rows.append(part.select(_KINDS.names).cast(_KINDS))
            table = pa.concat_tables(rows)
            with pa.ipc.new_file(str(new / ROWS), _KINDS) as out:
                out.write_table(table.combine_chunks())  # one batch, for fast lookup of rows
    except UserError:
        if not (folder / version).is_dir():  # else another process was faster
            raise
    for other in folder.iterdir():
        with suppress(OSError):  # another process removes it as well
            unfinished = other.name.startswith(".")
            age = time.time() - other.stat().st_mtime
            if other.name != version and (not unfinished or age > _ABANDONED_SECONDS):
                shutil.rmtree(other, ignore_errors=True)
    snapshot = _open_snapshot(folder / version, facts.width)
    if snapshot is None:
        raise not_an_index(folder, "(its snapshot is broken)")
    return snapshot
