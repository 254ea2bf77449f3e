"""Pictures of a benchmark: look-up in a folder, crops and vectors.

A folder may hold a subset of a larger set (337 pictures of COCO), described by a list of its
pictures. Listed pictures that are not in the folder count as missing; items whose picture is not
listed are counted and skipped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from paraclip.data.images import (
    MOST_PIXELS,
    PictureNames,
    open_image,
    picture_files,
    picture_key,
)
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

FULL_SIZE = 10**6  # no picture has sides twice as long, so none is shrunk before it is cropped


@dataclass(frozen=True)
class Found:
    """The named pictures that exist."""

    paths: dict[str, str]  # file by name
    notes: list[str] = field(default_factory=list)  # notes for the report on missing pictures


def find_pictures(
    names: Sequence[str], folder: Path, listed: Path | None, how: Arithmetic
) -> Found:
    """Look up pictures by name; COCO's also by their number.

    Args:
        names: names from the benchmark ("val2014/COCO_val2014_000000000042.jpg").
        folder: folder of the pictures.
        listed: a table with `file_name` of the pictures that the folder should hold; without such
            a file, all names are expected.
        how: provides the accepted share of missing pictures.

    Raises:
        UserError: if all or more than `how.max_broken` of the expected pictures are missing, or a
            name matches several different pictures.
    """
    if not folder.is_dir():
        raise UserError(folder, "there is no such folder of pictures", "Put the pictures there.")
    expected = every = list(dict.fromkeys(names))
    if listed is not None and listed.exists():
        known = {
            picture_key(str(row.get("file_name"))) for _, row in read_rows(str(listed), Problems())
        }
        expected = [name for name in every if picture_key(name) in known]
    problems, paths = Problems(how.max_broken), {}
    pictures = PictureNames(picture_files(folder), folder, by_number=True)
    for name in expected:
        if path := pictures.find(name):
            paths[name] = path
        else:
            problems.add(folder / Path(name).name, "there is no such picture")
    problems.check(len(expected))
    if not paths:
        what = f"holds none of the {len(every):,} named pictures"
        raise UserError(folder, what, "Put the pictures there.")
    notes = left_out(problems, len(expected))
    if len(expected) < len(every):
        notes.append(f"the folder is a part of the set: {len(paths):,} of {len(every):,} pictures")
    return Found(paths, notes)


def row_images(
    model: DualEncoder, paths: Sequence[str], cache: Path | None, how: Arithmetic
) -> tuple[Float, Integer, list[str]]:
    """Return the vector of each row's picture; each picture is encoded once.

    Returns:
        Vectors [kept, width], indices [kept] of the rows whose picture can be read, and notes.
    """
    unique = list(dict.fromkeys(paths))
    images, good, notes = image_vectors(model, unique, cache, how)
    vector_of = {unique[index]: vector for vector, index in enumerate(good)}
    kept = [row for row, path in enumerate(paths) if path in vector_of]
    return images[[vector_of[paths[row]] for row in kept]], np.array(kept, np.int64), notes


@dataclass(frozen=True)
class Crop:
    """A rectangular part of a picture."""

    path: str  # path of the picture
    box: Box  # left, top, width and height in pixels

    def name(self) -> str:
        """Return the crop as a media fragment (W3C): `dog.jpg#xywh=1,2,30,40`."""
        return f"{self.path}#xywh={','.join(map(str, self.box))}"

    def open(self) -> Image.Image:
        """Open the crop as RGB; it is black outside the picture, as in ARO's code."""
        picture, (x, y, width, height) = open_image(self.path, FULL_SIZE), self.box
        overlaps = -width < x < picture.width and -height < y < picture.height
        if width < 1 or height < 1 or not overlaps or width * height > MOST_PIXELS:
            what = f"the box {self.box} is not inside a picture of {picture.size}"
            raise UserError(self.path, what, "Fix the box or replace the picture.")
        return picture.crop((x, y, x + width, y + height))


def crop_vectors(
    model: DualEncoder, crops: Sequence[Crop], cache: Path | None, how: Arithmetic
) -> tuple[Float, Integer, list[str]]:
    """Return the unit vectors of crops; each crop is encoded once and cached.

    Returns:
        Vectors, float32 [good, width], their indices [good] among the crops, and notes on the
        others.
    """
    refuse_blind(model)
    model.eval()
    folder = cache / f"{model.image_key()}-{how.precision}-crops" if cache is not None else None
    kept, unique = FeatureCache(folder), {crop.name(): crop for crop in crops}
    keys = {name: f"{identity(crop.path)}#{crop.box}" for name, crop in unique.items()}
    missing = [name for name, key in keys.items() if key not in kept]
    parts = read_pictures(model, missing, lambda name: unique[name].open())
    broken = compute(model, parts, keys, kept, how.precision, "parts of pictures")
    problems = Problems(how.max_broken)
    for error in broken.values():
        problems.add(error.where, error.what)
    problems.check(len(unique))
    good = np.array([n for n, crop in enumerate(crops) if crop.name() not in broken], np.int64)
    rows = kept.rows([keys[crops[index].name()] for index in good])
    if rows is None:
        raise UserError("pictures", "none can be read", "Replace them.")
    vectors = project(model, rows).numpy()
    refuse_infinite(vectors, "the model's image vectors")
    return vectors, good, left_out(problems, len(unique))
