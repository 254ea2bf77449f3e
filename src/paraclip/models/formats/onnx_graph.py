"""Towers as ONNX graphs.

Pooling, projection and normalisation are inside the graph.
`torch.onnx.export` writes them, then onnxruntime runs them once for comparison with torch: a file
that the runtime cannot read, or that computes other vectors, is not kept.
"""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from paraclip.compute.onnx_session import TextGraph, open_session
from paraclip.errors import UserError
from paraclip.files import file_hash
from paraclip.models.encoder import DualEncoder
from paraclip.models.tensors import count_bytes

LARGEST = 2**31 - 2**20
"""Most bytes of weights in an ONNX file: a protobuf message holds 2 GiB, with the graph."""
_MOST_DIFFERENCE = 1e-3  # maximum difference of unit vectors; above it, the file is refused
# Of several lengths, one of them empty.
_TEXTS = ("a photo of a cat", "", "two dogs play on a beach while a child watches them")
_INNER = ("paraclip_input", "paraclip_output")  # names that no exporter uses
_LARGE = 1 << 20  # minimum number of values in a table that is quantised
_LEVELS = 127  # of a signed byte, on either side of zero
_OPSET = 18  # needs onnxruntime 1.14 or newer


class _TextGraph(nn.Module):
    """Maps token ids [batch, length] to text vectors [batch, embed_dim]."""

    def __init__(self, model: DualEncoder, unit: bool, end: int | None = None) -> None:
        super().__init__()
        self.tower, self.unit, self.end = model.text_tower, unit, end

    def forward(self, ids: Tensor) -> Tensor:
        """Text vectors; the tower itself finds the end token or the padding."""
        if self.end is not None:
            # The program cuts a long text with its end token, at which the tower reads.
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


def write_text_graph(
    model: DualEncoder, path: Path, interface: TextGraph, largest: int = LARGEST
) -> None:
    """Write a text tower as an ONNX file and check it with onnxruntime.

    Weights of more than `largest` bytes are beside it, in `weight_files`.

    Raises:
        UserError: the tower is larger and the program reads one file, or the file computes other
            vectors.
    """
    size = count_bytes(model.text_tower)
    if size > largest and interface.one_file:
        what = f"the encoder takes {size / 2**30:.1f} GiB, and the program's one ONNX file holds 2"
        raise UserError(model.architecture.name, what, "Use --to open-clip or --to hf.")
    length = _fixed_length(model, interface)
    shape: dict[int, Any] = {0: torch.export.Dim("batch", min=1)}
    if length is None:
        context = model.architecture.context_length
        # torch.export takes a length of 0 or 1 for a constant.
        shape[1] = torch.export.Dim("length", min=2, max=context)
    example = _padded_ids(model, _TEXTS, length).to(getattr(torch, interface.dtype))
    graph = _TextGraph(model, interface.unit, interface.end)
    inputs = (interface.inputs, *interface.unused)
    _export_graph(graph, example, path, (inputs, interface.outputs), shape, size > largest)
    _compare(path, inputs, example, graph)


def run_text_graph(
    model: DualEncoder, path: Path, interface: TextGraph, texts: Sequence[str]
) -> NDArray[np.float32]:
    """Vectors [texts, width] by a text graph in onnxruntime.

    One by one, as in a search: of a graph with 8-bit weights, a batch has one scale of its inputs.
    """
    length, dtype = _fixed_length(model, interface), getattr(torch, interface.dtype)
    tower = open_session(path, "export")
    rows = [_padded_ids(model, [text], length).to(dtype).numpy() for text in texts]
    return np.concatenate([tower.run(None, {interface.inputs: ids})[0] for ids in rows])


def write_image_graph(
    model: DualEncoder, path: Path, names: tuple[str, str], largest: int = LARGEST
) -> None:
    """Write an image tower as an ONNX file with unit vectors, as `write_text_graph` does."""
    pixels = torch.rand(2, 3, model.image_size, model.image_size)
    shape = {0: torch.export.Dim("batch", min=1)}
    graph = _ImageGraph(model)
    large = count_bytes(model.image_tower) > largest
    _export_graph(graph, pixels, path, (names[:1], names[1]), shape, large)
    _compare(path, names[:1], pixels, graph)


