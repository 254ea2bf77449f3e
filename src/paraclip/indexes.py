"""Indexes of other systems and of ParaCLIP in one form, vectors and paths of pictures; and whether
a model's image tower made one: by the facts of ours, or by its pictures."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paraclip.arrays import Float
from paraclip.compute.exact_search import top_k
from paraclip.data.captions import Problems
from paraclip.data.images import PictureNames, picture_files
from paraclip.errors import UserError
from paraclip.files import check_input, readable
from paraclip.store import IndexFacts, Store, StoreUnavailable, existing_facts
from paraclip.systems import SYSTEMS, indexed
from paraclip.systems.pgvector import POSTGRES, kind_in_database
from paraclip.systems.system import FIX, IndexAddress, Parts

if TYPE_CHECKING:
    from paraclip.models.encoder import DualEncoder

MOST_ROWS = 5_000_000  # 10 GB of memory at a width of 512


@dataclass(frozen=True)
class Index:
    """Vectors of pictures."""

    vectors: Float  # unit vectors, float32 [rows, width]
    paths: list[str] | None  # of each row's picture; None if the store contains none
    kind: str  # of the store


def read_index(
    place: IndexAddress, sample: int | None = None, seed: int | Sequence[int] = 0
) -> Index:
    """The vectors of an index, and the paths of their pictures; only these rows are in memory.

    Of an index with more rows than `sample`, this many are drawn at random, as `seed` determines;
    all are checked.

    Raises:
        UserError: the index is missing, unreadable, broken or empty, its kind is not clear, there
            is a file of paths for another kind than .npy, or there is no `sample` and more than
            five million rows.

    Source: Vitter, "Random sampling with a reservoir", 1985, algorithm R.
    """
    check_address(place.address)
    with readable(place.address):
        store = _store_of(place)
        if place.paths is not None and store != "npy":
            what = f"gives the paths of a .npy file, and this is an index of {store}"
            hint = "Leave it out; without paths in the index, save its vectors as .npy."
            raise UserError("--paths", what, hint)
        most, rng, rows = sample or MOST_ROWS, np.random.default_rng(seed), 0
        vectors, paths = np.empty((0, 0), np.float32), list[str]()
        with closing(indexed()[store](place)) as parts:
            for names, part in _unit_parts(parts, place.where):
                numbers = np.arange(rows, rows + len(part))
                rows += len(part)
                if rows > most and sample is None:
                    what, hint = f"holds more than {most:,} rows", "Check a part of it."
                    raise UserError(place.where, what, hint)
                if len(vectors) < min(rows, most):  # in place, unlike a concatenation
                    size = min(most, max(rows, len(vectors) * 9 // 8))
                    vectors.resize((size, part.shape[1]), refcheck=False)
                    paths += [""] * (size - len(paths)) if names else []
                # A later row replaces a random one, or none: all are kept with one probability.
                places = np.where(numbers < most, numbers, rng.integers(0, numbers + 1))
                kept = np.flatnonzero(places < most)
                vectors[places[kept]] = part[kept]  # of several rows for a place, the last one
                if names:
                    for row in kept.tolist():
                        name = names[row]
                        paths[places[row]] = "" if name is None else str(name)
        if not rows:
            raise UserError(place.where, "holds no rows of vectors", FIX)
        size = min(rows, most)
        vectors.resize((size, vectors.shape[1]), refcheck=False)
        return Index(vectors, paths[:size] if names else None, store)


def check_address(address: str) -> None:
    """Raise UserError for an index that is not there; a database is not opened."""
    if not address.startswith(POSTGRES):
        check_input(address)
        with readable(address):
            if not Path(address).exists():
                raise UserError(address, "there is no such file or folder", "Check the path.")


def is_index(address: str) -> bool:
    """Whether it is an address of a database, or a file or folder that is recognised as an index.

    Raises UserError for a folder that may not be read.
    """
    return address.startswith(POSTGRES) or _kind_of_files(Path(address)) is not None


def _kind_of_files(path: Path) -> str | None:
    with readable(path):
        return next((name for name in indexed() if SYSTEMS[name].recognises(path)), None)


def _store_of(place: IndexAddress) -> str:
    """The kind of an index, by its name and content; raises UserError if it is not clear."""
    if place.address.startswith(POSTGRES):
        return kind_in_database(place)
    path = Path(place.address)
    if kind := _kind_of_files(path):
        return kind
    hint = f"Known are {', '.join(indexed())}."
    if path.is_dir():
        hint = f"{hint} `paraclip index FOLDER` makes one of a folder of pictures."
    raise UserError(path, "is not an index that can be recognised", hint)


def _unit_parts(parts: Parts, where: str) -> Parts:
    """The parts with vectors of unit length; raises UserError for rows that are none."""
    rows, named, width = 0, 0, None
    for names, part in parts:
        width = width or part.shape[1]
        if part.shape[1] != width:
            what = f"has vectors of {width} and of {part.shape[1]} numbers"
            raise UserError(where, what, "Name the files, the table or the column of one model.")
        lengths = np.linalg.norm(part, axis=1)
        broken = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
        if len(broken):
            what = "its vector is zero or not finite"
            raise UserError(f"{where}: row {rows + int(broken[0]) + 1}", what, FIX)
        rows, named = rows + len(part), named + len(names or ())
        if named not in (0, rows):
            what = f"{rows} vectors have {named} paths"
            raise UserError(where, what, "Give one path for each row.")
        yield names, part / lengths[:, None]


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
    base: "DualEncoder", index: Index, pictures: Mapping[int, str], problems: Problems,
    option: str = "--index",
) -> Origin | None:  # fmt: skip
    """Embed a sample of an index's pictures (files by row, from `pictures_of_rows`) again with the
    model that should have made it; None if none can be opened. `problems` lists broken ones.

    Raises UserError, with the option that named the index, if its vectors have another width.
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
    again = encode_images(base, files, problems=problems).numpy()  # NaN of a broken one
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
