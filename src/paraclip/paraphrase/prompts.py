"""The prompts of step 1 and step 2, and those of further wordings, from prompts.toml.

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

from paraclip.paraphrase.kinds import KINDS, ONLY, PROMPTS

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
    path = files("paraclip.paraphrase").joinpath("adapter_prompts.json")
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
    asked = PROMPTS["steps"][str(step)]
    return _chat(asked["task"], asked["examples"] if style == "few-shot" else (), text)


def _chat(task: str, examples: Sequence[tuple[str, str]], text: str) -> Prompt:
    messages: list[_Message] = [{"role": "system", "content": task}]
    for source, answer in examples:
        messages.append({"role": "user", "content": source})
        messages.append({"role": "assistant", "content": answer})
    return Prompt(messages=(*messages, {"role": "user", "content": text}))
