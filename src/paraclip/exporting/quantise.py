"""8-bit weights in an ONNX file: matrices by onnxruntime, the token table row by row.

onnxruntime quantises a table with one scale for all tokens; a scale per row is closer to the float
vectors and costs 4 bytes per token. Matrices have a scale per output channel. The parts of a
sensitive tower that drift most (see `drift`) stay float.
"""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from paraclip.errors import UserError
from paraclip.exporting.drift import LEAST_INT8, Drift

_LARGE = 1 << 20  # minimum number of values in a table that is quantised
_LEVELS = 127
_MOST_OF_FLOAT = 0.75  # of the float file's size; above it, 8 bits are not worth their drift
_TABLE = "the token table"
_SCOPES = "pkg.torch.onnx.name_scopes"  # modules that produced a node, from torch's exporter

_Measure = Callable[[Path, tuple[str, ...]], Drift]


def quantise(path: Path, measure: _Measure) -> Drift:
    """Replace the float weights of an ONNX file by 8-bit ones; other activations stay float.

    If the vectors drift too far, parts are kept in float one after the other, starting with those
    that drift most on their own.

    `measure` returns the drift of a file, given the parts that stay float.

    Raises:
        UserError: no file smaller than three quarters of the size is close enough.
    """
    small = path.with_name(f"{path.name}.int8")
    try:
        first = drift = _shortened(path, small, (), measure)
        if drift.lowest < LEAST_INT8:
            parts = [*dict.fromkeys(_matrices(path).values()), _TABLE]
            alone = {  # the drift when only this part has 8 bits
                part: _shortened(path, small, tuple(set(parts) - {part}), measure).lowest
                for part in parts
            }
            left = sorted(parts, key=lambda part: alone[part])
            while drift.lowest < LEAST_INT8 and left:
                drift = _shortened(path, small, (*drift.kept, left.pop(0)), measure)
        too_large = small.stat().st_size > _MOST_OF_FLOAT * path.stat().st_size
        if drift.lowest < LEAST_INT8 or (drift.kept and too_large):
            what = (
                f"changes vectors of this model to a cosine of {first.lowest:.4f} with the float"
                f" ones, and {LEAST_INT8} is the least"
            )
            raise UserError("--int8", what, "Leave --int8 out.")
        small.replace(path)
        return drift
    finally:
        small.unlink(missing_ok=True)


def _shortened(path: Path, small: Path, kept: tuple[str, ...], measure: _Measure) -> Drift:
    """Write an 8-bit file in which some parts stay float, and measure its drift."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    left_out = [name for name, part in _matrices(path).items() if part in kept]
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # advice to optimise the graph, which the exporter has done
    try:
        if left_out and len(left_out) == len(_matrices(path)):
            shutil.copyfile(path, small)
        else:
            quantize_dynamic(
                path, small, op_types_to_quantize=["MatMul"], per_channel=True,
                weight_type=QuantType.QInt8, nodes_to_exclude=left_out,
                extra_options={"MatMulConstBOnly": True},
            )  # fmt: skip
    finally:
        logging.disable(before)
    if _TABLE not in kept:
        _quantise_tables(small)
    return measure(small, kept)


def _matrices(path: Path) -> dict[str, str]:
    """Parts of the nodes that multiply by a constant matrix, by node name."""
    import onnx

    graph = onnx.load(str(path)).graph
    constants = {value.name for value in graph.initializer}
    return {
        node.name: _part_of(node)
        for node in graph.node
        if node.op_type == "MatMul" and constants.intersection(node.input)
    }


def _part_of(node: Any) -> str:
    """The part of a tower to which a node belongs, by the module names of open_clip and BERT."""
    scopes = " ".join(entry.value for entry in node.metadata_props if entry.key == _SCOPES)
    if "attn" in scopes or "attention" in scopes:
        return "attention"
    if "c_fc" in scopes or "intermediate" in scopes:
        return "the first feed-forward layers"
    if "c_proj" in scopes or ".layer." in scopes:
        return "the second feed-forward layers"
    return "the projection"


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
    whole = np.rint(values / np.where(scale == 0, 1, scale)).astype(np.int8)
    return (
        numpy_helper.from_array(whole, f"{table.name}_int8"),
        numpy_helper.from_array(scale.astype(np.float32), f"{table.name}_scale"),
    )
