"""8-bit weights in an ONNX file: matrices by onnxruntime, the table of tokens row by row.

onnxruntime quantises a table with one scale for all tokens; a scale for each row is closer to the
float vectors and costs 4 bytes a token.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

LARGE = 1 << 20  # numbers in a table from which on it is worth 8 bits
LEVELS = 127


def quantise(path: Path) -> None:
    """Replace the float weights of an ONNX file by 8-bit ones; activations stay float outside."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quiet():
        quantize_dynamic(
            path, path, op_types_to_quantize=["MatMul"], per_channel=True,
            weight_type=QuantType.QInt8, extra_options={"MatMulConstBOnly": True},
        )  # fmt: skip
    quantise_tables(path)


def quantise_tables(path: Path) -> None:
    """Store the large tables that `Gather` reads in 8 bits, with a scale for each row."""
    import onnx

    model = onnx.load(str(path))
    stored = {value.name: value for value in model.graph.initializer}
    nodes: list[Any] = []
    for node in model.graph.node:
        table = stored.get(node.input[0]) if by_row(node) else None
        if table is None or np.prod(table.dims) < LARGE or table.data_type != 1:
            nodes.append(node)
            continue
        if f"{table.name}_int8" not in stored:
            for part in split_table(table):
                stored[part.name] = part
                model.graph.initializer.append(part)
        nodes.extend(looked_up(node, table.name))
    used = {name for node in nodes for name in node.input}
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for value in [value for value in model.graph.initializer if value.name not in used]:
        model.graph.initializer.remove(value)
    onnx.save(model, str(path))


def by_row(node: Any) -> bool:
    """Whether a node looks up rows of its first input."""
    return node.op_type == "Gather" and all(a.i == 0 for a in node.attribute if a.name == "axis")


def split_table(table: Any) -> tuple[Any, Any]:
    """A float table [rows, width] as int8 [rows, width] and float scales [rows, 1]."""
    from onnx import numpy_helper

    values = numpy_helper.to_array(table)
    scale = np.abs(values).max(axis=1, keepdims=True) / LEVELS
    whole = np.rint(values / np.where(scale == 0, 1, scale)).astype(np.int8)
    return (
        numpy_helper.from_array(whole, f"{table.name}_int8"),
        numpy_helper.from_array(scale.astype(np.float32), f"{table.name}_scale"),
    )


def looked_up(node: Any, table: str) -> list[Any]:
    """Nodes that take the place of a `Gather` from a table that was split."""
    from onnx import TensorProto, helper

    ids, output = node.input[1], node.output[0]
    return [
        helper.make_node("Gather", [f"{table}_int8", ids], [f"{output}_int8"], axis=0),
        helper.make_node("Cast", [f"{output}_int8"], [f"{output}_cast"], to=TensorProto.FLOAT),
        helper.make_node("Gather", [f"{table}_scale", ids], [f"{output}_scale"], axis=0),
        helper.make_node("Mul", [f"{output}_cast", f"{output}_scale"], [output]),
    ]


@contextmanager
def quiet() -> Iterator[None]:
    """Without onnxruntime's advice to optimise the graph first, which the exporter has done."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
