"""`paraclip index --ray-workers N`: workers of a Ray cluster read and embed, this process writes.

Rows in the table are final, as without Ray, so a run needs no checkpoint. Only one process writes,
because concurrent commits would conflict.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from paraclip.compute.cluster import cluster, spread
from paraclip.errors import UserError
from paraclip.image_search.sources import FoundPicture, PictureReader, ReadPicture, ReadResult
from paraclip.models.features import IMAGES_AT_ONCE, PREPROCESSORS, ahead, pixel_vectors
from paraclip.models.loading import load_model

_BLOCK_ROWS = 4 * IMAGES_AT_ONCE  # maximum number of pictures that a worker takes at a time


class _PictureEmbedder:
    """Reads and embeds blocks in a worker; `known` refers to the ids of rows by hash."""

    def __init__(self, model: str, device: str, precision: str, known: list[Any]) -> None:
        import ray

        self.model, self.precision = load_model(model, device), precision
        by_hash: dict[str, str] = ray.get(known[0])
        self.reader = PictureReader(self.model.preprocess, self.model.image_size, by_hash)

    def __call__(self, pictures: list[FoundPicture]) -> list[ReadResult]:
        """The results of reading and embedding pictures, in order."""
        results: list[ReadResult] = []
        for start in range(0, len(pictures), IMAGES_AT_ONCE):
            part = pictures[start : start + IMAGES_AT_ONCE]
            read = [result for _, result in ahead(self._safe, part, PREPROCESSORS, len(part))]
            new = [one for one in read if isinstance(one, ReadPicture) and one.row is None]
            pixels = [one.pixels for one in new]
            vectors = iter(pixel_vectors(self.model, pixels, self.precision) if new else ())
            for found, one in zip(part, read, strict=True):
                if isinstance(one, ReadPicture):  # without the pixels
                    vector = next(vectors) if one.row is None else None
                    one = replace(one, pixels=None, vector=vector)
                results.append((found, one))
        return results

    def _safe(self, found: FoundPicture) -> ReadPicture | UserError:
        """See `PictureReader.read`; an unexpected exception would end the run."""
        try:
            return self.reader.read(found)
        except Exception as error:
            return UserError(found.path, f"{type(error).__name__}: {error}"[:300], "")


@dataclass(frozen=True)
class RayReader:
    """Reads and embeds new and changed pictures in workers of a Ray cluster."""

    model: str
    device: str
    precision: str
    workers: int

    def __call__(
        self, pictures: list[FoundPicture], by_hash: dict[str, str]
    ) -> Iterator[ReadResult]:
        """Results in the order in which blocks are ready.

        Raises:
            UserError: the cluster is too small, or a worker failed.
        """
        if not pictures:
            return
        count = len(pictures)
        size = min(_BLOCK_ROWS, -(-count // self.workers))
        blocks = (pictures[start : start + size] for start in range(0, count, size))
        with cluster(self.workers) as ray:
            # For all or for none: Ray starts no worker without what it asks for.
            gpus = self.device != "cpu" and ray.cluster_resources().get("GPU", 0) >= self.workers
            make = partial(
                _PictureEmbedder, self.model, self.device, self.precision, [ray.put(by_hash)]
            )
            # Two blocks, so that no worker waits while this process writes.
            for block in spread(ray, make, blocks, self.workers, gpus=int(gpus), ahead=2):
                yield from block
