"""Pictures of a benchmark: pools to search, look-up in a folder, and their vectors.

A folder may hold a subset of a larger set (337 pictures of COCO), described by a list of its
pictures. Listed pictures that are not in the folder count as missing; items whose picture is not
listed are counted and skipped.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from paraclip.arrays import Float, Integers, map_matrix
from paraclip.data.captions import Problems
from paraclip.data.images import Crop, PictureNames, picture_files, picture_key, pictures_hash
from paraclip.data.lines import is_remote
from paraclip.data.rows import read_rows
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Arithmetic, left_out, refuse_infinite
from paraclip.files import check_input, check_name, file_hash, read_lines, text_hash

if TYPE_CHECKING:
    from paraclip.models.encoder import DualEncoder

_CHECK_ROWS = 65_536  # 128 MiB at a width of 512
_LARGEST_LIST = 2**30  # bytes of a list of names
_UNIT = 1e-3  # largest deviation of the length of a unit vector


@dataclass(frozen=True, eq=False)
class Pool:
    """The items that are searched; ties are broken by their order."""

    name: str  # folder or file
    references: tuple[str, ...]  # pictures as paths or URLs; empty for stored vectors
    # stored unit vectors [items, width], or None: each model embeds the pictures
    vectors: Float | None
    hash: str  # hash of the names, or of the vector file

    def __len__(self) -> int:
        return len(self.references) if self.vectors is None else len(self.vectors)

    def describe(self) -> str:
        """Return the size and the name, for the report."""
        kind = "pictures" if self.vectors is None else "cached vectors"
        return f"{len(self):,} {kind} of {self.name}"

    def facts(self) -> dict[str, Any]:
        """Return facts about the pool, for `Benchmark.data`."""
        return {
            "pool": self.name, "pool_size": len(self), "pool_hash": self.hash,
            "pictures_hash": pictures_hash(self.references),
        }  # fmt: skip


def read_pool(source: str | Path, images: str | Path | None = None) -> Pool:
    """Read a pool from a folder of pictures (with its subfolders, ordered by path), a .txt with one
    picture name a line (below `images`, by default the list's folder, or `images` in it), or a .npy
    of vectors float32 or float64 [items, width], read block by block.

    Raises UserError if the pool does not exist or has no pictures, a name is duplicated, or a
    vector does not have length 1.
    """
    path = Path(source)
    check_input(path)
    if path.is_dir():
        path = path if path.name else path.absolute()  # `.` has no name for the report
        if not (paths := picture_files(path)):
            raise UserError(path, "contains no pictures", "Name a folder that has some.")
        for picture in paths:
            check_name(picture)  # one that is not UTF-8 has no hash
        names = [picture.relative_to(path).as_posix() for picture in paths]
        label = f"{path.parent.name}/{path.name}" if path.parent.name else path.name
        return Pool(label, tuple(map(str, paths)), None, text_hash("\n".join(names)))
    if not path.exists():
        raise UserError(source, "there is no such pool", "Name a folder of pictures.")
    if path.suffix == ".npy":
        return Pool(path.name, (), _read_unit_vectors(path), file_hash(path))
    if path.suffix == ".txt":
        names = read_names(path)
        folders = [Path(images)] if images else [path.parent, path.parent / "images"]
        holding = (place for name in names for place in folders if os.path.exists(place / name))
        folder = next(holding, folders[0])  # the first names may be of missing pictures
        references = tuple(name if is_remote(name) else str(folder / name) for name in names)
        return Pool(path.name, references, None, text_hash("\n".join(names)))
    hint = "Name a folder of pictures, a .txt of picture names or a .npy of vectors."
    raise UserError(source, "is not a pool", hint)


def read_names(listed: Path) -> list[str]:
    """The non-empty lines of a text file; raises UserError for a duplicate."""
    lines = read_lines(listed, "Name a text file with one picture name per line.", _LARGEST_LIST)
    seen: dict[str, int] = {}
    for number, name in enumerate(map(str.strip, lines), start=1):
        if name in seen:
            what = f"{name!r} occurs twice (first in line {seen[name]})"
            raise UserError(f"{listed}:{number}", what, "Remove one.")
        if name:
            seen[name] = number
    if not seen:
        raise UserError(listed, "names no pictures", "Write one name per line.")
    return list(seen)


def _read_unit_vectors(path: Path) -> Float:
    """Return the vectors of a .npy file, memory-mapped; each must have length 1."""
    hint = "Save unit vectors with numpy.save, float32 [items, width]."
    vectors = map_matrix(path, hint)
    if not vectors.size:
        raise UserError(path, "holds no vectors", hint)
    for start in range(0, len(vectors), _CHECK_ROWS):
        block = np.asarray(vectors[start : start + _CHECK_ROWS], np.float32)  # [rows, width]
        refuse_infinite(block, str(path), start)
        lengths = np.linalg.norm(block, axis=1)
        if len(bad := np.flatnonzero(abs(lengths - 1) > _UNIT)):
            what = f"has length {lengths[bad[0]]:.4g}, not 1"
            raise UserError(f"{path}:{start + int(bad[0])}", what, hint)
    return vectors


def refuse_missing(references: Sequence[str], max_broken: float) -> None:
    """Raise UserError early if more than `max_broken` (0 to 1) of the picture files are missing."""
    problems = Problems(max_broken)
    for name in dict.fromkeys(references):
        if "://" not in name and not os.path.isfile(name):
            problems.add(name, "there is no such picture")
    problems.check(len(set(references)))


@dataclass(frozen=True)
class Found:
    """The named pictures that exist."""

    paths: dict[str, str]  # file by name
    notes: list[str] = field(default_factory=list)  # notes for the report on missing pictures


def find_pictures(
    names: Sequence[str], folder: Path, listed: Path | None, how: Arithmetic
) -> Found:
    """Look up pictures by name ("val2014/COCO_val2014_000000000042.jpg"); COCO's also by their
    number.

    A table `listed` has the `file_name` of the pictures that the folder should hold; without such a
    file, all names are expected. Raises UserError if all or more than `how.max_broken` of the
    expected ones are missing, or a name matches several different pictures.
    """
    if not folder.is_dir():
        raise UserError(folder, "there is no such folder of pictures", "Put the pictures there.")
    expected = every = list(dict.fromkeys(names))
    if listed is not None and listed.exists():
        rows = read_rows(str(listed), Problems())
        known = {picture_key(str(row.get("file_name"))) for _, row in rows}
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


def image_vectors(
    model: "DualEncoder", pictures: Sequence[str], cache: Path | None, how: Arithmetic,
    crops: Mapping[str, Crop] | None = None,
) -> tuple[Float, Integers, list[str]]:  # fmt: skip
    """Return the unit vectors of the readable pictures, float32 [good, width], each encoded once
    and cached; their indices in `pictures` [good]; and notes on the others, of which `max_broken`
    limits the share.

    Pictures are paths or URLs, or names of `crops`; the same one may occur several times.
    """
    from paraclip.models.features import picture_features, project

    if not model.architecture.reads_pictures:
        model.preprocess(Image.new("RGB", (1, 1)))  # raises the error
    rows = {name: row for row, name in enumerate(dict.fromkeys(pictures))}
    features, broken = picture_features(model, list(rows), cache, how.precision, crops=crops)
    problems = Problems(how.max_broken)
    for name, error in broken.items():
        problems.add(crops[name].path if crops else name, error.what)
    problems.check(len(rows))
    good = [number for number, name in enumerate(pictures) if name not in broken]
    if not good:
        raise UserError("pictures", "none can be read", "Replace them.")
    # Back to one row for each good entry of `pictures`.
    vectors = project(model, features).numpy()[[rows[pictures[number]] for number in good]]
    refuse_infinite(vectors, "the model's image vectors")
    return vectors, np.array(good, np.int64), left_out(problems, len(rows))
