"""`build_index`: bring an index up to date with its source.

Rows in the table are final: a killed run loses only the rows since the last write. Rows of moved
and copied pictures are copied, not computed again.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice

import numpy as np
import pyarrow as pa

from paraclip.arrays import Float
from paraclip.data.captions import Columns, Problems
from paraclip.errors import UserError
from paraclip.image_search.engine import cutoffs_of
from paraclip.image_search.sources import (
    UNKNOWN,
    FoundPicture,
    PictureReader,
    PictureSource,
    ReadPicture,
    ReadResult,
    picture_source,
)
from paraclip.image_search.towers import model_stamp
from paraclip.indexes import check_space
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import (
    IMAGES_AT_ONCE,
    PREPROCESSORS,
    ahead,
    batches,
    encode_texts,
    image_space,
    pixel_vectors,
)
from paraclip.models.loading import load_model
from paraclip.models.sources import absolute_name
from paraclip.progress import bar
from paraclip.provenance import publishable
from paraclip.store import ROWS_AT_ONCE, IndexFacts, Store, picture_id, schema, vectors_of

_WRITE_SECONDS = 30.0  # maximum time between writes
_RECALL_QUERIES = 100
_LEAST_THUMBNAIL = 1000  # bytes of most pictures; usual ones take ten times as many


@dataclass
class IndexSummary:
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
    embedded: int = 0  # by the image tower; copied rows are not
    recall: float | None = None  # recall@10, 0 to 1, of a large index's approximate search
    problems: Problems = field(default_factory=Problems)  # the broken pictures by name

    def lines(self) -> str:
        """The counts, and the broken pictures, as text."""
        names = ("added", "changed", "moved", "copied", "removed", "unchanged", "broken")
        counts = [f"{getattr(self, name):,} {name}" for name in names if getattr(self, name)]
        text = f"{self.total:,} pictures in the index: {', '.join(counts) or 'nothing to do'}."
        if self.embedded:
            rate = self.embedded / max(self.seconds, 1e-9)
            text += f" {self.embedded:,} embedded in {self.seconds:,.1f} s ({rate:,.1f} a second)."
        if self.recall is not None:
            text += f"\nApproximate index: recall@10 is {self.recall:.3f} of exact search."
        return f"{text}\n{self.problems.summary()}".rstrip()


def build_index(
    source: str,
    index: str,
    base: str,
    problems: Problems,
    *,
    tuned: str | None = None,
    columns: Columns = Columns(),  # noqa: B008 frozen
    device: str = "auto",
    precision: str = "fp32",
    rebuild: bool = False,
) -> IndexSummary:
    """Update the index of a source; prints nothing. See `IndexConfig` for the arguments.

    With `rebuild`, the index is built next to the existing one, which it replaces at the end; a
    stopped run with the same options resumes.

    Raises:
        UserError: the source or the index cannot be used, the index belongs to another image tower
            or source, another run is writing, no picture can be used, or the disk is full. Written
            rows are kept.
    """
    pictures, opened = picture_source(source, columns), Store(index)
    opened.check()
    names = {"base": base, **({} if tuned is None else {"tuned": tuned})}
    models = {
        # Only base embeds pictures; the others embed a few texts, for cut-offs.
        label: load_model(name, device if label == "base" else "cpu")
        for label, name in names.items()
    }
    new = _new_facts(pictures, names, models, precision)
    with opened.writing():
        target = opened.staged() if rebuild else opened
        try:
            known = target.facts()
            if known is not None:
                _check_facts(known, new, base, opened.where)
        except UserError:
            if not rebuild:
                raise
            opened.discard_staged()  # of a run with other options, or broken
            known = None
        both = {**known.models, **new.models} if known else new.models
        facts = replace(known or new, source=new.source, models=both)
        summary = _IndexBuilder(models["base"], target, problems, precision).run(pictures, facts)
        changed = summary.unchanged < summary.total or summary.removed
        embed = {model_stamp(facts.models[label]): _embedder(one) for label, one in models.items()}
        if changed or embed.keys() - facts.cutoffs.keys():
            facts = replace(facts, cutoffs=cutoffs_of(target, embed))
        target.save_facts(facts)
        if rebuild:
            opened.publish()
        opened.finish()
        if summary.total >= opened.EXACT_BELOW:
            summary.recall = _recall_at_10(opened)
    problems.check(summary.total + problems.count)
    return replace(summary, problems=problems)


def _embedder(model: DualEncoder) -> Callable[[Sequence[str]], Float]:
    """The function of a model that returns unit vectors of texts."""
    return lambda texts: encode_texts(model, texts).numpy()


def _new_facts(
    source: PictureSource,
    names: Mapping[str, str],
    models: Mapping[str, DualEncoder],
    precision: str,
) -> IndexFacts:
    """Facts of a new index; raises UserError if a model, given by label, cannot be used."""
    name, model = names["base"], models["base"]
    if not model.architecture.reads_pictures:
        what = "has only a text encoder and reads no pictures"
        raise UserError(name, what, "Name another --base.")
    space = image_space(model)
    for label, one in models.items():
        if image_space(one) != space:
            what = f"has another image encoder than {name}"
            raise UserError(names[label], what, "Give the model that it was tuned from as --base.")
    width = model.architecture.embed_dim
    absolute = {label: absolute_name(one) for label, one in names.items()}
    return IndexFacts(space, width, publishable(source.name), source.root, absolute, precision)


def _check_facts(known: IndexFacts, new: IndexFacts, base: str, where: str) -> None:
    """Raise UserError if an index has another image tower, source or precision than a run."""
    check_space(known, new.image_space, base, where)
    source = publishable(known.source)
    if (source, known.root) != (new.source, new.root):
        pictures = f" with pictures in {known.root}" if source == new.source else ""
        what = f"is the index of {known.source}{pictures}"
        raise UserError(where, what, "Name another --index, or replace it with --rebuild.")
    if known.precision != new.precision:
        what = f"was made with --precision {known.precision}"
        raise UserError(where, what, "Add that option, or replace the index with --rebuild.")


@dataclass
class _Changes:
    """The work of a run: what is in the index, and what in the source."""

    known: dict[str, str]  # ids of the rows in the index, by path
    by_hash: dict[str, str]  # id of a row in the index, by the hash of its file
    hashes: dict[str, str]  # hashes of the files in the index, by path
    present: set[str] = field(default_factory=set)  # paths of the source
    to_read: list[FoundPicture] = field(default_factory=list)  # new, or another size, time, caption
    unchanged: int = 0  # number of pictures that need not be read

    def gone(self) -> list[str]:
        """Ids of the rows whose picture is no longer in the source."""
        return [row for path, row in self.known.items() if path not in self.present]


def _find_changes(found: Iterable[FoundPicture], state: pa.Table) -> _Changes:
    """Compare the pictures of a source with the rows (columns `STATE`) of an index."""
    columns = state.to_pydict()
    facts = zip(columns["size"], columns["modified"], columns["caption"], strict=True)
    stamps = dict(zip(columns["path"], facts, strict=True))
    work = _Changes(
        known=dict(zip(columns["path"], columns["id"], strict=True)),
        by_hash=dict(zip(columns["hash"], columns["id"], strict=True)),
        hashes=dict(zip(columns["path"], columns["hash"], strict=True)),
    )
    for one in found:
        work.present.add(one.path)
        size, modified, caption = stamps.get(one.path, (None, None, None))
        # The content of URLs is assumed not to change.
        same = one.size == UNKNOWN or (one.size, one.modified) == (size, modified)
        if caption == one.caption and same:
            work.unchanged += 1
        else:
            work.to_read.append(one)
    return work


@dataclass
class _IndexBuilder:
    """A run that updates one store, which is locked for writing."""

    model: DualEncoder
    store: Store
    problems: Problems
    precision: str = "fp32"
    summary: IndexSummary = field(default_factory=IndexSummary)
    stale: list[str] = field(default_factory=list)  # ids of rows whose picture is now broken
    infinite: int = 0  # number of vectors that are not finite

    def run(self, source: PictureSource, facts: IndexFacts) -> IndexSummary:
        """Update the store; a source without pictures that can be used leaves it as it is."""
        began = time.monotonic()
        state = self.store.state() if self.store.facts() else schema(facts.width).empty_table()
        work = _find_changes(source.pictures(self.problems), state)
        if not work.present:
            raise _no_pictures(source.name, self.problems)
        self.store.check(len(work.to_read) * (4 * facts.width + _LEAST_THUMBNAIL))
        gone = set(work.gone())
        # Without cut-offs, which a killed run would leave as they were before its changes.
        self.store.save_facts(replace(facts, cutoffs={}) if gone or work.to_read else facts)
        done = work.unchanged
        with bar("indexing", done + len(work.to_read), "picture", done=done) as progress:
            reader = PictureReader(self.model.preprocess, self.model.image_size, work.by_hash)
            results = ahead(reader.read, work.to_read, PREPROCESSORS, 3 * IMAGES_AT_ONCE)
            pictures = self._readable(results, work, progress.update)
            for rows in self._written_together(self._rows(pictures, work)):
                self.store.put(rows)
        if not work.unchanged + self._used():
            raise self._not_finite() if self.infinite else _no_pictures(source.name, self.problems)
        self.store.remove(sorted({*gone, *self.stale}))  # last: moved rows are copied from these
        self.summary.removed = len(gone) - self.summary.moved
        self.summary.unchanged += work.unchanged
        self.summary.total = self.store.count()
        self.summary.seconds = time.monotonic() - began
        return self.summary

    def _readable(
        self,
        results: Iterable[ReadResult],
        work: _Changes,
        report: Callable[[], object] = lambda: None,
    ) -> Iterator[ReadPicture]:
        """Pictures that could be read; the others are counted as broken."""
        for found, result in results:
            if isinstance(result, UserError):
                self._reject(found, result.what, work)
            else:
                yield result
            report()

    def _reject(self, found: FoundPicture, what: str, work: _Changes) -> None:
        """Count a picture as broken; the row that it may have is removed at the end."""
        self.problems.add(found.path, what)
        self.summary.broken += 1
        if row := work.known.get(found.path):
            self.stale.append(row)

    def _used(self) -> int:
        """Number of pictures that were read and are in the index."""
        one = self.summary
        return one.added + one.changed + one.moved + one.copied + one.unchanged

    def _not_finite(self) -> UserError:
        """The error for a model that gives no usable vector."""
        what = f"its vectors of all {self.infinite:,} pictures are NaN or infinite"
        return UserError(self.model.architecture.name, what, "Check its weights and --precision.")

    def _rows(self, pictures: Iterator[ReadPicture], work: _Changes) -> Iterator[pa.Table]:
        """Rows of pictures, in batches of the image tower."""
        # Hashes of the files that are no longer in the source; moved ones are taken out.
        gone = Counter(one for path, one in work.hashes.items() if path not in work.present)
        for batch in batches(pictures, IMAGES_AT_ONCE):
            if new := [one for one in batch if one.row is None]:
                yield self._embedded(new, work)
            if stored := [one for one in batch if one.row is not None]:
                known, overwritten, copies = self._copies(stored)
                for one in known:
                    if work.hashes.get(one.found.path) == one.hash:  # only time or caption is new
                        self.summary.unchanged += 1
                    elif gone[one.hash]:
                        gone[one.hash] -= 1
                        self.summary.moved += 1
                    else:
                        self.summary.copied += 1
                yield copies
                # Without hashes, so that they are embedded.
                reader = PictureReader(self.model.preprocess, self.model.image_size, {})
                results = [(one.found, reader.read(one.found)) for one in overwritten]
                if again := list(self._readable(results, work)):
                    yield self._embedded(again, work)

    def _embedded(self, pictures: list[ReadPicture], work: _Changes) -> pa.Table:
        """Rows of pictures with new vectors, if these are finite."""
        pixels = [one.pixels for one in pictures]
        vectors = pixel_vectors(self.model, pixels, self.precision)
        finite = np.isfinite(vectors).all(axis=1)
        kept = [pictures[row] for row in np.flatnonzero(finite)]
        for row in np.flatnonzero(~finite):
            self.infinite += 1
            self._reject(pictures[row].found, "its vector is NaN or infinite", work)
        if self.infinite >= IMAGES_AT_ONCE and not work.unchanged + self._used() + len(kept):
            raise self._not_finite()  # a broken model: not only after hours
        changed = sum(one.found.path in work.known for one in kept)
        self.summary.changed += changed
        self.summary.added += len(kept) - changed
        self.summary.embedded += len(kept)
        return _rows_of(kept, vectors[finite])

    def _copies(
        self, pictures: list[ReadPicture]
    ) -> tuple[list[ReadPicture], list[ReadPicture], pa.Table]:
        """Pictures whose row has their content, the others, and copies of rows for the first."""
        rows = self.store.rows([str(one.row) for one in pictures])
        stored = zip(rows["id"].to_pylist(), rows["hash"].to_pylist(), strict=True)
        place = {key: number for number, key in enumerate(stored)}
        known = [one for one in pictures if (one.row, one.hash) in place]
        # By this run: the pictures exchanged their names.
        overwritten = [one for one in pictures if (one.row, one.hash) not in place]
        places = [place[str(one.row), one.hash] for one in known]
        old = rows.take(pa.array(places, pa.int64()))  # typed, since it may be empty
        thumbnails = old["thumbnail"].to_pylist()
        return known, overwritten, _rows_of(known, vectors_of(old), thumbnails)

    def _written_together(self, parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Combine the rows into large tables, because LanceDB writes a file for each."""
        waiting: list[pa.Table] = []
        began = time.monotonic()
        for part in parts:
            waiting.append(part)
            full = sum(map(len, waiting)) >= ROWS_AT_ONCE
            if full or time.monotonic() - began > _WRITE_SECONDS:
                yield pa.concat_tables(waiting)
                waiting, began = [], time.monotonic()
        if waiting:
            yield pa.concat_tables(waiting)


