"""The search behind the routes: models, batches, caches, and updates of the index."""

import asyncio
import io
import logging
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from PIL import Image

from paraclip.arrays import Float
from paraclip.compute.micro_batch import MicroBatchQueue
from paraclip.data.images import FORMATS, decode_image, without_warnings
from paraclip.data.shards import SUFFIXES
from paraclip.errors import UserError
from paraclip.image_search.engine import Query, combine_vectors, mark_close, measure_cutoffs
from paraclip.image_search.everyday import DEPTH, HeldScene, everyday_pairs, held_scenes
from paraclip.image_search.serving.captions import CaptionWords
from paraclip.image_search.snapshot import Hit, SearchPool, open_pool
from paraclip.image_search.towers import TextTower, TorchTower, model_stamp
from paraclip.indexes import facts_in_space
from paraclip.store import IndexFacts, Store

_LOG = logging.getLogger("paraclip.serve")
_CACHED_TEXTS = 20_000  # 2 kB each
_CACHED_THUMBNAILS = 4_000  # about 10 kB each
REFRESH_SECONDS = 5.0
ROWS_A_SECOND = 2_000  # of the index: how long a run may write before its changes are shown
MOST_BYTES = 10 * 2**20  # of an uploaded picture
_MOST_PIXELS = 50_000_000
_SIDE = 336  # pixels; the largest input of CLIP models
_MOST_UPLOADS = 500  # pictures, about 10 kB each
_AT_ONCE = 16  # scenes, so that other searches are answered in between
_UPLOAD_SIDE = 160  # pixels of its thumbnail
KINDS = {
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp",
    ".gif": "image/gif", ".bmp": "image/bmp", ".avif": "image/avif",
}  # fmt: skip
"""Types that browsers display. The media type is taken from this table, never from the file."""

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Recent(Generic[_Key, _Value]):
    """The most recently used values, at most `most`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.values: OrderedDict[_Key, _Value] = OrderedDict()

    def get(self, key: _Key) -> _Value | None:
        """The value of a key; counts as use."""
        if key not in self.values:
            return None
        self.values.move_to_end(key)
        return self.values[key]

    def put(self, key: _Key, value: _Value) -> None:
        """Store a value, and drop the least recently used one if necessary."""
        self.values[key] = value
        self.values.move_to_end(key)
        if len(self.values) > self.most:
            self.values.popitem(last=False)


class _CachedTower:
    """A text tower whose requests are batched and whose results are cached."""

    def __init__(self, tower: TextTower) -> None:
        self.known: Recent[str, Float] = Recent(_CACHED_TEXTS)
        self.batcher: MicroBatchQueue[str, Float] = MicroBatchQueue(
            lambda texts: list(tower.embed(texts))
        )

    async def vector(self, text: str) -> Float:
        """The unit vector [width] of a text."""
        known = self.known.get(text)
        if known is None:
            known = await self.batcher(text)
            self.known.put(text, known)
        return known


@dataclass(frozen=True, eq=False)
class _Upload:
    """A picture that was sent as a query.

    Args:
        vector: its unit vector [width].
        thumbnail: JPEG.
    """

    vector: Float
    thumbnail: bytes


@dataclass(frozen=True, eq=False)
class Version:
    """What is served of an index: all of one version, replaced by one assignment."""

    facts: IndexFacts
    name: str  # of the store
    pool: SearchPool
    cutoffs: Mapping[str, float] = field(default_factory=dict)  # of close results, by label
    thumbnails: Recent[str, bytes] = field(default_factory=lambda: Recent(_CACHED_THUMBNAILS))


@dataclass
class Service:
    """Everything that the routes need."""

    store: Store
    current: Version
    towers: Mapping[str, TextTower]  # by label, base first
    fault: str | None = None  # why the store cannot be reached
    image_tower: TorchTower | None = None
    uploads: Recent[str, _Upload] = field(default_factory=lambda: Recent(_MOST_UPLOADS))

    def __post_init__(self) -> None:
        self.texts = {label: _CachedTower(tower) for label, tower in self.towers.items()}
        self.searches: MicroBatchQueue[tuple[Version, Float, int], list[Hit]] = MicroBatchQueue(
            self._nearest
        )
        # One at a time, since the error of a call must not fail the others. Thumbnails do not wait
        # until a new version is copied.
        self.reads, self.updates = (
            MicroBatchQueue[Callable[[], Any], Any](lambda calls: [calls[0]()], most=1)
            for _ in range(2)
        )
        self.pictures: MicroBatchQueue[bytes, _Upload] = MicroBatchQueue(
            lambda uploads: [self._embed_upload(uploads[0])], most=1, waiting=32
        )
        self._words: CaptionWords | None = None
        self._scenes: tuple[SearchPool, asyncio.Task[list[HeldScene]]] | None = None
        self._waiting: tuple[str, float] | None = None  # newer version, and when one was first seen
        self.stamps = {label: model_stamp(tower.name) for label, tower in self.towers.items()}

    def _nearest(self, asked: list[tuple[Version, Float, int]]) -> list[list[Hit]]:
        """Results of a batch of query vectors, each with its version and number of results."""
        found = []
        # Consecutive ones alone, since results are returned in order.
        for version, together in groupby(asked, key=lambda one: one[0]):
            _, vectors, counts = zip(*together, strict=True)
            results = version.pool.nearest(np.stack(vectors), max(counts))
            found += [hits[:k] for hits, k in zip(results, counts, strict=True)]
        return found

    async def search(
        self, version: Version, queries: Sequence[Query], labels: Sequence[str], k: int
    ) -> Any:
        """Results [model][query] of one version, for all models and wordings together.

        Raises:
            UserError: a query is empty.
        """

        async def one(query: Query, label: str) -> list[Hit]:
            texts = await asyncio.gather(*map(self.texts[label].vector, query.texts))
            hits = await self.searches((version, combine_vectors(query, list(texts)), k))
            return mark_close(hits, version.cutoffs.get(label) if query.is_text else None)

        flat = await asyncio.gather(*(one(query, label) for label in labels for query in queries))
        return [flat[start : start + len(queries)] for start in range(0, len(flat), len(queries))]

    async def held_scenes(self) -> list[HeldScene]:
        """What each model finds for the everyday scenes that the index holds, asked once for each
        version of it."""
        version = self.current
        if self._scenes is None or self._scenes[0] is not version.pool:
            self._scenes = version.pool, asyncio.create_task(self._ask_scenes(version))
        try:
            return await asyncio.shield(self._scenes[1])  # others may wait for it, too
        except Exception:  # the next request may succeed
            self._scenes = None
            raise

    async def _ask_scenes(self, version: Version) -> list[HeldScene]:
        pairs, labels = await asyncio.to_thread(everyday_pairs), list(self.towers)
        together = list[list[Hit]]()
        found = {label: list[list[Hit]]() for label in labels}
        for start in range(0, len(pairs), _AT_ONCE):
            part = pairs[start : start + _AT_ONCE]
            texts = [Query(text) for pair in part for text in pair]
            answers = await self.search(version, texts, labels, DEPTH)
            for label, hits in zip(labels, answers, strict=True):
                found[label] += hits
            both = [Query(one, plus=(other,)) for one, other in part]
            together += (await self.search(version, both, labels[:1], 1))[0]
        return held_scenes(pairs, together, found, version.cutoffs.get(labels[0], -1.0))

    async def caption_words(self, version: Version) -> CaptionWords:
        """The words of all captions, collected once for each version of the index."""
        known = self._words
        if known is None or known.pool is not version.pool:
            known = await self.reads(lambda: self._collect_words(version.pool))
        return known

    def _collect_words(self, pool: SearchPool) -> CaptionWords:
        """Collect the words, unless another request has just done it."""
        if self._words is None or self._words.pool is not pool:
            self._words = CaptionWords(pool)
        return self._words

    async def thumbnail(self, picture: str) -> bytes | None:
        """The thumbnail of a picture, also of an uploaded one; None if it does not exist."""
        if upload := self.uploads.get(picture):
            return upload.thumbnail
        cache = self.current.thumbnails  # another one after an update of the index
        known = cache.get(picture)
        if known is None:
            rows = await self.row(picture, ("thumbnail",))
            known = bytes(rows["thumbnail"]) if rows else None
            if known:
                cache.put(picture, known)
        return known

    async def row(self, picture: str, columns: Sequence[str]) -> dict[str, Any] | None:
        """Columns of a picture's row; None if it does not exist."""
        rows = await self.reads(lambda: self.store.rows([picture], columns).to_pylist())
        return rows[0] if rows else None

    async def picture_vector(self, picture: str) -> Float | None:
        """The vector of an indexed or uploaded picture."""
        if upload := self.uploads.get(picture):
            return upload.vector
        row = await self.row(picture, ("vector",))  # which may be of an index that took its place
        await self.reads(lambda: facts_in_space(self.store, self.current.facts.image_space))
        return np.asarray(row["vector"], np.float32) if row else None

    async def keep_upload(self, content: bytes) -> str:
        """Keep an uploaded picture among the last ones; returns the id that it gets.

        Raises:
            Overloaded: too many pictures wait.
            UserError: it is not a picture, or too large.
        """
        picture = secrets.token_hex(12)  # nobody finds the uploads of others
        self.uploads.put(picture, await self.pictures(content))
        return picture

    def _embed_upload(self, content: bytes) -> _Upload:
        """The vector of an uploaded picture; the first call loads the image tower."""
        image = _decode_upload(content)
        if self.image_tower is None:
            self.image_tower = TorchTower(next(iter(self.towers.values())).name)
        vector, stream = self.image_tower.embed_image(image), io.BytesIO()
        image.thumbnail((_UPLOAD_SIDE, _UPLOAD_SIDE))
        image.save(stream, "JPEG")
        return _Upload(vector, stream.getvalue())

    async def follow(self) -> None:
        """Check for a new version of the index until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await self.refresh()
            # A folder may not be listed for a moment, and a run has no model until it ends.
            with suppress(OSError, UserError):
                await asyncio.to_thread(self.warn_of_replaced_models)

    async def refresh(self) -> None:
        """Load the newest version of the index; if the store is unavailable, keep the last one."""
        try:
            await self.updates(self.take_newest)
            self.fault = None
        except Exception as error:  # the next check may succeed
            if self.fault is None:
                _LOG.warning("store unavailable", extra={"fields": {"reason": str(error)}})
            self.fault = error.what if isinstance(error, UserError) else "cannot be read"

    def take_newest(self) -> None:
        """Open the newest version if it has changed: once a run has ended, or has written for long.

        A run changes the index with each write, and a change copies all rows (see `snapshot`).

        Raises:
            UserError: the store is unavailable, or contains another index.
        """
        known, name, now = self.current, self.store.version(), time.monotonic()
        if name == known.name:
            self._waiting = None
            return
        facts = facts_in_space(self.store, known.facts.image_space)
        seen, since = self._waiting or ("", now)
        self._waiting = name, since
        # A run states the cut-offs at its end, and compacts the table after that.
        ended = bool(facts.cutoffs) and name == seen
        if not ended and now - since < len(known.pool) // ROWS_A_SECOND:
            return
        facts, name, pool = open_pool(self.store)
        facts_in_space(self.store, known.facts.image_space)  # it may have been replaced meanwhile
        cutoffs = known.cutoffs
        if facts.cutoffs:
            cutoffs = measure_cutoffs(self.store, facts, self.towers)
        self.current, self._waiting = Version(facts, name, pool, cutoffs), None
        _LOG.info("index changed", extra={"fields": {"pictures": len(pool)}})

    def warn_of_replaced_models(self) -> None:
        """Log once for each model whose files have changed: a tower is loaded only at the start."""
        for label, tower in self.towers.items():
            before, self.stamps[label] = self.stamps[label], model_stamp(tower.name)
            if before != self.stamps[label]:
                fields = {"model": label, "served": "the old one, until a restart"}
                _LOG.warning("model file changed", extra={"fields": fields})

    def close(self) -> None:
        """Stop the threads."""
        if self._scenes:
            self._scenes[1].cancel()
        queues: list[MicroBatchQueue[Any, Any]] = [self.searches, self.reads, self.updates]
        for queue in [*queues, self.pictures, *(tower.batcher for tower in self.texts.values())]:
            queue.close()


def _decode_upload(content: bytes) -> Image.Image:
    """Decode the picture to RGB at a small size.

    Raises:
        UserError: it has too many bytes or pixels, or is not a picture in a known format.
    """
    if len(content) > MOST_BYTES:
        raise UserError("picture", f"is larger than {MOST_BYTES >> 20} MiB", "Send a smaller one.")
    try:
        with without_warnings(), Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            pixels = opened.width * opened.height
    except Exception:  # decode_image reports it
        pixels = 0
    if pixels > _MOST_PIXELS:
        what = f"has more than {_MOST_PIXELS // 10**6} million pixels"
        raise UserError("picture", what, "Send a smaller one.")
    return decode_image(io.BytesIO(content), "picture", _SIDE)


def find_original(root: str, path: str) -> Path | None:
    """The file of a picture; None if the indexed folder has none.

    Args:
        root: root folder of the index.
        path: path of the picture in the index; untrusted.

    A path that leaves the root, by `..` or by a link, gives None, as do URLs and members of shards.
    """
    known = os.path.splitext(path)[1].lower() in SUFFIXES
    if not root or not known or "\0" in path or "://" in path or "::" in path:
        return None
    inside = os.path.realpath(root)
    try:
        real = os.path.realpath(os.path.join(inside, path), strict=True)
    except OSError:
        return None
    if os.path.commonpath([inside, real]) != inside or not os.path.isfile(real):
        return None
    return Path(real)
