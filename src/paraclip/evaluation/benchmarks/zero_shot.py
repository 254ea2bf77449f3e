"""Zero-shot classification: which class name is closest to a picture?

The vector of a class is the normalised mean of the unit vectors of its name in every template
(Radford et al. 2021, CLIP, section 3.1.4). `zero_shot_data.py` and `cifar.py` read the data.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paraclip.data.images import pictures_hash
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Metric, Role, Scores
from paraclip.evaluation.inputs.pool import refuse_missing, refuse_undecodable
from paraclip.evaluation.scoring import metrics
from paraclip.evaluation.scoring.ranking import top_k
from paraclip.evaluation.scoring.vectors import Arithmetic, image_vectors, text_vectors
from paraclip.files import text_hash
from paraclip.models.encoder import DualEncoder

Float = NDArray[np.floating]
Integer = NDArray[np.int64]

WIDEST = 5  # top-5; reported only for more than five classes


@dataclass(frozen=True)
class Labelled:
    """Pictures with their classes."""

    name: str  # source of the pictures, with remarks for the reader ("one a class")
    references: tuple[str, ...]  # paths or URLs of the pictures
    labels: tuple[int, ...]  # index of each picture's class
    classes: tuple[str, ...]  # class names, as used in a sentence
    templates: tuple[str, ...]  # sentences with `{}` in place of the class name
    made_of: str  # name of the template set, for the report


class ZeroShot:
    """Top-1, top-5 and per-class mean accuracy on one set of pictures.

    Args:
        name: name of the benchmark.
        shown: pictures, classes and templates.
        how: how vectors are computed.

    Raises:
        UserError: if there are fewer than two classes or no pictures, or too many pictures are
            missing.
    """

    role: Role = "standard"

    def __init__(self, name: str, shown: Labelled, how: Arithmetic | None = None) -> None:
        self.name, self.shown, self.how = name, shown, how or Arithmetic()
        if len(shown.classes) < 2 or not shown.references:
            what = f"has {len(shown.classes)} classes and {len(shown.references)} pictures"
            raise UserError(shown.name, what, "Give at least two classes, each with pictures.")
        refuse_undecodable(shown.references)
        refuse_missing(shown.references, self.how.max_broken)
        self.pictures = shown.references
        counts = f"{len(shown.references):,} pictures of {len(shown.classes):,} classes"
        self.pool = f"{counts}, {shown.name}; {len(shown.templates)} templates ({shown.made_of})"
        rows = zip(shown.references, shown.labels, strict=True)
        names = [f"{Path(reference).name} {label}" for reference, label in rows]
        self.data: dict[str, Any] = {
            "pool_size": len(shown.references), "classes": len(shown.classes),
            "pictures_hash": pictures_hash(self.pictures),
            "hash": text_hash("\n".join([*names, *shown.classes, *shown.templates])),
        }  # fmt: skip

    def score(self, model: DualEncoder, cache: Path | None) -> Scores:
        """Compute the metrics, one item per picture.

        `arrays` holds the nearest classes [pictures, min(5, classes)].
        """
        images, places, notes = image_vectors(model, self.shown.references, cache, self.how)
        labels = np.asarray(self.shown.labels)[places]
        nearest = top_k(images, self.class_vectors(model), min(WIDEST, len(self.shown.classes)))
        return Scores(self.found(nearest, labels), {"nearest_classes": nearest}, notes)

    def class_vectors(self, model: DualEncoder) -> Float:
        """Return the unit vectors of the classes, float64 [classes, width]."""
        names, templates = self.shown.classes, self.shown.templates
        texts = [template.replace("{}", name) for name in names for template in templates]
        vectors = text_vectors(model, texts, self.how, "class names")
        means = vectors.reshape(len(names), len(templates), -1).mean(axis=1, dtype=np.float64)
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        if not lengths.all():
            raise UserError(self.name, "a class has no direction", "Name other templates.")
        unit: Float = means / lengths
        return unit

    def found(self, nearest: Integer, labels: Integer) -> list[Metric]:
        """Return the metrics, given the nearest classes [pictures, k] and the true labels."""
        ranks = metrics.first_relevant(nearest == labels[:, None])
        right = metrics.recall(ranks, 1)
        found = [Metric("top-1", right)]
        if len(self.shown.classes) > WIDEST:
            found.append(Metric(f"top-{WIDEST}", metrics.recall(ranks, WIDEST), headline=False))
        if len(np.unique(labels)) < len(labels):  # with one picture per class it equals top-1
            found.append(Metric("mean per class", right, groups=labels, headline=False))
        return found
