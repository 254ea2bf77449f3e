"""`swap` and `undo`: one file replaced in another program's cache, and restored.

A file is replaced by one rename, so at any moment the program finds either the old or the new one,
and the base's is kept beside it (`kept`).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from paraclip.compute.onnx_session import open_session
from paraclip.data.untrusted_json import read_json_object
from paraclip.errors import UserError
from paraclip.files import disk_errors, file_hash
from paraclip.models.sources import check_model
from paraclip.progress import steps
from paraclip.swapping.cache import (
    DOWNLOAD_AGAIN,
    cache_errors,
    check_writable,
    clear,
    files_of,
    files_of_models,
    find_named,
    listings,
    locked_folders,
    model_folder,
    prepared_from,
    traces,
)
from paraclip.swapping.kept import (
    Kept,
    base_of,
    is_in_place,
    kept_of,
    outdated,
    outdated_path,
    read_kept,
    replace_file,
    restore_file,
)
from paraclip.systems import ExportOptions, swapped
from paraclip.systems.system import Cache, System

if TYPE_CHECKING:
    from paraclip.exporting.source import Source
    from paraclip.indexes import Index
    from paraclip.models.encoder import DualEncoder, Model

_LOWEST = 0.999
"""Lowest cosine of vectors of one image encoder in torch and in onnxruntime, also in 16 bits."""
_CHANGED = "has changed since the swap (a newer download?)"


@dataclass(frozen=True)
class Swapped:
    """What `swap` or `undo` did, or would do, or what `inspect_swap` found."""

    files: list[Path]  # the program's files that were replaced, or are in place
    kept: list[Path]  # where the base's files are; empty after `undo`
    cleared: list[Path]  # what the program had made from the replaced files
    checked: list[str]  # what was compared, in sentences
    left: list[str]  # what was left because the program has changed it, in sentences


def swap(
    system: str,
    cache: Path | str,
    model: "Model",
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
    name = str(model) if isinstance(model, Path | str) else None
    places = [variant.cache for variant in swapped()[system].variants]
    with cache_errors(cache):
        files_of(places, Path(cache), "*")
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
    from paraclip.exporting.source import find_base

    variant, base = find_base(source, swapped()[system])
    place = variant.cache
    with TemporaryDirectory() as folder, cache_errors(cache):
        files = files_of([place], Path(cache), base)
        if place.image:  # else, one of several is chosen by its content
            check_writable({file.parent for file in files})
        checked = _check_index(source, index) if index is not None else []
        begin_next()
        with disk_errors(Path(folder)):
            new = _export(variant, source, {file.name for file in files}, Path(folder))
        begin_next()
        if place.image:
            for file in files:
                checked += _check_graphs(place, source, file, new[file.name])
        else:
            files = _snapshot_of_base(source, Path(cache), files, new)
            checked.append("Image encoder, activation and preprocessing are the model's.")
        folders = {path.parent for path in (*files, *listings(place, files))}
        check_writable(folders)
        begin_next()
        with locked_folders(folders):
            plan = _plan(system, files, new)
            changes = _shortened(place, files, Path(folder))
            changes |= {one: new[one.file.name] for one in plan}
            before = [old for one in changes for old in outdated(one)]
            cleared = prepared_from(place, files)
            if not dry_run:
                clear(place, files, folders)
                for one, path in changes.items():
                    replace_file(one, path)
                # again: a program that runs may have prepared the old file meanwhile
                clear(place, files, folders)
    left = [
        f"{old.file} is not what swap wrote, so it counts as the base now. The base of before stays"
        f" as {outdated_path(old)}: delete it if you do not need it."
        for old in before
    ]
    # Without a change, those of an earlier swap; none, if the model is the base itself.
    kept = plan or [old for file in files for old in kept_of(file)]
    return Swapped([one.file for one in plan], [one.path for one in kept], cleared, checked, left)


def _check_index(source: "Source", index: "Index") -> list[str]:
    from paraclip.data.captions import Problems
    from paraclip.indexes import find_origin, pictures_of_rows

    problems = Problems()
    origin = find_origin(source.model, index, pictures_of_rows(index.paths or []), problems)
    if origin is None:
        raise UserError("--index", "none of its pictures can be opened", "Check the paths in it.")
    origin.check("--index")
    line = f"Index: {origin.pictures} pictures embedded again, median cosine {origin.median:.3f}."
    return [line, *problems.summary().splitlines()]


def _check_graphs(place: Cache, source: "Source", file: Path, new: Path) -> list[str]:
    """Compare the text graphs' inputs, and the program's image tower with the model's."""
    for other in (path for pattern in place.instead for path in find_named(file.parent, pattern)):
        what = f"is read on some devices instead of {file.name}"
        raise UserError(other, what, "Delete it, if the program has no such device.")
    old, ours = (
        {node.name: node.type for node in _session(path).get_inputs()} for path in (file, new)
    )
    if not ours.items() <= old.items():  # the program gives the inputs of its own graph
        what = f"has the inputs {', '.join(old)}, and not {', '.join(ours)}"
        raise UserError(file, what, "This version of the program is not known.")
    graphs = find_named(file.parent, place.image)
    for graph in graphs:
        lowest = _compare_image_towers(source.model, graph)
        if not lowest >= _LOWEST:  # or NaN
            what = f"its vectors are not those of the model's image encoder (cosine {lowest:.3f})"
            raise UserError(graph, what, f"Tune the base that is in {file.parent}.")
    if not graphs:
        return [
            f"{file}: base, activation and preprocessing are right by name; there is no image"
            " encoder to compare."
        ]
    return [f"{file}: the image encoder beside it is the model's."]


