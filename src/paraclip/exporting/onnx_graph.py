"""Towers as ONNX graphs.

Pooling, projection and normalisation are inside the graph.
`torch.onnx.export` writes them, then onnxruntime runs them once for comparison with torch: a file
that the runtime cannot read, or that computes other vectors, is not kept.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from paraclip.errors import UserError, optional_import
from paraclip.exporting.drift import Drift, Vectors, check_drift, drift, probes
from paraclip.exporting.quantise import quantise
from paraclip.models.encoder import DualEncoder
from paraclip.models.tensors import count_bytes
from paraclip.onnx_session import open_session

_LARGEST = 2**31 - 2**20  # bytes of a protobuf message, minus some room for the graph
_MOST_DIFFERENCE = 1e-3  # maximum difference of unit vectors; above it, the file is refused
_TEXTS = ("a photo of a cat", "", "two dogs play on a beach while a child watches them")
_INNER = ("paraclip_input", "paraclip_output")  # names that no exporter uses
_OPSET = 18  # needs onnxruntime 1.14 or newer


@dataclass(frozen=True)
class TextInterface:
    """How a system calls a text graph."""

    inputs: str = "input_ids"  # name of the token ids
    outputs: str = "text_embeds"  # name of the text vectors
    dtype: str = "int64"  # of the ids, or int32
    fixed_length: bool = False  # whether ids always have the length of the context
    unit: bool = True  # whether the vectors have unit length
    # A token that replaces the last one of a text without it, or None. transformers.js cuts off
    # the end token of a text that exceeds the context.
    end: int | None = None


class _TextGraph(nn.Module):
    """Maps token ids [batch, length] to text vectors [batch, embed_dim]."""

    def __init__(self, model: DualEncoder, unit: bool, end: int | None = None) -> None:
        super().__init__()
        self.tower, self.unit, self.end = model.text_tower, unit, end

    def forward(self, ids: Tensor) -> Tensor:
        """Text vectors; the tower itself finds the end token or the padding."""
        if self.end is not None:
            ended = (ids == self.end).any(dim=1, keepdim=True)
            last = torch.where(ended, ids[:, -1:], self.end)
            ids = torch.cat([ids[:, :-1], last], dim=1)
        output = self.tower(ids)
        vectors: Tensor = (output if isinstance(output, Tensor) else output[0]).float()
        return normalize(vectors, dim=-1) if self.unit else vectors


class _ImageGraph(nn.Module):
    """Maps pixels [batch, 3, side, side] to unit image vectors [batch, embed_dim]."""

    def __init__(self, model: DualEncoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """Image vectors."""
        return self.model.project_images(self.model.embed_pixels(pixels))


def write_text_graph(model: DualEncoder, path: Path, interface: TextInterface) -> None:
    """Write a text tower as one ONNX file and check it with onnxruntime.

    Raises:
        UserError: onnx or onnxruntime is missing, the tower exceeds the 2 GB of an ONNX file, or
            the file computes other vectors.
    """
    _check(model.text_tower, model.architecture.name)
    length = _fixed_length(model, interface)
    shape: dict[int, Any] = {0: torch.export.Dim("batch", min=1)}
    if length is None:
        context = model.architecture.context_length
        shape[1] = torch.export.Dim("length", min=2, max=context)
    example = _padded_ids(model, _TEXTS, length).to(getattr(torch, interface.dtype))
    graph = _TextGraph(model, interface.unit, interface.end)
    _export_graph(graph, example, path, (interface.inputs, interface.outputs), shape)
    _compare(path, interface.inputs, example, graph)


def write_small_graph(
    model: DualEncoder, path: Path, small: Path, interface: TextInterface
) -> Drift:
    """Write a text graph, already written to `path`, with 8-bit weights as well.

    Raises:
        UserError: 8-bit weights change the vectors too much.
    """
    quantise(path, small)
    length, dtype = _fixed_length(model, interface), getattr(torch, interface.dtype)
    rows = [_padded_ids(model, [text], length).to(dtype).numpy() for text in probes()]

    def embed(file: Path) -> Vectors:  # one by one, as in a search: a batch has one input scale
        tower = open_session(file, "export")
        return np.concatenate([tower.run(None, {interface.inputs: ids})[0] for ids in rows])

    return check_drift("--int8", drift("int8", embed(small), embed(path)))


def write_image_graph(model: DualEncoder, path: Path, names: tuple[str, str]) -> None:
    """Write an image tower as an ONNX file with unit vectors; raises like `write_text_graph`."""
    _check(model.image_tower, model.architecture.name)
    pixels = torch.rand(2, 3, model.image_size, model.image_size)
    shape = {0: torch.export.Dim("batch", min=1)}
    graph = _ImageGraph(model)
    _export_graph(graph, pixels, path, names, shape)
    _compare(path, names[0], pixels, graph)


def _fixed_length(model: DualEncoder, interface: TextInterface) -> int | None:
    """The length of all texts of a graph, or None if it is free."""
    context = model.architecture.context_length
    fixed = interface.fixed_length or model.computed_length(1) == context
    return context if fixed else None


def _padded_ids(model: DualEncoder, texts: Sequence[str], length: int | None) -> Tensor:
    """Token ids [texts, length] of a model, padded like the model does."""
    ids = model.tokenize(texts).ids
    if length is None:
        return ids
    pad = int(getattr(model, "pad_id", getattr(model.text_tower, "pad", 0)))
    return nn.functional.pad(ids, (0, length - ids.shape[1]), value=pad)


@torch.no_grad()
def _export_graph(
    graph: nn.Module, example: Tensor, path: Path, names: tuple[str, str], shape: dict[int, Any]
) -> None:
    """Write a module with one input and one output, named by `names`."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # its fused operator has no ONNX counterpart
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                graph.eval(), (example,), str(path),
                input_names=[_INNER[0]], output_names=[_INNER[1]], dynamic_shapes=(shape,),
                opset_version=_OPSET, dynamo=True, external_data=False, verbose=False,
            )  # fmt: skip
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0][:200]
        what = f"the tower cannot be written as ONNX ({reason})"
        raise UserError("--to onnx", what, "Use --to open-clip or --to hf.") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    _rename(path, dict(zip(_INNER, names, strict=True)))


