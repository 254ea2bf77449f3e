"""`swap` and `undo`: one file replaced in another program's cache, and restored.

The base's file is kept beside the program's as FILE.BASE.WRITTEN.base, with 16 digits of the
SHA-256 of the base and of what took its place, so the folder alone says what is swapped, and `undo`
touches nothing that the program fetched since. A file is replaced by one rename, so at any moment
the program finds either the old or the new one. Weights beside a graph (`weight_files`) are there
before the graph that names them, and are deleted after it; the base's keep their names and stay.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from glob import escape, glob
from mmap import ACCESS_READ, mmap
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from paraclip.compute.onnx_session import WRITERS, open_session, weight_files
from paraclip.data.untrusted_json import read_json_object
from paraclip.errors import UserError, require
from paraclip.files import atomic_path, check_name, disk_errors, file_hash, readable, take_lock
from paraclip.models.sources import check_model, packages_of
from paraclip.progress import steps
from paraclip.systems import SWAPPED, SYSTEMS
from paraclip.systems.config import ExportOptions
from paraclip.systems.system import Cache, System

if TYPE_CHECKING:
    from paraclip.exporting.source import Source
    from paraclip.indexes.reading import Index
    from paraclip.models.encoder import DualEncoder

_BASE, _WEIGHTS = ".base", ".data"
_KEPT = re.compile(rf"(.+?)\.([0-9a-f]{{16}})(?:\.([0-9a-f]{{16}}))?{re.escape(_BASE)}", re.DOTALL)
_LOWEST = 0.999
"""Lowest cosine of vectors of one image tower in torch and in onnxruntime, also in 16 bits."""
_DOWNLOAD = "Delete it, let the program download it again, and run this again."


@dataclass(frozen=True)
class Swapped:
    """What `swap` or `undo` did, or would do."""

    files: list[Path]  # the program's files that were replaced
    kept: list[Path]  # where the replaced files are; empty after `undo`
    cleared: list[Path]  # folders that the program had made from the replaced files
    checked: list[str]  # what was compared, in sentences
    left: list[str]  # what was left because the program has changed it, in sentences


@dataclass(frozen=True)
class _Kept:
    """A base that is kept, with the hashes in its name."""

    file: Path
    base: str
    written: str

    @property
    def path(self) -> Path:
        return self.file.with_name(f"{self.file.name}.{self.base}.{self.written}{_BASE}")


def swap(
    system: str,
    cache: Path | str,
    model: "DualEncoder | Path | str",
    *,
    tag: str | None = None,
    index: "Index | None" = None,
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
    place, name = SWAPPED[system], str(model) if isinstance(model, Path | str) else None
    with _cache_errors(cache):
        found = _files_of(place, Path(cache), "*")
    graphs = any(place.files[file.name].format == "onnx" for file in found)
    require((packages_of(name) if name else {}) | (WRITERS if graphs else {}))
    if name is not None:
        check_model(name)
    from paraclip.exporting.source import load_source  # torch, only now

    named = ("loading the model", "writing its text encoder", "comparing", "replacing the file")
    with steps(f"swap {system}", *named) as begin_next:
        begin_next()
        source = load_source(model, tag=tag)
        return _swap(source, system, cache, index, dry_run, begin_next)


def _swap(
    source: "Source",
    system: str,
    cache: Path | str,
    index: "Index | None",
    dry_run: bool,
    begin_next: Callable[[], None],
) -> Swapped:
    from paraclip.exporting.source import base_name

    place, base = SWAPPED[system], base_name(source, SYSTEMS[system])
    with TemporaryDirectory() as folder, _cache_errors(cache):
        files = _files_of(place, Path(cache), base)
        if place.image:  # else, one of several is chosen by its content
            _check_writable({file.parent for file in files})
        checked = _check_index(source, index) if index is not None else []
        begin_next()
        with disk_errors(Path(folder)):
            new = _export(SYSTEMS[system], source, {file.name for file in files}, Path(folder))
        begin_next()
        if place.image:
            for file in files:
                checked += _check_graphs(place, source, file, new[file.name])
        else:
            files = _snapshot_of_base(source, Path(cache), files, new)
            checked.append("Image tower, activation and preprocessing are the model's.")
        folders = {path.parent for path in (*files, *_listings(place, files))}
        _check_writable(folders)
        begin_next()
        with _locked(folders):
            plan = _plan(system, files, new)
            changes = _shortened(place, files, Path(folder))
            changes |= {one: new[one.file.name] for one in plan}
            outdated = [old for one in changes for old in _outdated(one)]
            cleared = _prepared_folders(place, files)
            if not dry_run:
                _clear(place, files, folders)
                for one, path in changes.items():
                    _replace(one, path)
                # again: a program that runs may have prepared the old file meanwhile
                _clear(place, files, folders)
    left = [
        f"{old.file} is not what swap wrote, so it counts as the base now. The base of before stays"
        f" as {_outdated_path(old)}: delete it if you do not need it."
        for old in outdated
    ]
    return Swapped([one.file for one in plan], [one.path for one in plan], cleared, checked, left)


def undo(system: str, cache: Path | str, *, dry_run: bool = False) -> Swapped:
    """Restore the files that `swap` replaced in a cache, byte for byte.

    A file that has changed since is left as it is, and so is its base.

    Raises:
        UserError: there are none, or a kept file is gone or damaged.
    """
    place = SWAPPED[system]
    with _cache_errors(cache):
        folders = {path.parent for path in _traces(place, Path(cache))}
        _check_writable(folders)
        with _locked(folders):
            kept = _read_kept(
                path for path in _traces(place, Path(cache)) if path.parent in folders
            )
            found = {one.file: _base_of(one.file, kept) for one in kept}
            changed = [file for file, base in found.items() if base is None]
            restored = [base for base in found.values() if base is not None]
            if place.sizes:  # those of the base do not fit a file below the list that has changed
                outer = {folder for file in changed for folder in file.parent.parents}
                restored = [base for base in restored if base.file.parent not in outer]
            files = [base.file for base in restored]
            cleared = _prepared_folders(place, files)
            if not dry_run:
                _clear(place, files, folders)
                for base in restored:
                    if _hash(base.file) != base.base:
                        with atomic_path(base.file) as temporary:
                            _link(base.path, temporary)
                    _drop_weights(base.file)
                _clear(place, files, folders)
                # last, so that a run that is killed before can be repeated
                for one in kept:
                    if any((one.file, one.base) == (base.file, base.base) for base in restored):
                        one.path.unlink()
        if not kept:
            raise UserError(cache, f"holds no swapped file of {system}", "Check --cache.")
    left = [
        f"{one.file} has changed since the swap (a newer download?) and stays as it is. The base of"
        f" before stays as {one.path}: rename it to {one.file.name}, or delete it."
        for one in kept
        if one.file in changed
    ]
    return Swapped(files, [], cleared, [], left)


@contextmanager
def _cache_errors(cache: Path | str) -> Iterator[None]:
    """Raise UserError for what is wrong with the cache's folders, such as a loop of links."""
    check_name(cache)
    try:
        with readable(cache):
            yield
    except OSError as error:
        what = f"cannot be used ({error.strerror or error})"
        raise UserError(error.filename or cache, what, "Check --cache.") from error


