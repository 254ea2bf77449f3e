"""The built-in weights as Q8_0: the same values, to the precision of Q8_0."""

import asyncio
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from paraclip.paraphrase.backends import builtin, llm_options

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


def test_only_q4_1_tensors_are_converted_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    values = tiny_model(tmp_path / "slow.gguf")
    monkeypatch.setattr(builtin, "wheel_file", lambda *_: tmp_path / "slow.gguf")
    llama = Mock(**{"Server.return_value.listening_address": "http://127.0.0.1:9"})
    monkeypatch.setitem(sys.modules, "xllamacpp", llama)
    written = set()
    for _ in range(2):
        asyncio.run(builtin.BuiltInBackend(llm_options("builtin")).start())
        converted = Path(llama.CommonParams().model.path)
        written.add((converted, converted.stat().st_mtime_ns))
    assert len(written) == 1 and converted.parent == tmp_path / "cache" / "builtin"
    reader = gguf.GGUFReader(str(converted))
    assert reader.fields["llama.block_count"].contents() == 7
    assert reader.fields["tokenizer.ggml.tokens"].contents() == ["a", "b"]
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert tensors["norm"].tensor_type == KINDS.F32
    assert np.array_equal(tensors["norm"].data, np.arange(64, dtype=np.float32))
    assert tensors["matrix"].tensor_type == KINDS.Q8_0
    again = gguf.dequantize(tensors["matrix"].data, KINDS.Q8_0)
    assert np.abs(again - values).max() < 0.02
