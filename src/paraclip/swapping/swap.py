"""`swap` and `undo`: one file replaced in another program's cache, and restored.

A kept file is named after the program's file, its SHA-256 (16 digits) and `.base`, so the folder
alone says what is swapped. A file is replaced by one rename, so at any moment the program finds
either the old or the new one.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from glob import escape, glob
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from torch.nn.functional import interpolate

from paraclip.data.untrusted_json import read_json_object
from paraclip.errors import UserError
from paraclip.exporting.config import ExportOptions
from paraclip.exporting.source import Source, open_source
from paraclip.files import atomic_path, disk_errors, file_hash, readable
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import embed, image_space, project
from paraclip.models.loading import load_model
from paraclip.models.tensors import read_shapes
from paraclip.onnx_session import open_session
from paraclip.swap_checking.check import swap_check
from paraclip.swap_checking.indexes import Index
from paraclip.swapping.config import SwapSystem
from paraclip.swapping.places import PLACES, Place

_BASE = ".base"
_PART = re.compile(r"\..+\.[0-9a-f]{12}\.part")
_LOWEST = 0.999
"""Lowest cosine of vectors of one image tower in torch and in onnxruntime, also in 16 bits."""
_DOWNLOAD = "Delete it, let the program download it again, and run this again."


@dataclass(frozen=True)
class Swapped:
    """What `swap` or `undo` did, or would do.

    Args:
        files: the program's files that were replaced.
        kept: where the replaced files are; empty after `undo`.
        cleared: folders that the program had made from the replaced files.
        checked: what was compared, in sentences.
    """

    files: list[Path]
    kept: list[Path]
    cleared: list[Path]
    checked: list[str]


def swap(
    system: SwapSystem,
    cache: Path | str,
    model: DualEncoder | Path | str,
    *,
    tag: str | None = None,
    index: Index | None = None,
    dry_run: bool = False,
) -> Swapped:
    """Put a tuned text encoder in the place of the base's in a program's cache.

    Args:
        system: the program.
        cache: its cache.
        model: the tuned model, or its path or name.
        tag: open_clip's pretrained tag of the base, for a checkpoint that does not record it.
        index: vectors that must come from the model's image tower.
        dry_run: whether to stop before anything is changed.

    Raises:
        UserError: the cache does not hold the base, its image tower, activation or preprocessing is
            not the model's, or another tuned model is in its place.
    """
    place, source = PLACES[system], open_source(model, tag=tag)
    checked = _check_index(source, index) if index is not None else []
    with TemporaryDirectory() as folder, readable(cache):
        files = _files_of(place, Path(cache), source)
        with disk_errors(Path(folder)):
            new = _export(place, source, {file.name for file in files}, Path(folder))
        if place.image:
            for file in files:
                checked += _check_graphs(place, source, file, new[file.name])
        else:
            files = _snapshot_of_base(source, Path(cache), files, new)
            checked.append("Image tower, activation and preprocessing are the model's.")
        waiting = [file for file in files if file_hash(file) != file_hash(new[file.name])]
        kept = [_kept_path(file) for file in waiting]
        for file, path in zip(waiting, kept, strict=True):
            if set(_find(file.parent, f"{file.name}.*{_BASE}")) - {path}:
                what = "was swapped already, for another model"
                raise UserError(file, what, f"Run paraclip swap {system} --undo first.")
        _check_writable(files)
        cleared = _prepared_folders(place, files)
        if not dry_run:
            _clear(place, files)
            _forget_sizes(place, waiting)
            for file in waiting:
                replace_file(file, partial(shutil.copyfile, new[file.name]))
            _clear(place, files)  # a program that runs may have prepared the old file meanwhile
    return Swapped(waiting, kept, cleared, checked)


def undo(system: SwapSystem, cache: Path | str, *, dry_run: bool = False) -> Swapped:
    """Restore the files that `swap` replaced in a cache, byte for byte.

    Raises:
        UserError: there are none, or a kept file is gone or damaged.
    """
    place = PLACES[system]
    with readable(cache):
        kept = _in_folders(place, Path(cache), [f"{name}.*{_BASE}" for name in place.writers])
        files = [_original(path) for path in kept]
        if place.sizes:  # last: a file need not be listed
            kept += _in_folders(place, Path(cache), [f"{place.sizes}.*{_BASE}"])
        if not kept:
            raise UserError(cache, f"holds no swapped file of {system}", "Check --cache.")
        for path in kept:
            if not path.is_file() or path != _kept_path(path, _original(path).name):
                what = "is gone or has not the SHA-256 of its name"
                raise UserError(path, what, f"{_original(path)} cannot be restored: delete both.")
        _check_writable(files)
        cleared = _prepared_folders(place, files)
        if not dry_run:
            _clear(place, files)
            for path in kept:
                with atomic_path(_original(path)) as temporary:
                    _link(path, temporary)
            _clear(place, files)
            for path in kept:  # last, so that a run that is killed before can be repeated
                path.unlink()
    return Swapped([_original(path) for path in kept], [], cleared, [])


def replace_file(file: Path, write: Callable[[Path], object]) -> None:
    """Replace a file by one rename, and keep the old one beside it.

    Args:
        file: the file; of a link, the link is kept and not what it leads to.
        write: writes the new content to a path.

    Raises:
        UserError: the disk is full, or the folder may not be written.
    """
    kept = _kept_path(file)
    if not os.path.lexists(kept):
        with atomic_path(kept) as temporary:
            _link(file, temporary)
    with atomic_path(file) as temporary:
        write(temporary)
        shutil.copymode(file, temporary)


def _link(file: Path, path: Path) -> None:
    try:
        os.link(file, path, follow_symlinks=False)
    except OSError:  # a file system without hard links
        shutil.copy2(file, path)


def _kept_path(file: Path, name: str | None = None) -> Path:
    return file.with_name(f"{name or file.name}.{file_hash(file)}{_BASE}")


def _original(kept: Path) -> Path:
    return kept.with_name(kept.name.removesuffix(_BASE).rpartition(".")[0])


def _find(folder: Path, pattern: str) -> list[Path]:
    """Files and links that match a pattern, which may lead out of the folder."""
    found = glob(os.path.join(escape(str(folder)), pattern), recursive=True)
    return sorted({Path(os.path.normpath(path)) for path in found})


def _in_folders(place: Place, cache: Path, names: Iterable[str], base: str = "*") -> list[Path]:
    """Files with these names (or patterns) in the program's folders."""
    with suppress(FileNotFoundError, NotADirectoryError):
        os.listdir(cache)  # glob passes over a folder that may not be read
    folders = [folder.format(base=base) for folder in place.folders]
    found = [_find(cache, f"{folder}/{name}") for folder in folders for name in names]
    return sorted({path for paths in found for path in paths})