def _session(path: Path) -> Any:
    try:
        return open_session(path, "export")
    except UserError:
        raise
    except Exception as error:  # onnxruntime's errors have no common class
        raise UserError(path, "is not a graph that onnxruntime can run", DOWNLOAD_AGAIN) from error


def _compare_image_towers(model: "DualEncoder", graph: Path) -> float:
    """Lowest cosine of vectors by the model and by a graph, for a few smooth random pictures."""
    import numpy as np
    import torch
    from torch.nn.functional import interpolate

    from paraclip.models.features import embed, project

    side, random = model.image_size, torch.Generator().manual_seed(0)
    coarse = torch.randn(4, 3, 7, 7, generator=random)  # 7 x 7 pixels, enlarged: no sharp noise
    pixels = interpolate(coarse, (side, side), mode="bicubic")
    ours = project(model, embed(model, pixels, "fp32")).numpy()
    session = _session(graph)
    node = session.get_inputs()[0]
    kind = np.float16 if "float16" in node.type else np.float32
    try:
        runs = [session.run(None, {node.name: one[None].numpy().astype(kind)}) for one in pixels]
    except Exception:  # other sizes or inputs: another model
        return float("nan")
    # Beside the vectors, a graph may return the states of patches.
    vectors = [one for outputs in runs for one in outputs if one.shape == (1, ours.shape[1])]
    if len(vectors) != len(ours):
        return float("nan")
    theirs = np.concatenate(vectors).astype(np.float32)
    return float(((theirs * ours).sum(1) / np.linalg.norm(theirs, axis=1)).min())


def _snapshot_of_base(
    source: "Source", cache: Path, files: Sequence[Path], new: dict[str, Path]
) -> list[Path]:
    """The files of the one repository of the hub that hold a model with the same image side."""
    from paraclip.models.features import image_space

    wanted = image_space(source.model)
    found = [file for file in files if file.name in new and _is_base(file, new[file.name], wanted)]
    repositories = sorted({model_folder(file) for file in found})
    if not found:
        what = "holds no CLIP with the model's image encoder, activation and preprocessing"
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
        # Shapes first, since loading takes long; the file may also hold the image tower.
        if read_shapes(new).items() <= read_shapes(file).items():
            return image_space(load_model(str(file.parent), "cpu")) == wanted
    return False


def _export(system: System, source: "Source", names: set[str], folder: Path) -> dict[str, Path]:
    """Write the model in the layouts of these files; returns the new files by name."""
    from paraclip.exporting.layouts import write_layout

    new, errors, layouts = {}, [], system.cache.files
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


