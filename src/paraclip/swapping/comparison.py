"""Whether a program's files, or an index, are those of the model's base."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paraclip.compute.onnx_session import open_session
from paraclip.errors import UserError
from paraclip.swapping.cache import DOWNLOAD_AGAIN, find_files, model_folder
from paraclip.systems.system import Cache

if TYPE_CHECKING:
    from paraclip.exporting.source import Source
    from paraclip.indexes.reading import Index
    from paraclip.models.encoder import DualEncoder

_LOWEST = 0.999
"""Lowest cosine of vectors of one image tower in torch and in onnxruntime, also in 16 bits."""


def check_index(source: "Source", index: "Index") -> list[str]:
    from paraclip.indexes.origin import find_origin, pictures_of_rows

    origin = find_origin(source.model, index, pictures_of_rows(index.paths or []))
    if origin is None:
        raise UserError("--index", "none of its pictures can be opened", "Check the paths in it.")
    origin.check("--index")
    return [f"Index: {origin.pictures} pictures embedded again, median cosine {origin.median:.3f}."]


def check_graphs(place: Cache, source: "Source", file: Path, new: Path) -> list[str]:
    """Compare the text graphs' inputs, and the program's image tower with the model's."""
    for other in (path for pattern in place.instead for path in find_files(file.parent, pattern)):
        what = f"is read on some devices instead of {file.name}"
        raise UserError(other, what, "Delete it, if the program has no such device.")
    old, ours = (
        {node.name: node.type for node in _session(path).get_inputs()} for path in (file, new)
    )
    if not ours.items() <= old.items():  # the program gives the inputs of its own graph
        what = f"has the inputs {', '.join(old)}, and not {', '.join(ours)}"
        raise UserError(file, what, "This version of the program is not known.")
    graphs = find_files(file.parent, place.image)
    for graph in graphs:
        lowest = _compare_image_towers(source.model, graph)
        if not lowest >= _LOWEST:  # or NaN
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


def snapshot_of_base(
    source: "Source", cache: Path, files: Sequence[Path], new: dict[str, Path]
) -> list[Path]:
    """The files of the one repository of the hub that hold a model with the same image side."""
    from paraclip.models.features import image_space

    wanted = image_space(source.model)
    found = [file for file in files if file.name in new and _is_base(file, new[file.name], wanted)]
    repositories = sorted({model_folder(file) for file in found})
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
        # Shapes first, since loading takes long; the file may also hold the image tower.
        if read_shapes(new).items() <= read_shapes(file).items():
            return image_space(load_model(str(file.parent), "cpu")) == wanted
    return False