@contextmanager
def _locked(folders: Iterable[Path]) -> Iterator[None]:
    """Wait until no other run changes these folders; no file of ours is needed in them.

    Not the cache as a whole, which has several names: the hub's, or the folder of a model in it.
    """
    same = {_identity(folder): folder for folder in folders}
    with ExitStack() as stack:
        for _, folder in sorted(same.items()):  # in one order, so that no two runs wait for another
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            take_lock(descriptor, folder, wait=True)
        yield


def _identity(folder: Path) -> tuple[int, int]:
    facts = folder.stat()
    return facts.st_dev, facts.st_ino


def _plan(system: str, files: Sequence[Path], new: Mapping[str, Path]) -> list[_Kept]:
    """The files to replace, each with the base to keep; UserError for one that was swapped."""
    written = {name: file_hash(path) for name, path in new.items()}
    plan = [_Kept(file, file_hash(file), written[file.name]) for file in files]
    plan = [one for one in plan if one.base != one.written]
    for one in plan:
        if any(old.written == one.base != old.base for old in _kept_of(one.file)):
            what = "was swapped already, for another model"
            raise UserError(one.file, what, f"Run paraclip swap {system} --undo first.")
    return plan


def _replace(change: _Kept, new: Path) -> None:
    """Replace a file by one rename, and keep the old one beside it.

    Of a link, the link is kept and not what it leads to. Raises UserError if the disk is full.
    """
    for old in _outdated(change):
        old.path.rename(_outdated_path(old))
    if _hash(change.path) != change.base:
        with atomic_path(change.path) as temporary:
            _link(change.file, temporary)
    weights = {change.file.with_name(path.name): path for path in weight_files(new)}
    for path, source in {**weights, change.file: new}.items():  # the graph last
        with atomic_path(path) as temporary:
            shutil.copyfile(source, temporary)
            _set_owner(temporary, change.file.stat())
            shutil.copymode(change.file, temporary)
    for old in _kept_of(change.file):
        if old != change:  # the same base, kept for an earlier model
            old.path.unlink()
    _drop_weights(change.file)


