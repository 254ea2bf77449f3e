"""Image-text retrieval: R@k in both directions, with several captions per picture.

Text to image (T2I): each caption is a query; a hit means that its picture is among the first k.
Image to text (I2T): each picture is a query; a hit means that at least one of its captions is
among the first k of all captions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paraclip.data.captions import Caption
from paraclip.data.images import pictures_hash
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Metric, Role, Scores
from paraclip.evaluation.inputs.pool import refuse_missing
from paraclip.evaluation.scoring import metrics
from paraclip.evaluation.scoring.ranking import top_k
from paraclip.evaluation.scoring.vectors import Arithmetic, image_vectors, left_out, text_vectors
from paraclip.files import text_hash
from paraclip.models.encoder import DualEncoder

Float = NDArray[np.floating]
Integer = NDArray[np.int64]

CUTOFFS = (1, 5, 10)


@dataclass(frozen=True)
class Gallery:
    """Pictures and the captions of each."""

    name: str  # source of the pictures and captions
    references: tuple[str, ...]  # paths or URLs of the pictures, without duplicates
    captions: tuple[str, ...]  # all captions
    owners: tuple[int, ...]  # index of each caption's picture
    notes: list[str] = field(default_factory=list)  # notes for the report on skipped captions


def gallery(
    captions: Iterable[Caption],
    name: str,
    only: Sequence[str] | None = None,
    problems: Problems | None = None,
) -> Gallery:
    """Group captions by picture, in the order of the pictures; equal paths are one picture.

    Args:
        captions: captions; those without a picture are skipped, with a note.
        name: name of the set.
        only: names or ids of the pictures to use (a test split), or None for all.
        problems: broken rows among the captions, for a note.

    Raises:
        UserError: if no caption has a picture, a picture of `only` has no caption, or one image id
            names two pictures.
    """
    wanted = None if only is None else set(only)
    pictures: dict[str, str] = {}  # by image id
    numbers: dict[str, int] = {}  # by picture
    texts: list[str] = []
    owners: list[int] = []
    met: set[str] = set()
    blind = read = 0
    for caption in captions:
        read += 1
        names = {caption.image_id, Path(caption.image or "").name}
        if wanted is not None and not wanted & names:
            continue
        if caption.image is None:
            blind += 1
            continue
        met |= names
        refuse_other_picture(caption, pictures.setdefault(caption.image_id, caption.image))
        texts.append(caption.caption)
        owners.append(numbers.setdefault(caption.image, len(numbers)))
    lost = [] if only is None else [entry for entry in only if entry not in met]
    if lost:
        what = f"has no caption for {len(lost)} of {len(only or ()):,} pictures, such as {lost[0]}"
        raise UserError(name, what, "Give the list of names that belongs to these captions.")
    if not numbers:
        raise UserError(
            name, "contains no caption with a picture", "Name the folder with --images."
        )
    notes = [] if problems is None else left_out(problems, read + problems.count, "captions")
    notes += [f"{blind:,} captions without a picture left out"] if blind else []
    return Gallery(name, tuple(numbers), tuple(texts), tuple(owners), notes)


def refuse_other_picture(caption: Caption, picture: str) -> None:
    """Raise UserError if the picture of this caption's image id is another one."""
    if caption.image != picture:
        what = f"the image id {caption.image_id!r} names both {picture} and {caption.image}"
        raise UserError(caption.source, what, "Give each picture an image id of its own.")


class ImageTextRetrieval:
    """R@k in both directions on one gallery.

    Args:
        shown: pictures and captions.
        cutoffs: values of k for R@k; none may exceed the number of pictures.
        how: how vectors are computed.
        name: name of the benchmark.

    Raises:
        UserError: if there are fewer pictures than the largest k, or too many of them are missing.
    """

    role: Role = "standard"

    def __init__(
        self,
        shown: Gallery,
        cutoffs: tuple[int, ...] = CUTOFFS,
        how: Arithmetic | None = None,
        name: str = "image-text-retrieval",
    ) -> None:
        pictures, captions = len(shown.references), len(shown.captions)
        if pictures < max(cutoffs):
            what = f"R@{max(cutoffs)} does not fit {pictures} pictures"
            raise UserError(shown.name, what, "Give more pictures.")
        self.name = name
        self.shown, self.cutoffs, self.how = shown, cutoffs, how or Arithmetic()
        refuse_missing(shown.references, self.how.max_broken)
        self.pictures = shown.references
        self.pool = f"{pictures:,} pictures and {captions:,} captions of {shown.name}"
        rows = zip(shown.owners, shown.captions, strict=True)
        names = [Path(reference).name for reference in shown.references]
        self.data: dict[str, Any] = {
            "captions": captions, "pool_size": pictures,
            "pictures_hash": pictures_hash(self.pictures),
            "hash": text_hash("\n".join([*names, *(f"{owner} {text}" for owner, text in rows)])),
        }  # fmt: skip
        if cutoffs != CUTOFFS:  # reports with the usual ones stay comparable with earlier ones
            self.data["k"] = list(cutoffs)

    def score(self, model: DualEncoder, cache: Path | None) -> Scores:
        """Compute R@k in both directions, one item per query.

        The captions of one picture are resampled together.
        """
        images, places, notes = image_vectors(model, self.shown.references, cache, self.how)
        owners, kept = self.renumbered(places)
        texts = text_vectors(
            model, [self.shown.captions[row] for row in kept], self.how, "captions"
        )
        results, ranks = self.found(images, texts, owners)
        return Scores(results, ranks, [*self.shown.notes, *notes])

    def found(
        self, images: Float, texts: Float, owners: Integer
    ) -> tuple[list[Metric], dict[str, metrics.Integer]]:
        """Return the metrics, and the rank of the first correct result of each query.

        Args:
            images: unit vectors [pictures, width].
            texts: unit vectors [captions, width].
            owners: index of each caption's picture [captions].
        """
        widest = max(self.cutoffs)
        pictures = top_k(texts, images, widest)
        sentences = owners[top_k(images, texts, widest)]
        to_image = metrics.first_relevant(pictures == owners[:, None])
        to_text = metrics.first_relevant(sentences == np.arange(len(images))[:, None])
        found = [
            Metric(f"{way} R@{k}", metrics.recall(ranks, k), clusters=clusters)
            for way, ranks, clusters in (("T2I", to_image, owners), ("I2T", to_text, None))
            for k in self.cutoffs
        ]
        return found, {"text_to_image_rank": to_image, "image_to_text_rank": to_text}

    def renumbered(self, places: Integer) -> tuple[Integer, Integer]:
        """Return the owners renumbered to the readable pictures, and the captions that have one."""
        numbers = np.full(len(self.shown.references), -1)
        numbers[places] = np.arange(len(places))
        owners = numbers[np.asarray(self.shown.owners)]
        kept = np.flatnonzero(owners >= 0)
        return owners[kept], kept
