"""`build_index`: bring an index up to date with its source.

Rows in the table are final: a killed run loses only the rows since the last write. Rows of moved
and copied pictures are copied, not computed again.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import torch

from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import IMAGES_AT_ONCE, PREPROCESSORS, ahead, batches, embed, project
from paraclip.progress import bar
from paraclip.search.indexing.changes import Changes, changes
from paraclip.search.indexing.pictures import Read, Reader
from paraclip.search.indexing.sources import Found, Source, no_pictures
from paraclip.search.records import IndexFacts, picture_id, schema
from paraclip.search.stores.store import ROWS_AT_ONCE, Store

WRITE_ROWS = 4096
WRITE_SECONDS = 30.0  # maximum time between writes


@dataclass
class Summary:
    """Number of pictures by what the run did with them."""

    added: int = 0
    changed: int = 0
    moved: int = 0
    copied: int = 0
    removed: int = 0
    unchanged: int = 0
    broken: int = 0
    total: int = 0
    seconds: float = 0.0
    embedded: int = 0
    recall: float | None = None

    def used(self) -> int:
        """Number of pictures that were read and are in the index."""
        return self.added + self.changed + self.moved + self.copied + self.unchanged

    def lines(self) -> str:
        """The counts as text."""
        names = ("added", "changed", "moved", "copied", "removed", "unchanged", "broken")
        counts = [f"{getattr(self, name):,} {name}" for name in names if getattr(self, name)]
        text = f"{self.total:,} pictures in the index: {', '.join(counts) or 'nothing to do'}."
        if self.embedded:
            rate = self.embedded / max(self.seconds, 1e-9)
            text += f" {self.embedded:,} embedded in {self.seconds:,.1f} s ({rate:,.1f} a second)."
        return text


@dataclass
class Builder:
    """A run that updates one store.

    Args:
        model: model whose image tower is used.
        store: store, locked for writing.
        problems: lists broken pictures.
        precision: fp32 or bf16.
    """

    model: DualEncoder
    store: Store
    problems: Problems
    precision: str = "fp32"
    summary: Summary = field(default_factory=Summary)
    stale: list[str] = field(default_factory=list)  # ids of rows whose picture is now broken
    infinite: int = 0  # number of vectors that are not finite

    def run(self, source: Source, facts: IndexFacts) -> Summary:
        """Update the store, in which the facts are saved if it is new.

        Raises:
            UserError: the source contains no pictures that can be used or cannot be read (then the
                index stays as it is), or the disk is full.
        """
        began = time.monotonic()
        state = self.store.state() if self.store.facts() else schema(facts.width).empty_table()
        work = changes(source.pictures(self.problems), state)
        if not work.present:
            raise no_pictures(source.name, self.problems)
        self.store.save_facts(facts)
        gone = set(work.gone())
        self.read_all(work)
        if not work.unchanged + self.summary.used():
            raise self.not_finite() if self.infinite else no_pictures(source.name, self.problems)
        self.store.remove(sorted({*gone, *self.stale}))
        self.summary.removed = len(gone) - self.summary.moved
        self.summary.unchanged += work.unchanged
        self.summary.total = self.store.count()
        self.summary.seconds = time.monotonic() - began
        return self.summary

    def not_finite(self) -> UserError:
        """The error for a model that gives no usable vector."""
        what = f"its vectors of all {self.infinite:,} pictures are NaN or infinite"
        return UserError(self.model.architecture.name, what, "Check its weights and --precision.")

    def read_all(self, work: Changes) -> None:
        """Read, embed and write."""
        results = self.results(work)
        done = work.unchanged
        with bar("indexing", done + len(work.to_read), "picture", done=done) as progress:

            def good() -> Iterator[Read]:
                for found, result in results:
                    if isinstance(result, UserError):
                        self.reject(found, result.what, work)
                    else:
                        yield result
                    progress.update()

            for rows in self.written_together(self.rows(good(), work)):
                self.store.put(rows)

    def reject(self, found: Found, what: str, work: Changes) -> None:
        """Count a picture as broken; the row that it may have is removed at the end."""
        self.problems.add(found.path, what)
        self.summary.broken += 1
        if row := work.known.get(found.path):
            self.stale.append(row)

    def results(self, work: Changes) -> Iterator[tuple[Found, Read | UserError]]:
        """New and changed pictures, with the result of reading them."""
        reader = Reader(self.model.preprocess, self.model.image_size, work.by_hash)
        yield from ahead(reader.read, work.to_read, PREPROCESSORS, 3 * IMAGES_AT_ONCE)

    def rows(self, pictures: Iterator[Read], work: Changes) -> Iterator[pa.Table]:
        """Rows of pictures, in batches of the image tower."""
        gone = Counter(one for path, one in work.hashes.items() if path not in work.present)
        for batch in batches(pictures, IMAGES_AT_ONCE):
            if new := [one for one in batch if one.row is None]:
                yield self.embedded(new, self.vectors(new), work)
            if stored := [one for one in batch if one.row is not None]:
                known, overwritten, copies = self.copies(stored)
                self.count(known, work, gone)
                yield copies
                if again := self.read_again(overwritten, work):
                    yield self.embedded(again, vectors_of(self.model, again, self.precision), work)

    def count(self, pictures: list[Read], work: Changes, gone: Counter[str]) -> None:
        """Count pictures whose content was in the index.

        Args:
            pictures: the pictures.
            work: hashes of the files in the index.
            gone: hashes of the files that are no longer in the source; moved ones are taken out.
        """
        for one in pictures:
            if work.hashes.get(one.found.path) == one.hash:
                self.summary.unchanged += 1
            elif gone[one.hash]:
                gone[one.hash] -= 1
                self.summary.moved += 1
            else:
                self.summary.copied += 1

    def embedded(self, pictures: list[Read], vectors: np.ndarray, work: Changes) -> pa.Table:
        """Rows of pictures with new vectors float32 [pictures, width], if these are finite."""
        finite = np.isfinite(vectors).all(1)
        kept = [one for one, good in zip(pictures, finite, strict=True) if good]
        for one in (one for one, good in zip(pictures, finite, strict=True) if not good):
            self.infinite += 1
            self.reject(one.found, "its vector is NaN or infinite", work)
        if self.infinite >= IMAGES_AT_ONCE and not work.unchanged + self.summary.used() + len(kept):
            raise self.not_finite()  # a broken model: not only after hours
        changed = sum(one.found.path in work.known for one in kept)
        self.summary.changed += changed
        self.summary.added += len(kept) - changed
        self.summary.embedded += len(kept)
        return table(kept, vectors[finite])

    def vectors(self, pictures: list[Read]) -> np.ndarray:
        """Unit vectors float32 [pictures, width]."""
        return vectors_of(self.model, pictures, self.precision)

    def copies(self, pictures: list[Read]) -> tuple[list[Read], list[Read], pa.Table]:
        """Copy the rows of pictures whose content was in the index when the run began.

        Returns:
            The pictures whose row still has their content, the others, whose row this run has
            overwritten (pictures that exchanged their names), and the rows of the first.
        """
        rows = self.store.rows([str(one.row) for one in pictures])
        stored = zip(rows["id"].to_pylist(), rows["hash"].to_pylist(), strict=True)
        place = {key: number for number, key in enumerate(stored)}
        known = [one for one in pictures if (one.row, one.hash) in place]
        overwritten = [one for one in pictures if (one.row, one.hash) not in place]
        places = [place[str(one.row), one.hash] for one in known]
        old = rows.take(pa.array(places, pa.int64()))  # typed, since it may be empty
        width = rows.schema.field("vector").type.list_size
        vectors = np.asarray(old["vector"].combine_chunks().flatten()).reshape(-1, width)
        return known, overwritten, table(known, vectors, old["thumbnail"].to_pylist())

    def read_again(self, pictures: list[Read], work: Changes) -> list[Read]:
        """The pictures with their pixels."""
        reader = Reader(self.model.preprocess, self.model.image_size, {})
        results = [(one.found, reader.read(one.found)) for one in pictures]
        for found, result in results:
            if isinstance(result, UserError):
                self.reject(found, result.what, work)
        return [result for _, result in results if isinstance(result, Read)]

    def written_together(self, parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Combine the rows into large tables, because LanceDB writes a file for each."""
        waiting: list[pa.Table] = []
        began = time.monotonic()
        for part in parts:
            waiting.append(part)
            full = sum(map(len, waiting)) >= WRITE_ROWS
            if full or time.monotonic() - began > WRITE_SECONDS:
                yield pa.concat_tables(waiting)
                waiting, began = [], time.monotonic()
        if waiting:
            yield pa.concat_tables(waiting)