def _files_of(place: Place, cache: Path, source: Source) -> list[Path]:
    """The program's files that may hold the base's text encoder."""
    base = place.base(source)
    files = [path for path in _in_folders(place, cache, place.writers, base) if path.is_file()]
    if not files:
        wanted = " or ".join(
            f"{one.format(base=base)}/{'/'.join(place.writers)}" for one in place.folders
        )
        what = f"holds no {wanted}"
        raise UserError(cache, what, "Check --cache, and let the program download the base first.")
    return files


def _export(place: Place, source: Source, names: set[str], folder: Path) -> dict[str, Path]:
    """Write the model in the layouts of these files; returns the new files by name."""
    new, errors = {}, []
    for name in sorted(names):
        (folder / name).mkdir()
        try:
            place.writers[name].write(source, folder / name, ExportOptions())
        except UserError as error:  # of the two layouts on the hub, a model may have one
            errors.append(error)
            continue
        new[name] = next(path for path in (folder / name).rglob(name) if path.is_file())
    if not new:
        raise errors[0]
    return new


def _check_index(source: Source, index: Index) -> list[str]:
    origin = swap_check(source.model, source.model, index).origin
    if origin is None or not origin.same:
        what = "its vectors do not come from the model's image tower"
        raise UserError("--index", what, "Name the model whose base made the index.")
    return [f"Index: {origin.pictures} pictures embedded again, median cosine {origin.median:.3f}."]


def _check_graphs(place: Place, source: Source, file: Path, new: Path) -> list[str]:
    """Compare the text graphs' inputs, and the program's image tower with the model's."""
    for other in (path for pattern in place.instead for path in _find(file.parent, pattern)):
        what = f"is read on some devices instead of {file.name}"
        raise UserError(other, what, "Delete it, if the program has no such device.")
    old, ours = (
        {node.name: node.type for node in _session(path).get_inputs()} for path in (file, new)
    )
    if not ours.items() <= old.items():
        what = f"has the inputs {', '.join(old)}, and not {', '.join(ours)}"
        raise UserError(file, what, "This version of the program is not known.")
    graphs = _find(file.parent, place.image)
    for graph in graphs:
        lowest = _compare_image_towers(source.model, graph)
        if not lowest >= _LOWEST:
            what = f"its vectors are not those of the model's image tower (cosine {lowest:.3f})"
            raise UserError(graph, what, f"Tune the base that is in {file.parent}.")
    if not graphs:
        return [
            f"{file}: base, activation and preprocessing are right by name; there is no image"
            " tower to compare."
        ]
    return [f"{file}: the image tower beside it is the model's."]


