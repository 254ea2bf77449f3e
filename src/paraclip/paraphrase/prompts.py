"""The prompts of step 1 and step 2, and those of further wordings, from prompts.toml; or those of
the two steps from a file of the user's.

Step 1 requests a concise paraphrase of the caption that keeps its meaning, step 2 the same without
the words already used, as in the script of the paper's authors; the wording is our own. The kinds
are those of the starter set; its README says what each means.
"""

import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher, get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from paraclip.errors import UserError, nearest, optional_import
from paraclip.options import read_options

PROMPTS: Mapping[str, Any] = tomllib.loads(
    files("paraclip.paraphrase").joinpath("prompts.toml").read_text("utf-8")
)
"""What is asked, word for word: of the two steps (`steps`) and of further wordings (`kinds`)."""
ONLY: str = PROMPTS["kinds"]["only"]
CONTRAST, TYPO = "contrast", "typo"
_Words = Sequence[str]


@dataclass(frozen=True)
class Kind:
    """A kind of wording."""

    task: str  # for a chat, before ONLY
    label: str  # the same for a model that completes text
    examples: Sequence[str]  # wordings of the captions of prompts.toml
    fits: Callable[[_Words, _Words], bool]  # as in _FITS
    limits: Mapping[str, Any] = field(default_factory=dict)  # in place of those of paraphrases
    drops: bool = False  # may leave out facts such as a number, but adds none

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Captions and wordings of them, as examples."""
        return list(zip(PROMPTS["kinds"]["captions"], self.examples, strict=True))


def _shared(caption: _Words, answer: _Words) -> float:
    """Share of the words that are equal and in the same order, 0 to 1."""
    return SequenceMatcher(None, caption, answer).ratio()


def _is_misspelt(caption: _Words, answer: _Words) -> bool:
    """Whether one to three words are misspelt, none of them as another word."""
    known = optional_import("simplemma", "llm").is_known
    new = [word for word in answer if word not in caption]
    lost = [word for word in caption if word not in answer]
    slips = all(get_close_matches(word, lost, 1) and not known(word, "en") for word in new)
    return slips and 1 <= len(new) <= 3 and len(answer) == len(caption)


def _is_contrast(caption: _Words, answer: _Words) -> bool:
    """Whether half of the words stay in their order, and not only words were left out."""
    new = set(answer) - {*caption, "a", "an", "the", "and", "is", "are"}
    return _shared(caption, answer) >= 0.5 and (bool(new) or len(answer) >= len(caption))


_FITS: Mapping[str, Callable[[_Words, _Words], bool]] = {
    "short": lambda caption, answer: 2 <= len(answer) <= max(2, min(6, len(caption))),
    "verbose": lambda caption, answer: len(answer) >= len(caption) + 3,
    TYPO: _is_misspelt,
    "other_person": lambda caption, answer: _shared(caption, answer) <= 0.8,
    CONTRAST: _is_contrast,
}
"""Whether the words of a caption (the first) and of an answer suit a kind."""
KINDS = {
    name: Kind(**table, fits=_FITS.get(name, lambda caption, answer: True))
    for name, table in PROMPTS["kinds"].items()
    if isinstance(table, Mapping)
}
"""Kinds by name."""


def is_loose(kind: str) -> bool:
    """Whether a wording of this kind may leave out facts of its caption; a paraphrase may not."""
    return kind in KINDS and KINDS[kind].drops


def read_kinds(names: str) -> tuple[str, ...]:
    """The kinds in a list with commas; raises UserError for one that does not exist."""
    kinds = tuple(dict.fromkeys(filter(None, map(str.strip, names.split(",")))))
    for name in kinds:
        if name not in KINDS:
            raise UserError("--kinds", f"there is no kind {name!r}", nearest(name, list(KINDS)))
    return kinds


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


Messages = Mapping[str, str]
"""The contents of a chat by their role, "system" or "user", with a place for the text."""
_PLACE = re.compile(r"\{(\w+)\}")
_PLACES = {"step_1": ["caption"], "step_2": ["caption", "paraphrase_1"]}
"""Names of the text that a step rewords; in step 2, both mean paraphrase_1."""


@dataclass(frozen=True)
class _PromptFile:
    """What a user asks in both steps: the user's message, or a table of messages by role."""

    step_1: str | dict[str, str]
    step_2: str | dict[str, str]


def read_prompts(path: Path | str) -> tuple[Messages, ...]:
    """The messages of step 1 and step 2 in a TOML file; raises UserError for one without them, or
    whose place for the text is missing or has another name."""
    given = read_options(path, _PromptFile)
    return tuple(_messages_in(f"{path}: {key}", given.get(key, {}), key) for key in _PLACES)


def _messages_in(where: str, given: str | dict[str, str], key: str) -> Messages:
    """The messages of one step, checked."""
    messages, known = given if isinstance(given, dict) else {"user": given}, _PLACES[key]
    for role in messages.keys() - {"system", "user"}:
        raise UserError(f"{where}.{role}", "is not a message", "Give system and user.")
    found = {name for content in messages.values() for name in _PLACE.findall(content)}
    for name in found.difference(known):
        raise UserError(where, f"has no text for {{{name}}}", nearest(name, known))
    if not _PLACE.search(messages.get("user", "")):
        what = "has no place for the text in the user's message"
        raise UserError(where, what, f"Write {{{known[-1]}}} where the text to reword belongs.")
    if len(found) > 1:
        what = "names the text that it rewords in two ways"
        raise UserError(where, what, f"Write {{{known[-1]}}} in each place.")
    return messages


def make_prompt(style: str, step: int | str, text: str, own: Sequence[Messages] = ()) -> Prompt:
    """The prompt for one text: of step 1 (a caption), of step 2 (paraphrase_1), or of a further
    wording, a kind of KINDS. It is that of a style in STYLES, or for a step the user's `own`."""
    text = " ".join(text.split())
    if not own or isinstance(step, str):
        return STYLES[style](step, text)
    filled = (
        (role, _PLACE.sub(lambda _: text, content)) for role, content in own[step - 1].items()
    )
    return Prompt(messages=tuple({"role": role, "content": content} for role, content in filled))


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