def _fixed_length(model: DualEncoder, interface: TextGraph) -> int | None:
    """The length of all texts of a graph, or None if it is free."""
    context = model.architecture.context_length
    # A tower that computes its context for a text of one token needs it always.
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
    graph: nn.Module,
    example: Tensor,
    path: Path,
    names: tuple[Sequence[str], str],
    shape: dict[int, Any],
    large: bool,
) -> None:
    """Write a module with one input and one output, and inputs that it does not use."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # its fused operator has no ONNX counterpart
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                graph.eval(), (example,), str(path),
                input_names=[_INNER[0]], output_names=[_INNER[1]], dynamic_shapes=(shape,),
                opset_version=_OPSET, dynamo=True, external_data=large, verbose=False,
            )  # fmt: skip
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0][:200]
        what = f"the encoder cannot be written as ONNX ({reason})"
        raise UserError("--to onnx", what, "Use --to open-clip or --to hf.") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    _rename(path, *names)


def _rename(path: Path, inputs: Sequence[str], output: str) -> None:
    """Rename values of a graph, and its weights beside it; add inputs that it does not use.

    Inner values that already use one of the names make room: the exporter names values after
    modules, and `embedding` is one of these names.
    """
    import onnx

    # The weights beside it are renamed and not read: they may take gigabytes.
    model = onnx.load(str(path), load_external_data=False)
    graph = model.graph
    ours = dict(zip(_INNER, (inputs[0], output), strict=True))
    names = {**{new: f"{new}_inner" for new in (*inputs, output)}, **ours}
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = names.get(value.name, value.name)
    for value in graph.initializer:
        value.name = names.get(value.name, value.name)
    for name in inputs[1:]:
        graph.input.add().CopyFrom(graph.input[0])
        graph.input[-1].name = name
    weights = path.with_name(f"{path.name}.data")  # as the exporter names them
    if weights.exists():
        named = weights.rename(path.with_name(f"{path.name}.{file_hash(weights)}.data"))
        for entry in (entry for value in graph.initializer for entry in value.external_data):
            entry.value = named.name if entry.key == "location" else entry.value
    onnx.save(model, str(path))


@torch.no_grad()
def _compare(path: Path, names: Sequence[str], example: Tensor, graph: nn.Module) -> None:
    """Raise UserError if onnxruntime and torch compute different vectors from the example."""
    inputs = dict.fromkeys(names, example.numpy())
    theirs = open_session(path, "export").run(None, inputs)[0]
    difference = float(np.abs(theirs - graph(example).numpy()).max())
    if not difference <= _MOST_DIFFERENCE:  # also for NaN
        what = f"its vectors differ from torch's by {difference:.2g}"
        raise UserError(path.name, what, "Report this with the versions of torch and onnxruntime.")


def quantise(path: Path, small: Path) -> None:
    """Write a copy of an ONNX file with 8-bit weights; other activations stay float.

    onnxruntime quantises a table with one scale for all tokens; a scale per row is closer to the
    float vectors and costs 4 bytes per token. Matrices have a scale per output channel and are
    unsigned: x86 processors without VNNI add products of unsigned activations and signed weights in
    16 bits, which overflow: the file would compute other vectors there than where it was checked.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # advice to optimise the graph, which the exporter has done
    try:
        quantize_dynamic(
            path, small, op_types_to_quantize=["MatMul"], per_channel=True,
            weight_type=QuantType.QUInt8, extra_options={"MatMulConstBOnly": True},
        )  # fmt: skip
    finally:
        logging.disable(before)
    _quantise_tables(small)


def _quantise_tables(path: Path) -> None:
    """Store the large tables that `Gather` reads in 8 bits, with a scale per row."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(str(path))
    stored = {value.name: value for value in model.graph.initializer}
    nodes: list[Any] = []
    for node in model.graph.node:
        by_row = node.op_type == "Gather" and all(
            attribute.i == 0 for attribute in node.attribute if attribute.name == "axis"
        )
        table = stored.get(node.input[0]) if by_row else None
        if table is None or np.prod(table.dims) < _LARGE or table.data_type != TensorProto.FLOAT:
            nodes.append(node)
            continue
        if f"{table.name}_int8" not in stored:
            for part in _split_table(table):
                stored[part.name] = part
                model.graph.initializer.append(part)
        ids, output = node.input[1], node.output[0]
        whole, scale, cast = f"{output}_int8", f"{output}_scale", f"{output}_cast"
        nodes += [
            helper.make_node("Gather", [f"{table.name}_int8", ids], [whole], axis=0),
            helper.make_node("Cast", [whole], [cast], to=TensorProto.FLOAT),
            helper.make_node("Gather", [f"{table.name}_scale", ids], [scale], axis=0),
            helper.make_node("Mul", [cast, scale], [output]),
        ]
    used = {name for node in nodes for name in node.input}
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for value in [value for value in model.graph.initializer if value.name not in used]:
        model.graph.initializer.remove(value)
    onnx.save(model, str(path))


def _split_table(table: Any) -> tuple[Any, Any]:
    """A float table [rows, width] as int8 [rows, width] and float scales [rows, 1]."""
    from onnx import numpy_helper

    values = numpy_helper.to_array(table)
    scale = np.abs(values).max(axis=1, keepdims=True) / _LEVELS
    # A row of zeros has no scale.
    whole = np.rint(values / np.where(scale == 0, 1, scale)).astype(np.int8)
    return (
        numpy_helper.from_array(whole, f"{table.name}_int8"),
        numpy_helper.from_array(scale.astype(np.float32), f"{table.name}_scale"),
    )
