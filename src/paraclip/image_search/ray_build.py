"""`paraclip index --ray-workers N`: Ray Data reads and embeds, this process writes.

Rows in the table are final, as without Ray, so a run needs no checkpoint. Only one process writes,
because concurrent commits would conflict.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from paraclip.cluster import cluster
from paraclip.errors import UserError
from paraclip.image_search.build import Changes, ReadResult, embed_pixels
from paraclip.image_search.sources import FoundPicture, PictureReader, ReadPicture
from paraclip.models.features import IMAGES_AT_ONCE, PREPROCESSORS, ahead
from paraclip.models.loading import load_model

_BLOCK_ROWS = 4 * IMAGES_AT_ONCE  # maximum number of pictures that an actor takes at a time
_FOUND = pa.schema(
    [
        ("path", pa.string()), ("reference", pa.string()), ("caption", pa.string()),
        ("size", pa.int64()), ("modified", pa.int64()),
    ]
)  # fmt: skip
_READ = pa.schema(
    [
        *_FOUND, ("hash", pa.string()), ("row", pa.string()), ("thumbnail", pa.binary()),
        ("vector", pa.list_(pa.float32())), ("fault", pa.string()),
    ]
)  # fmt: skip
"""Output of an actor: a picture has a known hash (`row`), is embedded, or is broken (`fault`)."""


class _PictureEmbedder:
    """Reads and embeds blocks in an actor; `known` refers to the ids of rows by hash."""

    def __init__(self, model: str, device: str, precision: str, known: list[Any]) -> None:
        import ray

        self.model, self.precision = load_model(model, device), precision
        by_hash: dict[str, str] = ray.get(known[0])
        self.reader = PictureReader(self.model.preprocess, self.model.image_size, by_hash)

    def __call__(self, block: pa.Table) -> pa.Table:
        """Pictures (FOUND) with the results of reading and embedding them (READ), in order."""
        pictures = [FoundPicture(**row) for row in block.to_pylist()]
        rows: list[dict[str, Any]] = []
        for start in range(0, len(pictures), IMAGES_AT_ONCE):
            part = pictures[start : start + IMAGES_AT_ONCE]
            results = [result for _, result in ahead(self._safe, part, PREPROCESSORS, len(part))]
            new = [one for one in results if isinstance(one, ReadPicture) and one.row is None]
            vectors = iter(embed_pixels(self.model, new, self.precision) if new else ())
            for one, result in zip(part, results, strict=True):
                if isinstance(result, UserError):
                    rows.append(asdict(one) | {"fault": result.what})
                    continue
                read = {"hash": result.hash, "row": result.row, "thumbnail": result.thumbnail}
                rows.append(asdict(one) | read | ({} if result.row else {"vector": next(vectors)}))
        return pa.Table.from_pylist(rows, schema=_READ)

    def _safe(self, found: FoundPicture) -> ReadPicture | UserError:
        """See `PictureReader.read`; an unexpected exception would end Ray's job."""
        try:
            return self.reader.read(found)
        except Exception as error:
            return UserError(found.path, f"{type(error).__name__}: {error}"[:300], "")


@dataclass(frozen=True)
class RayReader:
    """Reads and embeds new and changed pictures in actors of a Ray cluster."""

    model: str
    device: str
    precision: str
    workers: int

    def __call__(self, work: Changes) -> Iterator[ReadResult]:
        """Results in the order in which blocks are ready.

        Raises:
            UserError: the cluster is too small, or an actor failed.
        """
        if not (rows := work.to_read):
            return
        size = min(_BLOCK_ROWS, -(-len(rows) // self.workers))
        tables = [
            pa.Table.from_pylist([asdict(one) for one in rows[start : start + size]], _FOUND)
            for start in range(0, len(rows), size)
        ]
        with cluster(self.workers) as ray:
            ray.data.DataContext.get_current().enable_progress_bars = False
            gpus = self.device != "cpu" and ray.cluster_resources().get("GPU", 0) >= self.workers
            settings = {
                "model": self.model, "device": self.device, "precision": self.precision,
                "known": [ray.put(work.by_hash)],
            }  # fmt: skip
            try:
                dataset = ray.data.from_arrow(tables).map_batches(
                    _PictureEmbedder, fn_constructor_kwargs=settings,
                    batch_size=None, batch_format="pyarrow", num_cpus=1,
                    num_gpus=1 if gpus else None,
                    compute=ray.data.ActorPoolStrategy(size=self.workers),
                )  # fmt: skip
                blocks = dataset.iter_batches(batch_size=None, batch_format="pyarrow")
                for row in (row for block in blocks for row in block.to_pylist()):
                    found = FoundPicture(*(row[name] for name in _FOUND.names))
                    if row["fault"] is not None:
                        yield found, UserError(found.path, row["fault"], "Replace the picture.")
                        continue
                    vector = None if row["vector"] is None else np.array(row["vector"], np.float32)
                    read = (row["hash"], row["row"], None, row["thumbnail"] or b"", vector)
                    yield found, ReadPicture(found, *read)
            except ray.exceptions.RayError as error:
                last = str(error).strip().splitlines()[-1][:300]
                hint = "Pictures and model must be reachable from every machine."
                raise UserError("--ray-workers", f"a worker failed ({last})", hint) from error
