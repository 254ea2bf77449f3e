"""`paraclip index --engine ray`: Ray Data reads and embeds, this process writes.

Rows in the table are final, as with the other engine, so a run needs no checkpoint. Only one
process writes, because concurrent commits would conflict.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from paraclip.cluster import cluster
from paraclip.errors import UserError
from paraclip.models.features import IMAGES_AT_ONCE, PREPROCESSORS, ahead
from paraclip.models.loading import load_model
from paraclip.search.config import IndexConfig
from paraclip.search.indexing.build import Builder, vectors_of
from paraclip.search.indexing.changes import Changes
from paraclip.search.indexing.pictures import Read, Reader
from paraclip.search.indexing.sources import Found

BLOCK_ROWS = 4 * IMAGES_AT_ONCE  # maximum number of pictures that an actor takes at a time
FOUND = pa.schema(
    [
        ("path", pa.string()), ("reference", pa.string()), ("caption", pa.string()),
        ("size", pa.int64()), ("modified", pa.int64()),
    ]
)  # fmt: skip
READ = pa.schema(
    [
        *FOUND, ("hash", pa.string()), ("row", pa.string()), ("thumbnail", pa.binary()),
        ("vector", pa.list_(pa.float32())), ("fault", pa.string()),
    ]
)  # fmt: skip
"""Output of an actor: a picture has a known hash (`row`), is embedded, or is broken (`fault`)."""


@dataclass(frozen=True)
class Job:
    """Everything that an actor needs; model and pictures must be reachable on its machine."""

    model: str
    device: str
    precision: str


class Embedder:
    """Reads and embeds blocks of pictures in an actor.

    Args:
        job: the job, the same for all actors.
        known: reference to the ids of rows in the index by hash.
    """

    def __init__(self, job: Job, known: list[Any]) -> None:
        import ray

        self.job, self.model = job, load_model(job.model, job.device)
        by_hash: dict[str, str] = ray.get(known[0])
        self.reader = Reader(self.model.preprocess, self.model.image_size, by_hash)

    def __call__(self, block: pa.Table) -> pa.Table:
        """Pictures (FOUND) with the results of reading and embedding them (READ), in order."""
        pictures = [Found(**row) for row in block.to_pylist()]
        rows: list[dict[str, Any]] = []
        for start in range(0, len(pictures), IMAGES_AT_ONCE):
            part = pictures[start : start + IMAGES_AT_ONCE]
            rows += self.read(part)
        return pa.Table.from_pylist(rows, schema=READ)

    def read(self, found: list[Found]) -> list[dict[str, Any]]:
        """Rows of READ for one batch of the image tower."""
        results = [result for _, result in ahead(self.safe, found, PREPROCESSORS, len(found))]
        new = [one for one in results if isinstance(one, Read) and one.row is None]
        vectors = iter(vectors_of(self.model, new, self.job.precision) if new else ())
        rows = []
        for one, result in zip(found, results, strict=True):
            if isinstance(result, UserError):
                rows.append(asdict(one) | {"fault": result.what})
                continue
            read = {"hash": result.hash, "row": result.row, "thumbnail": result.thumbnail}
            rows.append(asdict(one) | read | ({} if result.row else {"vector": next(vectors)}))
        return rows

    def safe(self, found: Found) -> Read | UserError:
        """See `Reader.read`; an unexpected exception becomes a fault, or it would end Ray's job."""
        try:
            return self.reader.read(found)
        except Exception as error:
            return UserError(found.path, f"{type(error).__name__}: {error}"[:300], "")


@dataclass
class RayBuilder(Builder):
    """A run that updates one store, with reading and embedding on a Ray cluster.

    Args:
        config: model, device and workers.
    """

    config: IndexConfig = field(default_factory=lambda: IndexConfig(""))

    def results(self, work: Changes) -> Iterator[tuple[Found, Read | UserError]]:
        """See `Builder.results`; here the pixels of a picture are its vector.

        Raises:
            UserError: the cluster is too small, or an actor failed.
        """
        if not work.to_read:
            return
        job = Job(self.config.model, self.config.device, self.precision)
        with cluster(self.config.workers) as ray:
            try:
                blocks = embedded(ray, work, job, self.config.workers)
                for block in blocks:
                    yield from map(result_of, block.to_pylist())
            except ray.exceptions.RayError as error:
                last = str(error).strip().splitlines()[-1][:300]
                hint = "Pictures and model must be reachable from every machine."
                raise UserError("--engine ray", f"a worker failed ({last})", hint) from error

    def vectors(self, pictures: list[Read]) -> np.ndarray:
        """See `Builder.vectors`."""
        return np.stack([one.pixels for one in pictures])


def embedded(ray: Any, work: Changes, job: Job, workers: int) -> Iterator[pa.Table]:
    """Tables of READ, in the order in which blocks are ready."""
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = work.to_read
    size = min(BLOCK_ROWS, -(-len(rows) // workers))
    tables = [
        pa.Table.from_pylist([asdict(one) for one in rows[start : start + size]], FOUND)
        for start in range(0, len(rows), size)
    ]
    gpus = job.device != "cpu" and ray.cluster_resources().get("GPU", 0) >= workers
    dataset = ray.data.from_arrow(tables).map_batches(
        Embedder, fn_constructor_kwargs={"job": job, "known": [ray.put(work.by_hash)]},
        batch_size=None, batch_format="pyarrow", num_cpus=1, num_gpus=1 if gpus else None,
        compute=ray.data.ActorPoolStrategy(size=workers),
    )  # fmt: skip
    yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow")


def result_of(row: dict[str, Any]) -> tuple[Found, Read | UserError]:
    """A picture and the result of reading it, from a row of READ."""
    found = Found(*(row[name] for name in FOUND.names))
    if row["fault"] is not None:
        return found, UserError(found.path, row["fault"], "Replace the picture.")
    vector = None if row["vector"] is None else np.asarray(row["vector"], np.float32)
    return found, Read(found, row["hash"], row["row"], vector, row["thumbnail"] or b"")