def _drop_weights(file: Path) -> None:
    """Delete weights that no graph here names: neither the file nor one that is kept of it."""
    beside = _find(file.parent, f"{escape(file.name)}*")
    graphs = [path for path in beside if path.is_file() and path.suffix != _WEIGHTS]
    for path in weight_files(file):
        if not any(_names(graph, path.name) for graph in graphs):
            path.unlink()


def _names(graph: Path, weights: str) -> bool:
    """Whether a graph, which may be large, names a file of weights."""
    with graph.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:  # nothing to map
            return False
        with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            return content.find(weights.encode()) >= 0


def _link(file: Path, path: Path) -> None:
    try:
        os.link(file, path, follow_symlinks=False)
    except OSError:  # a file system without hard links
        shutil.copy2(file, path, follow_symlinks=False)
        _set_owner(path, file.lstat())


def _set_owner(path: Path, facts: os.stat_result) -> None:
    """Give a file the owner and group of another, so that the program can still read it."""
    for owner in (-1, facts.st_uid):  # first the group alone: only root may give a file away
        with suppress(OSError):
            os.chown(path, owner, facts.st_gid, follow_symlinks=False)


def _hash(path: Path) -> str:
    return file_hash(path) if path.is_file() else ""


def _read_kept(paths: Iterable[Path]) -> list[_Kept]:
    kept = []
    for path in paths:
        if match := _KEPT.fullmatch(path.name):
            name, base, written = match.groups()
            if written is None:
                what = f"is a base of {name}, kept by a version before the first release of swap"
                raise UserError(path, what, f"Rename it to {name} to restore it, or delete it.")
            kept.append(_Kept(path.with_name(name), base, written))
    return kept


def _kept_of(file: Path) -> list[_Kept]:
    found = _read_kept(_find(file.parent, f"{escape(file.name)}.*{_BASE}"))
    return [one for one in found if one.file == file]


def _outdated(change: _Kept) -> list[_Kept]:
    """Other bases that are kept of a file: the program has replaced what took their place."""
    return [old for old in _kept_of(change.file) if old.base != change.base]


def _outdated_path(old: _Kept) -> Path:
    """Where no undo finds it."""
    return old.file.with_name(f"{old.file.name}.{old.base}.old")


def _base_of(file: Path, kept: Sequence[_Kept]) -> _Kept | None:
    """The base of a file as it is now; None if it has changed since the swap."""
    present = _hash(file)
    fitting = [one for one in kept if one.file == file and present in ("", one.base, one.written)]
    if len({one.base for one in fitting}) > 1:
        names = " and ".join(one.path.name for one in fitting)
        hint = "Delete all but the base's, and run this again."
        raise UserError(file, f"has several kept files: {names}", hint)
    if not fitting:
        return None
    base = fitting[0]
    if base.base not in (present, _hash(base.path)):
        what = "is gone or has not the SHA-256 of its name"
        hint = (
            f"Delete it, and {file}, too, if it is the tuned one: the program downloads the base."
        )
        raise UserError(base.path, what, hint)
    return base


