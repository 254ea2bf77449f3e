"""Whether a model's image tower made an index: by the facts of ours, or by its pictures."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paraclip.compute.exact_search import top_k
from paraclip.data.images import PictureNames, picture_files
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.store import IndexFacts, Store, StoreUnavailable, existing_facts

if TYPE_CHECKING:
    from paraclip.indexes.reading import Index
    from paraclip.models.encoder import DualEncoder

_SAME = 0.9
"""Minimum median cosine, and minimum share of pictures that find their own row first, for vectors
from the base's image encoder. Another encoder gives about 0 for both. Previews, another decoder or
16 bits reduce the cosine by a few hundredths."""
EXACT = 0.99  # cosine of two vectors of one picture, computed alike
SAMPLE = 16
"""Most pictures that are embedded again."""


@dataclass(frozen=True)
class Origin:
    """How well vectors match an image tower."""

    pictures: int  # number of pictures that were embedded again
    median: float  # median cosine of stored and new vectors
    lowest: float  # lowest of these cosines
    first: float  # share of pictures whose own row, or a copy of it, is nearest to the new vector

    @property
    def same(self) -> bool:
        """Whether the vectors come from this image tower."""
        return self.median >= _SAME and self.first >= _SAME

    def check(self, where: object) -> None:
        """Raise UserError for the vectors of another one."""
        if not self.same:
            figures = f"median cosine {self.median:.2f} of {self.pictures} pictures embedded again"
            what = f"its vectors do not come from the model's image encoder ({figures})"
            raise UserError(where, what, "Name the model that made the index, or another index.")


def find_origin(
    base: "DualEncoder", index: "Index", pictures: Mapping[int, str], option: str = "--index"
) -> Origin | None:
    """Embed a sample of an index's pictures again; None if none can be opened.

    Args:
        base: the model that should have made the index.
        index: the index.
        pictures: files by row, as found by `pictures_of_rows`.
        option: what named the index.

    Raises:
        UserError: the vectors have another width.
    """
    from paraclip.models.features import encode_images

    width, vectors = base.architecture.embed_dim, index.vectors
    if vectors.shape[1] != width:
        what = f"has vectors of {vectors.shape[1]} numbers, and those of the model have {width}"
        raise UserError(option, what, "Name an index that the model's image encoder made.")
    if not pictures:
        return None
    chosen = np.random.default_rng(0).permutation(list(pictures))[:SAMPLE]
    files = [pictures[row] for row in chosen.tolist()]
    # Broken ones are left out, and give rows of NaN.
    again = encode_images(base, files, problems=Problems(max_share=1.0)).numpy()
    opened = np.isfinite(again).all(axis=1)
    if not opened.any():
        return None
    again, stored = again[opened], vectors[chosen[opened]]
    cosines = (again * stored).sum(axis=1)
    nearest = vectors[top_k(again, vectors, 1)[:, 0]]
    own = (nearest * stored).sum(axis=1) >= EXACT  # copies count as well
    return Origin(len(stored), float(np.median(cosines)), float(cosines.min()), float(own.mean()))


def pictures_of_rows(paths: Sequence[str], folder: Path | str | None = None) -> dict[int, str]:
    """Path of each row's picture that exists: the given one, or the file of its name in the folder,
    unless several rows or files have this name."""
    if folder is None:
        return {row: path for row, path in enumerate(paths) if os.path.isfile(path)}
    if not os.path.isdir(folder):
        raise UserError(folder, "there is no such folder", "Name the folder of the pictures.")
    files = PictureNames(picture_files(Path(folder)), folder)
    rows = Counter(map(os.path.basename, set(paths)))
    once = (one for one in enumerate(map(os.path.basename, paths)) if rows[one[1]] == 1)
    return {row: path for row, name in once if (path := files.only(name))}


def check_space(facts: IndexFacts, space: str, model: str, where: object) -> None:
    """Raise UserError if a model with another image tower would search or extend an index."""
    if facts.image_space != space:
        what = f"was made with another image encoder than that of {model}"
        base = next(iter(facts.models.values()))
        hint = f"Use a model tuned from {base}, or make a separate index with --index."
        raise UserError(where, what, hint)


def facts_in_space(store: Store, space: str) -> IndexFacts:
    """The facts of an index that is in use; raises StoreUnavailable if one of another image tower
    has taken its place."""
    facts = existing_facts(store)
    if facts.image_space != space:
        hint = "Start the command again."
        raise StoreUnavailable(store.where, "holds another index now", hint)
    return facts
