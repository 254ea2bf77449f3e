"""The prompts of step 1 and step 2, and those of further wordings.

The paper (arXiv 2402.15120) describes its prompts: step 1 requests a concise paraphrase of the
caption that keeps its meaning, step 2 the same without the words already used. The wording here is
our own, based on that description.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from paraclip.paraphrase.kinds import KINDS, ONLY

_ONLY = "Answer with the paraphrase only, on one line, without quotation marks."
_PAPER = {
    1: "Paraphrase this image caption concisely in plain language. Keep its meaning: every person, "
    "thing, number, colour and relation it names, and nothing that it does not. " + _ONLY,
    2: "Paraphrase this image caption concisely, with another sentence structure, and avoid the "
    "words already used in it where you can. Keep its meaning: every person, thing, number, colour "
    "and relation it names, and nothing that it does not. " + _ONLY,
}
_EXAMPLES = {
    1: (
        ("two kids r eating icecream @ the park!!", "Two children eat ice cream in the park."),
        ("A grey cat that is asleep on a wooden chair", "A gray cat sleeping on a chair of wood."),
        ("Man in red jacket fixes his bike by the road", "A man in a red jacket repairs his bike "
         "at the roadside."),
        ("vintage oil lamp - brass, 12 inch", "A 12 inch vintage brass oil lamp."),
    ),
    2: (
        ("Two children eat ice cream in the park.", "In a park, a pair of kids enjoy a frozen "
         "dessert."),
        ("A gray cat sleeping on a chair of wood.", "On the wooden seat a grey feline naps."),
        ("A man in a red jacket repairs his bike at the roadside.", "By the street, a guy wearing "
         "a crimson coat is mending his bicycle."),
        ("A 12 inch vintage brass oil lamp.", "Antique oil-burning light of brass, twelve inches."),
    ),
}  # fmt: skip

_Message = dict[str, str]


@dataclass(frozen=True)
class Prompt:
    """One question for the generator."""

    messages: tuple[_Message, ...] | None = None  # a chat, or
    text: str | None = None  # a plain text to complete
    stop: tuple[str, ...] = ()  # strings that end the answer
    key: str = ""  # of the question in the log, by which a batch returns its answer

    def as_text(self) -> str:
        """A string that identifies the question, for the keys of the log."""
        return json.dumps([self.messages, self.text, self.stop], ensure_ascii=False)


@cache
def _adapter_prompts() -> dict[str, Any]:
    """The prompts on which the built-in adapter was trained."""
    path = files("paraclip.paraphrase").joinpath("adapter/prompts.json")
    prompts: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return prompts


def make_prompt(style: str, step: int | str, text: str) -> Prompt:
    """The prompt of one step, or of a further wording, for one text.

    Args:
        style: "paper", "few-shot" or "short".
        step: 1, 2, or a kind of KINDS.
        text: the caption; in step 2, paraphrase_1.
    """
    text = " ".join(text.split())
    if isinstance(step, str):
        kind = KINDS[step]
        if style != "short":
            return _chat(f"{kind.task} {ONLY}", kind.pairs, text)
        pairs = [*kind.pairs, (text, "")]
        shown = [f"{source}\n{kind.label}: {wording}".strip() for source, wording in pairs]
        return Prompt(text="\n\n".join(shown), stop=("\n",))
    if style == "short":
        prompts = _adapter_prompts()
        completed = prompts[f"step_{step}"].replace("{text}", text)
        return Prompt(text=completed, stop=tuple(prompts["stop"]))
    return _chat(_PAPER[step], _EXAMPLES[step] if style == "few-shot" else (), text)


def _chat(task: str, examples: Sequence[tuple[str, str]], text: str) -> Prompt:
    messages: list[_Message] = [{"role": "system", "content": task}]
    for source, answer in examples:
        messages.append({"role": "user", "content": source})
        messages.append({"role": "assistant", "content": answer})
    return Prompt(messages=(*messages, {"role": "user", "content": text}))