def _traces(place: Cache, cache: Path) -> list[Path]:
    """Kept files, the lists of sizes last, and what a killed run left."""
    names = [*place.files, *filter(None, [place.sizes])]
    kept = [path for name in names for path in _in_folders(place, cache, [f"{name}.*{_BASE}"])]
    parts = [
        os.path.join(os.path.dirname(name), f".{os.path.basename(name)}.*.part")
        for name in (*names, *place.prepared)
    ]
    part = _part(place)
    return kept + [path for path in _in_folders(place, cache, parts) if part.fullmatch(path.name)]


def _part(place: Cache) -> re.Pattern[str]:
    """Names of temporary files and folders of `swap` and `undo`, and of no other program."""
    names = (*place.files, *place.prepared, os.path.basename(place.sizes))
    ours = "|".join(re.escape(name) for name in names if name)
    kept = rf"(?:\.[0-9a-f]{{16}}){{2}}{re.escape(_BASE)}|\.[0-9a-f]{{16}}{re.escape(_WEIGHTS)}"
    return re.compile(rf"\.(?:{ours})(?:{kept})?\.[0-9a-f]{{12}}\.part")


def _find(folder: Path, pattern: str) -> list[Path]:
    """Files and links that match a pattern, which may lead out of the folder.

    `**/` is any number of folders, but no links, which may form loops.
    """
    start, deep, rest = pattern.rpartition("**/")
    roots = glob(os.path.join(escape(str(folder)), start))
    if deep:
        own = [root for root in roots if not (start and os.path.islink(root.rstrip("/")))]
        roots = [inside for root in own for inside, _, _ in os.walk(root)]
    found = [path for root in roots for path in glob(os.path.join(escape(root), rest))]
    return sorted({Path(os.path.normpath(path)) for path in found})


def _in_folders(place: Cache, cache: Path, names: Iterable[str], base: str = "*") -> list[Path]:
    """Files with these names (or patterns) in the program's folders, each by one of its paths."""
    with suppress(FileNotFoundError, NotADirectoryError):
        os.listdir(cache)  # glob passes over a folder that may not be read
    folders = [folder.format(base=base) for folder in place.folders]
    found: dict[object, Path] = {}
    for pattern in (f"{folder}/{name}" for folder in folders for name in names):
        for path in _find(cache, pattern):
            check_name(path)
            found.setdefault((_identity(path.parent), path.name), path)
    return sorted(found.values())


def _files_of(place: Cache, cache: Path, base: str) -> list[Path]:
    """The program's files that may hold the base's text encoder."""
    files = [path for path in _in_folders(place, cache, place.files, base) if path.is_file()]
    if not files:
        wanted = " or ".join(
            f"{folder.format(base=base)}/{name}" for folder in place.folders for name in place.files
        )
        what = f"holds no {wanted}"
        raise UserError(cache, what, "Check --cache, and let the program download the base first.")
    return files


def _export(system: System, source: "Source", names: set[str], folder: Path) -> dict[str, Path]:
    """Write the model in the layouts of these files; returns the new files by name."""
    from paraclip.exporting.layouts import write_layout

    new, errors, layouts = {}, [], SWAPPED[system.name].files
    for name in sorted(names):
        (folder / name).mkdir()
        try:
            write_layout(layouts[name], source, folder / name, ExportOptions(), system)
        except UserError as error:  # of the two layouts on the hub, a model may have one
            errors.append(error)
            continue
        new[name] = next(path for path in (folder / name).rglob(name) if path.is_file())
    if not new:
        raise errors[0]
    return new


