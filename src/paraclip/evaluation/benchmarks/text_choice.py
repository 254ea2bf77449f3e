"""Is a picture closer to its caption than to other texts? The common part of ARO and SugarCrepe."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paraclip.arrays import Float, Integers
from paraclip.data.images import pictures_hash
from paraclip.evaluation.benchmark import Arithmetic, Scores, text_vectors
from paraclip.evaluation.pictures import Crop, crop_vectors, row_images
from paraclip.evaluation.statistics import Metric
from paraclip.models.encoder import DualEncoder

_Figures = Callable[[Float, Integers], tuple[list[Metric], list[str]]]
"""Metrics and notes from similarities [items, texts] and the numbers of these items [items]."""


class TextChoice:
    """A benchmark that compares each picture with a caption and with texts that do not fit.

    Args:
        data: facts for the report; those of the pictures are added.
        shown: picture of each item, as a path or a part of a picture.
        texts: texts of each item, the caption first; equally many for each.
        figures: computes the metrics of the items whose picture can be read.
    """

    def __init__(
        self,
        name: str,
        pool: str,
        data: Mapping[str, Any],
        shown: Sequence[str] | Sequence[Crop],
        texts: Sequence[Sequence[str]],
        figures: _Figures,
        notes: Sequence[str],
        how: Arithmetic,
    ) -> None:
        self.name, self.pool, self.how, self.notes = name, pool, how, list(notes)
        self.shown, self.texts, self.figures = shown, texts, figures
        paths = (one.path if isinstance(one, Crop) else one for one in shown)
        self.pictures = tuple(dict.fromkeys(paths))
        about = {"pictures": len(self.pictures), "pictures_hash": pictures_hash(self.pictures)}
        self.data: dict[str, Any] = {**data, **about}

    def score(self, model: DualEncoder, cache: Path | None) -> Scores:
        """Compute the metrics; `arrays` holds the cosines [items, texts] and the items' numbers."""
        crops = [one for one in self.shown if isinstance(one, Crop)]
        if crops:
            images, kept, notes = crop_vectors(model, crops, cache, self.how)
        else:
            paths = [one for one in self.shown if isinstance(one, str)]
            images, kept, notes = row_images(model, paths, cache, self.how)
        texts = [text for item in kept for text in self.texts[item]]
        vectors = text_vectors(model, texts, self.how, self.name).reshape(
            len(kept), -1, len(images.T)
        )
        similar = np.einsum("iw,itw->it", images.astype(np.float64), vectors.astype(np.float64))
        found, remarks = self.figures(similar, kept)
        arrays = {"similarity": similar, "item": kept}
        return Scores(found, arrays, [*self.notes, *notes, *remarks])
