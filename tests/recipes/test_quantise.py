"""The built-in weights as Q8_0: the same values, to the precision of Q8_0."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paraclip.paraphrase.backends.builtin import _fast_weights, _requantise

gguf: Any = pytest.importorskip("gguf", reason="the package gguf is not installed")
KINDS = gguf.GGMLQuantizationType


def tiny_model(path: Path) -> np.ndarray:
    """A file with one Q4_1 matrix [4, 64], whose values it returns, and one plain vector."""
    values = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    writer = gguf.GGUFWriter(str(path), arch="llama")
    writer.add_uint32("llama.block_count", 7)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    writer.add_tensor("norm", np.arange(64, dtype=np.float32))
    packed = gguf.quantize(values, KINDS.Q4_1)
    writer.add_tensor("matrix", packed, raw_dtype=KINDS.Q4_1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return np.asarray(gguf.dequantize(packed, KINDS.Q4_1))


def test_only_q4_1_tensors_are_converted(tmp_path: Path) -> None:
    values = tiny_model(tmp_path / "slow.gguf")
    _requantise(tmp_path / "slow.gguf", tmp_path / "fast.gguf")
    reader = gguf.GGUFReader(str(tmp_path / "fast.gguf"))
    assert reader.fields["llama.block_count"].contents() == 7
    assert reader.fields["tokenizer.ggml.tokens"].contents() == ["a", "b"]
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert tensors["norm"].tensor_type == KINDS.F32
    assert np.array_equal(tensors["norm"].data, np.arange(64, dtype=np.float32))
    assert tensors["matrix"].tensor_type == KINDS.Q8_0
    again = gguf.dequantize(tensors["matrix"].data, KINDS.Q8_0)
    assert np.abs(again - values).max() < 0.02


def test_weights_are_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    tiny_model(tmp_path / "slow.gguf")
    converted = _fast_weights(tmp_path / "slow.gguf")
    assert converted.parent == tmp_path / "cache" / "builtin"
    before = converted.stat().st_mtime_ns
    assert (
        _fast_weights(tmp_path / "slow.gguf") == converted
        and converted.stat().st_mtime_ns == before
    )
