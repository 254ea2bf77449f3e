"""Pools to search: a folder of pictures, a list of names, or stored vectors."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paraclip.data.images import picture_files
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.evaluation.scoring.arrays import BAD_HEADER
from paraclip.evaluation.scoring.vectors import refuse_infinite
from paraclip.files import check_input, check_name, file_hash, read_bounded, text_hash, text_lines

Float = NDArray[np.floating]

CHECK_ROWS = 65_536
LARGEST_LIST = 2**30  # bytes of a list of names
UNIT = 1e-3


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
        """The size and the name, for the report."""
        kind = "pictures" if self.vectors is None else "cached vectors"
        return f"{len(self):,} {kind} of {self.name}"


def read_pool(source: str | Path, images: str | Path | None = None) -> Pool:
    """Read a pool from a folder of pictures, a text file of names, or a file of vectors.

    Args:
        source: folder (with its subfolders, ordered by path); .txt with one picture name a
            line; .npy of vectors float32 or float64 [items, width], read block by block.
        images: folder that the names are relative to; by default the list's folder, or `images`
            in it.

    Raises:
        UserError: if the pool does not exist or has no pictures, a name is duplicated, or a vector
            does not have length 1.
    """
    path = Path(source)
    check_input(path)
    if path.is_dir():
        return folder_pool(path)
    if not path.exists():
        raise UserError(source, "there is no such pool", "Name a folder of pictures.")
    if path.suffix == ".npy":
        return vector_pool(path)
    if path.suffix == ".txt":
        return named_pool(path, Path(images) if images else None)
    hint = "Name a folder of pictures, a .txt of picture names or a .npy of vectors."
    raise UserError(source, "is not a pool", hint)


def folder_pool(folder: Path) -> Pool:
    """All pictures in a folder and its subfolders."""
    folder = folder if folder.name else folder.absolute()  # `.` has no name for the report
    paths = picture_files(folder)
    if not paths:
        raise UserError(folder, "contains no pictures", "Name a folder that has some.")
    refuse_undecodable(paths)
    names = [path.relative_to(folder).as_posix() for path in paths]
    label = f"{folder.parent.name}/{folder.name}" if folder.parent.name else folder.name
    return Pool(label, tuple(map(str, paths)), None, text_hash("\n".join(names)))


def named_pool(listed: Path, images: Path | None) -> Pool:
    """The pictures listed in a text file, one per line, in that order."""
    names = read_names(listed)
    folders = [images] if images else [listed.parent, listed.parent / "images"]
    holding = (path for name in names for path in folders if os.path.exists(path / name))
    folder = next(holding, folders[0])  # the first names may be of missing pictures
    references = tuple(str(folder / name) for name in names)
    return Pool(listed.name, references, None, text_hash("\n".join(names)))


def read_names(listed: Path) -> list[str]:
    """The non-empty lines of a text file; raises UserError for a duplicate."""
    try:
        lines = text_lines(read_bounded(listed, LARGEST_LIST).decode("utf-8-sig"))
    except FileNotFoundError:
        raise UserError(listed, "there is no such file", "Check the name.") from None
    except UnicodeDecodeError:
        raise UserError(listed, "is not UTF-8", "Save it as UTF-8.") from None
    except OSError as error:
        hint = "Name a text file with one picture name per line."
        raise UserError(listed, f"cannot be read ({error.strerror})", hint) from error
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


def vector_pool(path: Path) -> Pool:
    """Vectors of a .npy file, memory-mapped; pickled objects are refused."""
    hint = "Save unit vectors with numpy.save, float32 [items, width]."
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except BAD_HEADER as error:
        reason = str(error) or type(error).__name__
        raise UserError(path, f"is not a .npy file of vectors ({reason})", hint) from error
    if not isinstance(vectors, np.ndarray):
        vectors.close()
        raise UserError(path, "is an .npz file of several arrays", hint)
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or not vectors.size:
        what = f"contains {vectors.dtype} {list(vectors.shape)}, not vectors [items, width]"
        raise UserError(path, what, hint)
    for start in range(0, len(vectors), CHECK_ROWS):
        check_unit(np.asarray(vectors[start : start + CHECK_ROWS], np.float32), path, start, hint)
    return Pool(path.name, (), vectors, file_hash(path))


def refuse_undecodable(paths: Sequence[Path | str]) -> None:
    """Raise UserError for the first picture whose name is not UTF-8, which has no hash."""
    for path in paths:
        check_name(path)


def check_unit(block: Float, path: Path, start: int, hint: str) -> None:
    """Raise UserError for vectors that are not finite or whose length is not 1."""
    refuse_infinite(block, str(path), start)
    lengths = np.linalg.norm(block, axis=1)
    bad = np.flatnonzero(abs(lengths - 1) > UNIT)
    if len(bad):
        row = start + int(bad[0])
        raise UserError(f"{path}:{row}", f"has length {lengths[bad[0]]:.4g}, not 1", hint)


def refuse_missing(references: Sequence[str], max_broken: float) -> None:
    """Raise UserError if more than `max_broken` (0 to 1) of the pictures are missing.

    This happens before any computation; later steps skip missing pictures. URLs are not checked.
    """
    problems = Problems(max_broken)
    for name in dict.fromkeys(references):
        if "://" not in name and not os.path.isfile(name):
            problems.add(name, "there is no such picture")
    problems.check(len(set(references)))
