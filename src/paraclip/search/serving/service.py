"""The search behind the routes: models, batches, caches, and updates of the index."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from paraclip.errors import UserError
from paraclip.micro_batch import MicroBatchQueue
from paraclip.search.engine import Query, combined
from paraclip.search.exact import Float
from paraclip.search.records import IndexFacts
from paraclip.search.serving.batching import Recent
from paraclip.search.snapshot import Hit, Pool, open_pool
from paraclip.search.stores.store import Store, StoreUnavailable
from paraclip.search.towers import TextTower, TorchTower

LOG = logging.getLogger("paraclip.serve")
CACHED_TEXTS = 20_000  # 2 kB each
CACHED_THUMBNAILS = 4_000  # about 10 kB each
REFRESH_SECONDS = 5.0


@dataclass(frozen=True)
class Asked:
    """A query vector for the pool, and the number of results."""

    vector: Float
    k: int


class Tower:
    """A text tower whose requests are batched and whose results are cached."""

    def __init__(self, tower: TextTower) -> None:
        self.tower = tower
        self.known: Recent[str, Float] = Recent(CACHED_TEXTS)
        self.batcher: MicroBatchQueue[str, Float] = MicroBatchQueue(self.embed)

    def embed(self, texts: list[str]) -> list[Float]:
        """Unit vectors of a batch."""
        return list(self.tower.embed(texts))

    async def vector(self, text: str) -> Float:
        """The unit vector [width] of a text."""
        known = self.known.get(text)
        if known is None:
            known = await self.batcher(text)
            self.known.put(text, known)
        return known


@dataclass
class Service:
    """Everything that the routes need.

    Args:
        store: store of the index.
        facts: facts of the index.
        version: version of the index in `pool`.
        pool: the pictures to search.
        towers: towers by label, base first.
        exact_below: number of pictures above which the store itself is searched.
    """

    store: Store
    facts: IndexFacts
    version: str
    pool: Pool
    towers: Mapping[str, TextTower]
    exact_below: int
    fault: str | None = None
    image_tower: TorchTower | None = None
    thumbnails: Recent[str, bytes] = field(default_factory=lambda: Recent(CACHED_THUMBNAILS))

    def __post_init__(self) -> None:
        self.texts = {label: Tower(tower) for label, tower in self.towers.items()}
        self.searches: MicroBatchQueue[Asked, list[Hit]] = MicroBatchQueue(self.nearest)
        # One at a time, since the error of a call must not fail the others.
        self.reads: MicroBatchQueue[Any, Any] = MicroBatchQueue(lambda calls: [calls[0]()], most=1)
        self.pictures: MicroBatchQueue[bytes, Float] = MicroBatchQueue(
            lambda uploads: [self.embed_upload(uploads[0])], most=1, waiting=32
        )

    def nearest(self, asked: list[Asked]) -> list[list[Hit]]:
        """Results of a batch of query vectors."""
        results = self.pool.nearest(
            np.stack([one.vector for one in asked]), max(a.k for a in asked)
        )
        return [hits[: one.k] for hits, one in zip(results, asked, strict=True)]

    async def vector(self, query: Query, label: str) -> Float:
        """The unit vector of a query for a model; raises UserError for an empty query."""
        query.check()
        vectors = await asyncio.gather(*(self.texts[label].vector(text) for text in query.texts))
        return combined(query, np.stack(vectors) if vectors else np.zeros((0, 0), np.float32))

    async def search(self, queries: Sequence[Query], labels: Sequence[str], k: int) -> Any:
        """Results [model][query], for all models and wordings together.

        Raises:
            UserError: a query is empty.
        """

        async def one(query: Query, label: str) -> list[Hit]:
            return await self.searches(Asked(await self.vector(query, label), k))

        flat = await asyncio.gather(*(one(query, label) for label in labels for query in queries))
        return [flat[start : start + len(queries)] for start in range(0, len(flat), len(queries))]

    async def read(self, call: Any) -> Any:
        """Call the store in its own thread; raises its errors."""
        return await self.reads(call)

    async def thumbnail(self, picture: str) -> bytes | None:
        """The thumbnail of a picture; None if it does not exist."""
        cache = self.thumbnails  # another one after an update of the index
        known = cache.get(picture)
        if known is None:
            rows = await self.row(picture, ("thumbnail",))
            known = bytes(rows["thumbnail"]) if rows else None
            if known:
                cache.put(picture, known)
        return known

    async def row(self, picture: str, columns: Sequence[str]) -> dict[str, Any] | None:
        """Columns of a picture's row; None if it does not exist."""
        rows = await self.read(lambda: self.store.rows([picture], columns).to_pylist())
        return rows[0] if rows else None

    async def picture_vector(self, picture: str) -> Float | None:
        """The vector of an indexed picture."""
        row = await self.row(picture, ("vector",))
        return np.asarray(row["vector"], np.float32) if row else None

    def embed_upload(self, content: bytes) -> Float:
        """The unit vector of an uploaded picture; the first call loads the image tower."""
        from paraclip.search.serving.uploads import check_upload

        image = check_upload(content)
        if self.image_tower is None:
            self.image_tower = TorchTower(next(iter(self.towers.values())).name)
        return self.image_tower.embed_image(image)

    async def follow(self) -> None:
        """Check for a new version of the index until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await self.refresh()

    async def refresh(self) -> None:
        """Load the newest version of the index; if the store is unavailable, keep the last one."""
        try:
            await self.read(self.take_newest)
            self.fault = None
        except UserError as error:
            self.failed(error.what, str(error))
        except Exception as error:  # the next check may succeed
            self.failed("cannot be read", repr(error))

    def failed(self, fault: str, reason: str) -> None:
        """Log the first failure to reach the store, and keep it as the state of the server."""
        if self.fault is None:
            LOG.warning("store unavailable", extra={"fields": {"reason": reason}})
        self.fault = fault

    def take_newest(self) -> None:
        """Open the newest version if it has changed.

        Raises:
            UserError: the store is unavailable, or contains another index.
        """
        if self.store.version() == self.version:
            return
        facts, version, pool = open_pool(self.store, self.exact_below)
        if facts.image_space != self.facts.image_space:
            hint = "Restart `paraclip serve`."
            raise StoreUnavailable(self.store.where, "holds another index now", hint)
        self.facts, self.version, self.pool = facts, version, pool
        self.thumbnails = Recent(CACHED_THUMBNAILS)
        LOG.info("index changed", extra={"fields": {"pictures": len(pool)}})

    def close(self) -> None:
        """Stop the threads."""
        for tower in self.texts.values():
            tower.batcher.close()
        for batcher in (self.searches, self.reads, self.pictures):
            batcher.close()