def _check_index(source: "Source", index: "Index") -> list[str]:
    from paraclip.indexes.origin import NOTHING_OPENED, find_origin, find_pictures

    origin = find_origin(source.model, index, find_pictures(index.paths or []))
    if origin is None:
        raise UserError("--index", NOTHING_OPENED, "Check the paths in it.")
    if not origin.same:
        what = "its vectors do not come from the model's image tower"
        raise UserError("--index", what, "Name the model whose base made the index.")
    return [f"Index: {origin.pictures} pictures embedded again, median cosine {origin.median:.3f}."]


def _check_graphs(place: Cache, source: "Source", file: Path, new: Path) -> list[str]:
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


def _compare_image_towers(model: "DualEncoder", graph: Path) -> float:
    """Lowest cosine of vectors by the model and by a graph, for a few smooth random pictures."""
    import numpy as np
    import torch
    from torch.nn.functional import interpolate

    from paraclip.models.features import embed, project

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
    source: "Source", cache: Path, files: Sequence[Path], new: dict[str, Path]
) -> list[Path]:
    """The files of the one repository of the hub that hold a model with the same image side."""
    from paraclip.models.features import image_space

    wanted = image_space(source.model)
    found = [file for file in files if file.name in new and _is_base(file, new[file.name], wanted)]
    repositories = sorted({str(file).rpartition("/snapshots/")[0] for file in found})
    if not found:
        what = "holds no CLIP with the model's image tower, activation and preprocessing"
        hint = "Only safetensors with their configuration beside them are compared. Check --cache."
        raise UserError(cache, what, hint)
    if len(repositories) > 1:
        what = f"holds several such models: {', '.join(repositories)}"
        raise UserError(cache, what, "Name the folder of one of them as --cache.")
    return found


def _is_base(file: Path, new: Path, wanted: str) -> bool:
    """Whether a file holds the tensors of the new one, and its folder a model with this image side.

    The folder of weights alone, which open_clip downloads if it knows the model, holds no model.
    """
    from safetensors import SafetensorError

    from paraclip.models.features import image_space
    from paraclip.models.loading import load_model
    from paraclip.models.tensors import read_shapes

    with suppress(UserError, OSError, SafetensorError):
        if read_shapes(new).items() <= read_shapes(file).items():
            return image_space(load_model(str(file.parent), "cpu")) == wanted
    return False


def _listings(place: Cache, files: Sequence[Path]) -> set[Path]:
    return {path for file in files if place.sizes for path in _find(file.parent, place.sizes)}


def _shortened(place: Cache, files: Sequence[Path], folder: Path) -> dict[_Kept, Path]:
    """Lists of sizes without the files, so that the program does not download them again."""
    changes: dict[_Kept, Path] = {}
    for listing in _listings(place, files):
        names = {file.relative_to(listing.parent).as_posix() for file in files}
        sizes = read_json_object(listing, _DOWNLOAD)
        if names & sizes.keys():
            short = folder / f"{len(changes)}.json"
            short.write_text(json.dumps({name: sizes[name] for name in sizes if name not in names}))
            changes[_Kept(listing, file_hash(listing), file_hash(short))] = short
    return changes


def _check_writable(folders: Iterable[Path]) -> None:
    """Raise UserError for a folder that may not be written."""
    for folder in folders:
        if not os.access(folder, os.W_OK):
            hint = "Run this as the user that it belongs to."
            raise UserError(folder, "may not be written", hint)


def _prepared_folders(place: Cache, files: Sequence[Path]) -> list[Path]:
    """Folders that the program made from the files."""
    folders = [file.parent / name for file in files for name in place.prepared]
    return [folder for folder in folders if folder.is_dir()]


def _clear(place: Cache, files: Sequence[Path], folders: Iterable[Path]) -> None:
    """Remove what the program made from the old files, and what a killed run left in folders."""
    for folder in _prepared_folders(place, files):
        # renamed first: half a folder could pass for a whole one
        with disk_errors(folder):
            folder.rename(folder.with_name(f".{folder.name}.{uuid4().hex[:12]}.part"))
    for path in (path for folder in folders for path in folder.iterdir()):
        if _part(place).fullmatch(path.name):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