def _no_pictures(source: str, problems: Problems) -> UserError:
    """The error for a source without pictures; it names the first that cannot be used."""
    if problems.listed:
        where, what = problems.listed[0]
        hint = "Name a source whose pictures can be opened."
        return UserError(where, f"{what}, and {source} contains no other pictures", hint)
    hint = "Name a folder of pictures, a captions file that names some, or shards."
    return UserError(source, "contains no pictures", hint)


def _rows_of(
    pictures: list[ReadPicture], vectors: Float, thumbnails: list[bytes] | None = None
) -> pa.Table:
    """Rows of the table; thumbnails are those of pictures that were not decoded."""
    entries = [one.found for one in pictures]
    width = vectors.shape[1]
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    columns = {
        "id": [picture_id(one.path) for one in entries],
        "path": [one.path for one in entries],
        "size": [one.size for one in entries],
        "modified": [one.modified for one in entries],
        "hash": [one.hash for one in pictures],
        "caption": [one.caption for one in entries],
        "thumbnail": thumbnails or [one.thumbnail for one in pictures],
        "time": [datetime.now(UTC)] * len(entries),
        "vector": pa.FixedSizeListArray.from_arrays(flat, width),
    }
    return pa.table(columns, schema=schema(width))


def _recall_at_10(store: Store) -> float:
    """Share of the exact first ten results that the store's approximate index returns."""
    rows = (row for part in store.batches(("vector",)) for row in vectors_of(part))
    vectors = np.array(list(islice(rows, 2 * _RECALL_QUERIES)))
    half = len(vectors) // 2
    if not half:  # a single picture
        return 1.0
    # Like a query in words, a mixture of two vectors is close to several pictures, equal to none.
    mixed = vectors[:half] + vectors[half : 2 * half]
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    exact, _ = store.nearest(mixed, 10, exact=True)
    found, _ = store.nearest(mixed, 10)
    shared = sum(len({*one} & {*other}) for one, other in zip(exact, found, strict=True))
    return shared / max(sum(map(len, exact)), 1)
