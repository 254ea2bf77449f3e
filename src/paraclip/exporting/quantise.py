"""8-bit weights in an ONNX file: matrices by onnxruntime, the token table row by row.

onnxruntime quantises a table with one scale for all tokens; a scale per row is closer to the float
vectors and costs 4 bytes per token. Matrices have a scale per output channel.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np

_LARGE = 1 << 20  # minimum number of values in a table that is quantised
_LEVELS = 127


def quantise(path: Path, small: Path) -> None:
    """Write a copy of an ONNX file with 8-bit weights; other activations stay float."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # advice to optimise the graph, which the exporter has done
    try:
        quantize_dynamic(
            path, small, op_types_to_quantize=["MatMul"], per_channel=True,
            weight_type=QuantType.QInt8, extra_options={"MatMulConstBOnly": True},
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
    whole = np.rint(values / np.where(scale == 0, 1, scale)).astype(np.int8)
    return (
        numpy_helper.from_array(whole, f"{table.name}_int8"),
        numpy_helper.from_array(scale.astype(np.float32), f"{table.name}_scale"),
    )