def _rename(path: Path, names: dict[str, str]) -> None:
    """Rename values of a graph; inner values that already use one of the names make room.

    The exporter names values after modules, and `embedding` is one of these names.
    """
    import onnx

    model = onnx.load(str(path))
    names = {**{new: f"{new}_inner" for new in names.values()}, **names}
    for node in model.graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        value.name = names.get(value.name, value.name)
    for value in model.graph.initializer:
        value.name = names.get(value.name, value.name)
    onnx.save(model, str(path))


@torch.no_grad()
def _compare(path: Path, name: str, example: Tensor, graph: nn.Module) -> None:
    """Raise UserError if onnxruntime and torch compute different vectors from the example."""
    theirs = open_session(path, "export").run(None, {name: example.numpy()})[0]
    difference = float(np.abs(theirs - graph(example).numpy()).max())
    if not difference <= _MOST_DIFFERENCE:
        what = f"its vectors differ from torch's by {difference:.2g}"
        raise UserError(path.name, what, "Report this with the versions of torch and onnxruntime.")


def import_writers() -> None:
    """Raise UserError without the extra `export`."""
    for module in ("onnx", "onnxruntime", "onnxscript"):
        optional_import(module, "export")


def _check(tower: nn.Module, name: str) -> None:
    """Raise UserError without the extra `export`, or if a tower is too large for an ONNX file."""
    import_writers()
    if (size := count_bytes(tower)) > _LARGEST:
        what = f"the tower takes {size / 2**30:.1f} GiB, and one ONNX file holds 2"
        raise UserError(name, what, "Use --to open-clip or --to hf.")
