"""The prompts sent to the generator."""

import pytest

from paraclip.paraphrase.prompts import adapter_prompts, make_prompt


@pytest.mark.parametrize("style", ["paper", "few-shot"])
@pytest.mark.parametrize("step", [1, 2])
def test_chats_end_with_the_caption(style: str, step: int) -> None:
    prompt = make_prompt(style, step, "A  dog\nruns.")
    assert prompt.text is None and prompt.messages is not None
    assert prompt.messages[0]["role"] == "system"
    assert prompt.messages[-1] == {"role": "user", "content": "A dog runs."}


def test_step_two_asks_for_other_words() -> None:
    first, second = (make_prompt("paper", step, "x").messages for step in (1, 2))
    assert first is not None and second is not None
    assert "concisely" in first[0]["content"] and "concisely" in second[0]["content"]
    assert "words already used" in second[0]["content"]
    assert "words already used" not in first[0]["content"]


def test_few_shot_shows_answered_examples() -> None:
    messages = make_prompt("few-shot", 1, "x").messages
    assert messages is not None
    roles = [message["role"] for message in messages]
    assert roles == ["system", *["user", "assistant"] * 4, "user"]


def test_short_prompts_are_the_adapters() -> None:
    prompt = make_prompt("short", 2, "A {text} dog")
    assert prompt.messages is None and prompt.text is not None
    assert prompt.text == adapter_prompts()["step_2"].replace("{text}", "A {text} dog")
    assert prompt.stop == ("\n",)


def test_different_questions_have_different_texts() -> None:
    styles = [("paper", 1), ("paper", 2), ("few-shot", 1), ("few-shot", 2), ("short", 1)]
    made = {make_prompt(style, step, "x").as_text() for style, step in styles}
    assert len(made) == len(styles)
