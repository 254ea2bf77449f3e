"""Kinds of further wordings, for `--kinds`: how each is asked for, and which answers pass.

The kinds are those of the starter set; its README says what each means.
"""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher, get_close_matches
from importlib.resources import files
from typing import Any

from paraclip.errors import UserError, nearest, optional_import

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