def _plan(system: str, files: Sequence[Path], new: Mapping[str, Path]) -> list[Kept]:
    """The files to replace, each with the base to keep; UserError for one that was swapped."""
    written = {name: file_hash(path) for name, path in new.items()}
    plan = [Kept(file, file_hash(file), written[file.name]) for file in files]
    plan = [one for one in plan if one.base != one.written]  # the others are swapped already
    for one in plan:
        if any(old.written == one.base != old.base for old in kept_of(one.file)):
            what = "was swapped already, for another model"
            raise UserError(one.file, what, f"Run paraclip swap {system} --undo first.")
    return plan


def _shortened(place: Cache, files: Sequence[Path], folder: Path) -> dict[Kept, Path]:
    """Lists of sizes without the files, so that the program does not download them again."""
    changes: dict[Kept, Path] = {}
    for listing in listings(place, files):
        names = {file.relative_to(listing.parent).as_posix() for file in files}
        sizes = read_json_object(listing, DOWNLOAD_AGAIN)
        if names & sizes.keys():
            short = folder / f"{len(changes)}.json"
            short.write_text(json.dumps({name: sizes[name] for name in sizes if name not in names}))
            changes[Kept(listing, file_hash(listing), file_hash(short))] = short
    return changes


def inspect_swap(system: str, cache: Path | str) -> Swapped:
    """Which files of a cache are as `swap` wrote them; nothing is changed.

    The sentences in `left` name the others: an update of the program may have brought the base back
    or a newer one.

    Raises:
        UserError: nothing is swapped there.
    """
    return _of_variants(system, cache, _inspect)


def _inspect(system: System, cache: Path) -> Swapped:
    kept = read_kept(traces(system.cache, cache))
    present = {one.file: one.path for one in kept if is_in_place(one)}
    once = {one.file for one in kept}
    left = [f"{file} {_CHANGED}." for file in sorted(once - present.keys())]
    # A newer version of the program may read another revision.
    others = files_of_models(system.cache, cache, system.bases, once) - once
    left += [f"{file} is another revision of it, and not swapped." for file in sorted(others)]
    return Swapped([*present], [*present.values()], [], [], left)


def _of_variants(system: str, cache: Path | str, act: Callable[[System, Path], Swapped]) -> Swapped:
    """What a function did with each variant of a program; UserError if nothing is swapped."""
    with cache_errors(cache):
        parts = [act(variant, Path(cache)) for variant in swapped()[system].variants]
    lists = ([one for part in parts for one in getattr(part, of.name)] for of in fields(Swapped))
    done = Swapped(*lists)
    if not done.files and not done.left:
        hint = "Check --cache, or swap with --tuned."
        raise UserError(cache, f"holds no swapped file of {system}", hint)
    return done


def undo(system: str, cache: Path | str, *, dry_run: bool = False) -> Swapped:
    """Restore the files that `swap` replaced in a cache, byte for byte.

    A file that has changed since is left as it is, and so is its base.

    Raises:
        UserError: there are none, or a kept file is gone or damaged.
    """
    return _of_variants(system, cache, partial(_undo, dry_run=dry_run))


def _undo(system: System, cache: Path, dry_run: bool) -> Swapped:
    place = system.cache
    folders = {path.parent for path in traces(place, cache)}
    check_writable(folders)
    with locked_folders(folders):
        kept = read_kept(path for path in traces(place, cache) if path.parent in folders)
        found = {one.file: base_of(one.file, kept) for one in kept}
        changed = [file for file, base in found.items() if base is None]
        restored = [base for base in found.values() if base is not None]
        if place.sizes:  # those of the base do not fit a file below the list that has changed
            outer = {folder for file in changed for folder in file.parent.parents}
            restored = [base for base in restored if base.file.parent not in outer]
        files = [base.file for base in restored]
        cleared = prepared_from(place, files)
        if not dry_run:
            clear(place, files, folders)
            for base in restored:
                restore_file(base)
            clear(place, files, folders)
            # last, so that a run that is killed before can be repeated
            for one in kept:
                if any((one.file, one.base) == (base.file, base.base) for base in restored):
                    one.path.unlink()
    left = [
        f"{one.file} {_CHANGED} and stays as it is. The base of"
        f" before stays as {one.path}: rename it to {one.file.name}, or delete it."
        for one in kept
        if one.file in changed
    ]
    return Swapped(files, [], cleared, [], left)