def vectors_of(model: DualEncoder, pictures: list[Read], precision: str) -> np.ndarray:
    """Unit vectors float32 [pictures, width]."""
    pixels = torch.stack([one.pixels for one in pictures])
    vectors: np.ndarray = project(model, embed(model, pixels, precision)).numpy()
    return vectors


def table(
    pictures: list[Read], vectors: np.ndarray, thumbnails: list[bytes] | None = None
) -> pa.Table:
    """Rows of `records.schema`.

    Args:
        pictures: pictures that were read.
        vectors: float32 [pictures, width].
        thumbnails: thumbnails of pictures that were not decoded.
    """
    entries: list[Found] = [one.found for one in pictures]
    width = vectors.shape[1]
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    now = datetime.now(UTC)
    columns = {
        "id": [picture_id(one.path) for one in entries],
        "path": [one.path for one in entries],
        "size": [one.size for one in entries],
        "modified": [one.modified for one in entries],
        "hash": [one.hash for one in pictures],
        "caption": [one.caption for one in entries],
        "thumbnail": thumbnails or [one.thumbnail for one in pictures],
        "time": [now] * len(entries),
        "vector": pa.FixedSizeListArray.from_arrays(flat, width),
    }
    return pa.table(columns, schema=schema(width))


def recall_at_10(store: Store, queries: int = 100) -> float:
    """Share of the exact first ten results that the store's approximate index returns.

    The queries are vectors of the index, each mixed with another one: like a query in words, such a
    vector is close to several pictures and equal to none.
    """
    sample = pa.concat_tables(_first(store.batches(("vector",)), 2 * queries))
    width = sample.schema.field("vector").type.list_size
    vectors = np.asarray(sample["vector"].combine_chunks().flatten()).reshape(-1, width)
    half = len(vectors) // 2
    if not half:  # a single picture
        return 1.0
    mixed = vectors[:half] + vectors[half : 2 * half]
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    exact, _ = store.nearest(mixed, 10, exact=True)
    found, _ = store.nearest(mixed, 10)
    shared = sum(len({*one} & {*other}) for one, other in zip(exact, found, strict=True))
    return shared / max(sum(map(len, exact)), 1)


def _first(tables: Iterator[pa.Table], most: int) -> list[pa.Table]:
    """Tables with the first `most` rows in total."""
    kept: list[pa.Table] = []
    for part in tables:
        kept.append(part.slice(0, most - sum(map(len, kept))))
        if sum(map(len, kept)) >= most:
            break
    return kept


__all__ = ["ROWS_AT_ONCE", "Builder", "Summary", "recall_at_10"]
