"""The prompts sent to the generator."""

import json
from importlib.resources import files

import pytest

from paraclip.paraphrase.prompts import make_prompt


@pytest.mark.parametrize(("style", "examples"), [("paper", 0), ("few-shot", 4)])
def test_chats_end_with_the_caption(style: str, examples: int) -> None:
    first, second = (make_prompt(style, step, "A  dog\nruns.").messages for step in (1, 2))
    assert first is not None and second is not None
    for messages in (first, second):
        roles = [message["role"] for message in messages]
        assert roles == ["system", *["user", "assistant"] * examples, "user"]
        assert messages[-1]["content"] == "A dog runs." and "concisely" in messages[0]["content"]
    assert "words already used" in second[0]["content"]
    assert "words already used" not in first[0]["content"]


def test_short_prompts_are_the_adapters() -> None:
    trained = json.loads(files("paraclip.paraphrase").joinpath("adapter_prompts.json").read_text())
    for step in (1, 2):
        prompt = make_prompt("short", step, "A {text} dog")
        assert prompt.messages is None and prompt.stop == ("\n",)
        assert prompt.text == trained[f"step_{step}"].replace("{text}", "A {text} dog")


def test_different_questions_have_different_texts() -> None:
    styles = [("paper", 1), ("paper", 2), ("few-shot", 1), ("few-shot", 2), ("short", 1)]
    assert len({make_prompt(style, step, "x").as_text() for style, step in styles}) == len(styles)
