"""The prompts of step 1 and step 2, and those of further wordings, from prompts.toml.

The paper (arXiv 2402.15120) describes its prompts: step 1 requests a concise paraphrase of the
caption that keeps its meaning, step 2 the same without the words already used. The wording here is
our own, based on that description.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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


def make_prompt(style: str, step: int | str, text: str) -> Prompt:
    """The prompt of one step, or of a further wording, for one text.

    Args:
        style: name in STYLES.
        step: 1, 2, or a kind of KINDS.
        text: the caption; in step 2, paraphrase_1.
    """
    return STYLES[style](step, " ".join(text.split()))


def _paper_prompt(step: int | str, text: str) -> Prompt:
    """A chat: the task, for a further wording with examples, and the text."""
    if isinstance(step, int):
        return _chat(PROMPTS["steps"][str(step)]["task"], (), text)
    kind = KINDS[step]
    return _chat(f"{kind.task} {ONLY}", kind.pairs, text)


def _chat(task: str, examples: Sequence[tuple[str, str]], text: str) -> Prompt:
    messages: list[_Message] = [{"role": "system", "content": task}]
    for source, answer in examples:
        messages.append({"role": "user", "content": source})
        messages.append({"role": "assistant", "content": answer})
    return Prompt(messages=(*messages, {"role": "user", "content": text}))


STYLES: dict[str, Callable[[int | str, str], Prompt]] = {"paper": _paper_prompt}
"""Prompts of a step or kind for a text, by the style that a backend states."""
