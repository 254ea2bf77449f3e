"""Choice: is a picture, or a part of it, closer to the true text than to others?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paraclip.arrays import Float, Integers
from paraclip.data.images import Crop, pictures_hash
from paraclip.evaluation.benchmark import Arithmetic, Scores, grouped, numbered, text_vectors
from paraclip.evaluation.pictures import Found, image_vectors
from paraclip.evaluation.statistics import Metric

if TYPE_CHECKING:
    from paraclip.models.encoder import DualEncoder


@dataclass(frozen=True)
class Item:
    """A picture, or a part of it, and its texts."""

    image: str  # name of the picture
    texts: tuple[str, ...]  # the true one first; equally many for each item
    group: str = ""  # what is averaged apart: the kind of change, the relation
    # the part that is shown; None for the whole picture, then of every item
    box: tuple[int, int, int, int] | None = None


Figures = Callable[[Float, Sequence[Item], Integers], tuple[list[Metric], list[str]]]
"""Metrics and notes from cosines [items, texts], the items, and their clusters [items]."""


class Choice:
    """A benchmark on the items whose picture is found.

    In `pool`, which says what is compared, `{items}` and `{pictures}` stand for their numbers.
    `figures` computes the metrics of the items whose picture can be read.
    """

    def __init__(
        self,
        name: str, pool: str, data: Mapping[str, Any], items: Sequence[Item], found: Found,
        figures: Figures, notes: Sequence[str], how: Arithmetic,
    ) -> None:  # fmt: skip
        self.name, self.figures, self.how, self.notes = name, figures, how, list(notes)
        self.items = [item for item in items if item.image in found.paths]
        self.paths = [found.paths[item.image] for item in self.items]
        self.boxes = [item.box for item in self.items if item.box is not None]
        self.pictures = tuple(dict.fromkeys(self.paths))
        counts = {"items": f"{len(self.items):,}", "pictures": f"{len(self.pictures):,}"}
        self.pool = pool.format(**counts)
        about = {"pictures": len(self.pictures), "pictures_hash": pictures_hash(self.pictures)}
        self.data: dict[str, Any] = {**data, **about}

    def score(self, model: "DualEncoder", cache: Path | None) -> Scores:
        """Compute the metrics; `arrays` holds the cosines [items, texts] and the items' numbers."""
        shown, crops = self.paths, None
        if self.boxes:
            parts = [Crop(path, box) for path, box in zip(self.paths, self.boxes, strict=True)]
            shown, crops = [part.name() for part in parts], {part.name(): part for part in parts}
        images, kept, notes = image_vectors(model, shown, cache, self.how, crops)
        items = [self.items[number] for number in kept]
        texts = [text for item in items for text in item.texts]
        vectors = text_vectors(model, texts, self.how, self.name).astype(np.float64)
        vectors = vectors.reshape(len(items), -1, images.shape[1])  # [items, texts, width]
        similar = np.einsum("iw,itw->it", images.astype(np.float64), vectors)
        clusters = numbered([self.paths[number] for number in kept])  # those of one picture
        found, remarks = self.figures(similar, items, clusters)
        arrays = {"similarity": similar, "item": kept}
        return Scores(found, arrays, [*self.notes, *notes, *remarks])


def true_is_nearest(similar: Float) -> Float:
    """Return 1 where the true text, the first of `similar` [items, texts], is the nearest, else 0.

    A tie counts as wrong.
    """
    right: Float = (similar[:, 0] > similar[:, 1:].max(axis=1)).astype(np.float64)
    return right


def mean_over_groups(name: str, labels: Sequence[str]) -> Figures:
    """Return what computes the mean over groups, over items, and of each group, by its label."""

    def figures(
        similar: Float, items: Sequence[Item], clusters: Integers
    ) -> tuple[list[Metric], list[str]]:
        groups = np.array([labels.index(item.group) for item in items])
        return grouped(name, true_is_nearest(similar), groups, labels, clusters), []

    return figures
