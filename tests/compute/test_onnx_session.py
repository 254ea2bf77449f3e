"""Graphs in ONNX whose weights are in a second file, and a runtime that reports nothing."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from paraclip.compute.onnx_session import open_session
from paraclip.errors import UserError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(
    ("location", "kept", "reason"),
    [
        ("graph.data", 16, None),
        ("graph.data", 15, "graph.data: is cut; graph.onnx names it"),
        ("other.data", 16, "other.data: there is no such file"),
        ("../graph.data", 16, "graph.data: is in another folder"),
    ],
)
def test_the_second_file_is_named(
    tmp_path: Path, location: str, kept: int, reason: str | None
) -> None:
    weights = onnx.numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    onnx.external_data_helper.set_external_data(weights, location, offset=0, length=16)
    weights.ClearField("raw_data")
    ends = (onnx.helper.make_tensor_value_info(name, 1, ["n", 2]) for name in "xy")
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
    graph = onnx.helper.make_graph(nodes, "g", *([end] for end in ends), [weights])
    versions = {"opset_imports": [onnx.helper.make_opsetid("", 17)], "ir_version": 8}
    path = tmp_path / "graph.onnx"
    path.write_bytes(onnx.helper.make_model(graph, **versions).SerializeToString())
    (tmp_path / "graph.data").write_bytes(np.ones(4, np.float32).tobytes()[:kept])
    if reason is None:
        (found,) = open_session(path, "export").run(None, {"x": np.ones((1, 2), np.float32)})
        assert found.tolist() == [[2, 2]]
    else:
        with pytest.raises(UserError, match=reason):
            open_session(path, "export")


@pytest.mark.slow
def test_the_runtime_makes_no_file_to_report_its_use(tmp_path: Path) -> None:
    kept = {name: one for name, one in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    words = [sys.executable, "-c", "import paraclip, onnxruntime"]
    subprocess.run(words, env={**kept, "TMPDIR": str(tmp_path)}, check=True)
    assert not [*tmp_path.iterdir()]
