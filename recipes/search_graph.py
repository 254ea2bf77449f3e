"""Write the graph of exact search that is included in ParaCLIP.

    python recipes/search_graph.py

Scores of a batch of queries over all vectors, and the best k of each; onnxruntime runs it.
"""

from pathlib import Path

from onnx import ModelProto, TensorProto, helper

from paraclip.search.exact import GRAPH

OPSET, IR_VERSION = 18, 10


def graph() -> ModelProto:
    """Map queries [batch, width], vectors [rows, width], k [1] to scores, positions [batch, k]."""
    value, kinds = helper.make_tensor_value_info, TensorProto
    nodes = [
        helper.make_node("Gemm", ["queries", "vectors"], ["all_scores"], transB=1),
        helper.make_node("TopK", ["all_scores", "k"], ["scores", "positions"], largest=1, sorted=1),
    ]
    inputs = [
        value("queries", kinds.FLOAT, ["batch", "width"]),
        value("vectors", kinds.FLOAT, ["rows", "width"]),
        value("k", kinds.INT64, [1]),
    ]
    outputs = [
        value("scores", kinds.FLOAT, ["batch", "k"]),
        value("positions", kinds.INT64, ["batch", "k"]),
    ]
    made = helper.make_graph(nodes, "nearest", inputs, outputs)
    sets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(made, opset_imports=sets, ir_version=IR_VERSION)


if __name__ == "__main__":
    Path(GRAPH).write_bytes(graph().SerializeToString())
    print(f"{GRAPH}: {Path(GRAPH).stat().st_size} bytes")
