"""Pictures that a benchmark names: found in their folder, cut to a box, embedded.

A set may be part of a larger one on purpose (337 pictures of COCO): then a list beside it says
which pictures it has. Those that the list names and the folder lacks are missing; what the list
does not name was never there, and its items are counted and left out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from paraclip.data.images import one_of, open_image
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.evaluation.inputs.rows import read_rows
from paraclip.evaluation.scoring.vectors import (
    Arithmetic,
    image_vectors,
    left_out,
    refuse_blind,
    refuse_infinite,
)
from paraclip.models.encoder import DualEncoder
from paraclip.models.feature_cache import FeatureCache, identity
from paraclip.models.features import compute, project, read_pictures

Float = NDArray[np.floating]
Integer = NDArray[np.int64]
Box = tuple[int, int, int, int]

WHOLE = 10**6  # no picture has sides twice as long, so none is shrunk before it is cut
NUMBERED = re.compile(r"(?:COCO_\w+_)?0*(\d+)\.jpe?g")


@dataclass(frozen=True)
class Found:
    """Which of the named pictures are at hand.

    Args:
        paths: name to file, of those that are.
        notes: what a reader of the figures must know about the others.
    """

    paths: dict[str, str]
    notes: list[str] = field(default_factory=list)


def find_pictures(
    names: Sequence[str], folder: Path, listed: Path | None, how: Arithmetic
) -> Found:
    """Look for pictures by name; COCO's also by their number.

    Args:
        names: as the benchmark has them ("val2014/COCO_val2014_000000000042.jpg").
        folder: where they lie.
        listed: a table with `file_name` that says which pictures the folder has on purpose; where
            there is no such file all are expected.
        how: for the share of missing pictures that is accepted.

    Raises:
        UserError: more than `how.max_broken` of the expected pictures are missing, or all are; or
            different pictures have the name of one.
    """
    unique = list(dict.fromkeys(names))
    there = places(folder)
    expected = unique
    if listed is not None and listed.exists():
        known = {
            picture_key(str(row.get("file_name"))) for _, row in read_rows(str(listed), Problems())
        }
        expected = [name for name in unique if picture_key(name) in known]
    problems = Problems(how.max_broken)
    for name in expected:
        if picture_key(name) not in there:
            problems.add(folder / Path(name).name, "there is no such picture")
    problems.check(len(expected))
    paths = {
        name: one_of(name, there[picture_key(name)], folder)
        for name in expected
        if picture_key(name) in there
    }
    if not paths:
        what = f"holds none of the {len(unique):,} pictures that are named"
        raise UserError(folder, what, "Put the pictures there.")
    notes = left_out(problems, len(expected))
    if len(expected) < len(unique):
        notes.append(f"the folder is a part of the set: {len(paths):,} of {len(unique):,} pictures")
    return Found(paths, notes)


def places(folder: Path) -> dict[str, list[str]]:
    """Every file in a folder and the folders in it, by its key; several where they share it.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(folder, "there is no such folder of pictures", "Put the pictures there.")
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*.*")):
        found.setdefault(picture_key(path.name), []).append(str(path))
    return found


def picture_key(name: str) -> str:
    """A picture's name without folders; COCO's by number, as their names differ by release."""
    last = name.rsplit("/", 1)[-1]
    found = NUMBERED.fullmatch(last)
    return found[1] if found else last


def row_images(
    model: DualEncoder, paths: Sequence[str], cache: Path | None, how: Arithmetic
) -> tuple[Float, Integer, list[str]]:
    """The vector of each row's picture, each picture computed once.

    Returns:
        vectors [kept, width], numbers [kept] of the rows whose picture can be read, and notes.
    """
    unique = list(dict.fromkeys(paths))
    images, good, notes = image_vectors(model, unique, cache, how)
    row_of = {unique[place]: row for row, place in enumerate(good)}
    kept = [n for n, path in enumerate(paths) if path in row_of]
    return images[[row_of[paths[n]] for n in kept]], np.array(kept, np.int64), notes


@dataclass(frozen=True)
class Crop:
    """A part of a picture.

    Args:
        path: of the file.
        box: pixels from the left and from the top, width and height.
    """

    path: str
    box: Box

    def name(self) -> str:
        """As a media fragment (W3C): `dog.jpg#xywh=1,2,30,40`."""
        return f"{self.path}#xywh={','.join(map(str, self.box))}"

    def open(self) -> Image.Image:
        """The part, RGB; what of the box lies past the edge is black, as in ARO's own code.

        Raises:
            UserError: the picture cannot be read, or the box lies outside.
        """
        picture, (x, y, width, height) = open_image(self.path, WHOLE), self.box
        if (
            width < 1
            or height < 1
            or not (-width < x < picture.width and -height < y < picture.height)
        ):
            what = f"the box {self.box} does not lie in a picture of {picture.size}"
            raise UserError(self.path, what, "Fix the box or replace the picture.")
        return picture.crop((x, y, x + width, y + height))


def crop_vectors(
    model: DualEncoder, crops: Sequence[Crop], cache: Path | None, how: Arithmetic
) -> tuple[Float, Integer, list[str]]:
    """Unit vectors of parts of pictures; each part is computed once, and cached as pictures are.

    Returns:
        vectors float32 [good, width], the places [good] of these among the crops, and notes on
        the others.

    Raises:
        UserError: more parts are broken than `how.max_broken` allows, or a vector is not finite.
    """
    refuse_blind(model)
    model.eval()
    folder = cache / f"{model.image_key()}-{how.precision}-crops" if cache is not None else None
    kept, unique = FeatureCache(folder), {crop.name(): crop for crop in crops}
    keys = {name: f"{identity(crop.path)}#{crop.box}" for name, crop in unique.items()}
    lacking = [name for name, key in keys.items() if key not in kept]
    parts = read_pictures(model, lacking, lambda name: unique[name].open())
    broken = compute(model, parts, keys, kept, how.precision, "parts of pictures")
    problems = Problems(how.max_broken)
    for error in broken.values():
        problems.add(error.where, error.what)
    problems.check(len(unique))
    good = np.array([n for n, crop in enumerate(crops) if crop.name() not in broken], np.int64)
    rows = kept.rows([keys[crops[place].name()] for place in good])
    if rows is None:
        raise UserError("pictures", "none can be read", "Replace them.")
    vectors = project(model, rows).numpy()
    refuse_infinite(vectors, "the model's image vectors")
    return vectors, good, left_out(problems, len(unique))