def _session(path: Path) -> Any:
    try:
        return open_session(path, "export")
    except UserError:
        raise
    except Exception as error:  # onnxruntime's errors have no common class
        raise UserError(path, "is not a graph that onnxruntime can run", _DOWNLOAD) from error


def _compare_image_towers(model: DualEncoder, graph: Path) -> float:
    """Lowest cosine of vectors by the model and by a graph, for a few smooth random pictures."""
    side, random = model.image_size, torch.Generator().manual_seed(0)
    coarse = torch.randn(4, 3, 7, 7, generator=random)
    pixels = interpolate(coarse, (side, side), mode="bicubic")
    ours = project(model, embed(model, pixels, "fp32")).numpy()
    session = _session(graph)
    node = session.get_inputs()[0]
    kind = np.float16 if "float16" in node.type else np.float32
    try:
        rows = [session.run(None, {node.name: one[None].numpy().astype(kind)})[0] for one in pixels]
    except Exception:  # other sizes or inputs: another model
        return float("nan")
    theirs = np.concatenate(rows).astype(np.float32)
    if theirs.shape != ours.shape:
        return float("nan")
    return float(((theirs * ours).sum(1) / np.linalg.norm(theirs, axis=1)).min())


def _snapshot_of_base(
    source: Source, cache: Path, files: Sequence[Path], new: dict[str, Path]
) -> list[Path]:
    """The files of the one repository of the hub that hold a model with the same image side."""
    wanted = image_space(source.model)
    found = [
        file
        for file in files
        if file.name in new
        and _shapes(new[file.name]).items() <= _shapes(file).items()
        and _image_space_in(file.parent) == wanted
    ]
    repositories = sorted({str(file).rpartition("/snapshots/")[0] for file in found})
    if not found:
        what = "holds no CLIP with the model's image tower, activation and preprocessing"
        hint = "Only safetensors with their configuration beside them are compared. Check --cache."
        raise UserError(cache, what, hint)
    if len(repositories) > 1:
        what = f"holds several such models: {', '.join(repositories)}"
        raise UserError(cache, what, "Name the folder of one of them as --cache.")
    return found


def _image_space_in(folder: Path) -> str | None:
    """Of a model; None for weights alone, which open_clip downloads if it knows the model."""
    with suppress(UserError):
        return image_space(load_model(str(folder), "cpu"))
    return None


def _shapes(path: Path) -> dict[str, list[int]]:
    """Shapes of the tensors in a file; empty if it is no safetensors file."""
    with suppress(Exception):
        return read_shapes(path)
    return {}


def _listings(place: Place, files: Sequence[Path]) -> set[Path]:
    return {path for file in files if place.sizes for path in _find(file.parent, place.sizes)}


def _forget_sizes(place: Place, files: Sequence[Path]) -> None:
    """Take files off the list of sizes, so that the program does not download them again."""
    for listing in _listings(place, files):
        names = {file.relative_to(listing.parent).as_posix() for file in files}
        sizes = read_json_object(listing, _DOWNLOAD)
        if names & sizes.keys():
            rest = json.dumps({name: sizes[name] for name in sizes if name not in names})
            replace_file(listing, partial(Path.write_text, data=rest))


def _check_writable(files: Sequence[Path]) -> None:
    """Raise UserError for a file whose folder may not be written."""
    for folder in (file.parent for file in files):
        if not os.access(folder, os.W_OK):
            hint = "Run this as the user that it belongs to."
            raise UserError(folder, "may not be written", hint)


def _prepared_folders(place: Place, files: Sequence[Path]) -> list[Path]:
    """Folders that the program made from the files."""
    folders = [file.parent / name for file in files for name in place.prepared]
    return [folder for folder in folders if folder.is_dir()]


def _clear(place: Place, files: Sequence[Path]) -> None:
    """Remove what the program made from the old files, and what a killed run left."""
    for folder in _prepared_folders(place, files):
        # renamed first: half a folder could pass for a whole one
        with disk_errors(folder):
            folder.rename(folder.with_name(f".{folder.name}.{uuid4().hex[:12]}.part"))
    folders = {path.parent for path in (*files, *_listings(place, files))}
    for part in (path for folder in folders for path in folder.iterdir()):
        if _PART.fullmatch(part.name):
            shutil.rmtree(part) if part.is_dir() and not part.is_symlink() else part.unlink()
