"""Kinds of further wordings, for `--kinds`: how each is asked for, and which answers pass.

The kinds are those of the starter set; its README says what each means.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher, get_close_matches
from typing import Any

from paraclip.errors import UserError, nearest, optional_import

CONTRAST, TYPO = "contrast", "typo"
_CAPTIONS = (
    "A grey cat that is asleep on a wooden chair",
    "Man in red jacket fixes his bike by the road",
    "vintage oil lamp - brass, 12 inch",
)  # of the examples
_SAME = (
    "Keep its meaning: every person, thing, number, colour and relation it names, and nothing that "
    "it does not."
)
ONLY = "Answer with that text only, on one line, without quotation marks."
_Words = Sequence[str]


@dataclass(frozen=True)
class Kind:
    """A kind of wording."""

    task: str  # for a chat, before ONLY
    label: str  # the same for a model that completes text
    examples: tuple[str, str, str]  # wordings of _CAPTIONS
    # Whether the words of a caption (the first) and of an answer suit this kind.
    fits: Callable[[_Words, _Words], bool] = lambda caption, answer: True
    limits: Mapping[str, Any] = field(default_factory=dict)  # in place of those of paraphrases
    drops: bool = False  # may leave out facts such as a number, but adds none

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Captions and wordings of them, as examples."""
        return list(zip(_CAPTIONS, self.examples, strict=True))


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


_NO_LIMITS = {
    "similarity": -1.0, "support": -1.0, "exchange": -1.0, "kept": 0.0, "doubtful": False
}  # fmt: skip
KINDS = {
    "short": Kind(
        "Write what somebody would type into a search box to find the picture of this image "
        "caption: its main subject in two to five words, with nothing that it does not say.",
        "As a short search query",
        ("cat sleeping on chair", "man repairing bicycle", "old brass oil lamp"),
        lambda caption, answer: 2 <= len(answer) <= max(2, min(6, len(caption))),
        {"similarity": 0.35, "kept": 0.0, "doubtful": False},
        drops=True,
    ),
    "verbose": Kind(
        f"Reword this image caption as one long, careful sentence. {_SAME}",
        "As a long careful sentence",
        ("A grey cat has curled up on the seat of a chair that is made of wood and is fast asleep.",
         "By the side of the road, a man who is wearing a red jacket is busy repairing his bike.",
         "An oil lamp of the vintage kind, which is made of brass and measures twelve inches."),
        lambda caption, answer: len(answer) >= len(caption) + 3,
        {"growth": 4.0},
    ),
    "colloquial": Kind(
        f"Reword this image caption casually, as somebody would say it to a friend. {_SAME}",
        "Said casually",
        ("grey kitty fast asleep on a wooden chair", "guy in a red jacket fixing up his bike by "
         "the road", "cool old 12 inch oil lamp, all brass"),
    ),
    "technical": Kind(
        f"Reword this image caption soberly, as a cataloguer of an archive would. {_SAME}",
        "In a catalogue",
        ("Domestic cat, grey, asleep on wooden chair", "Man wearing red jacket, repairing bicycle "
         "at roadside", "Oil lamp, vintage, brass, 12 in."),
    ),
    TYPO: Kind(
        "Copy this image caption with typing errors in one to three of its words, as in a message "
        "written in a hurry. Change nothing else, and leave each word recognisable.",
        "With typing errors",
        ("A grey cat taht is asleep on a woden chair", "Man in red jaket fixes his bike by teh "
         "road", "vintage oil lmap - brass, 12 inch"),
        _is_misspelt,
        _NO_LIMITS,
        drops=True,
    ),
    "other_person": Kind(
        "Somebody else, who has never read this image caption, describes its picture: in words and "
        "an order of their own, with other details in front. Write that sentence; nothing in it "
        "may contradict the caption.",
        "Somebody else's description",
        ("on the seat of a chair, a cat with its eyes closed", "a bicycle being repaired on the "
         "roadside by someone in a jacket", "an antique lamp with a shiny metal body"),
        lambda caption, answer: _shared(caption, answer) <= 0.8,
        {"kept": 0.0},
        drops=True,
    ),
    CONTRAST: Kind(
        "Change this image caption so that it describes a clearly different picture in nearly the "
        "same words: change one colour, number, action, position, role or object, or negate it.",
        "Nearly the same words, another picture",
        ("A black cat that is asleep on a wooden chair", "Man in red jacket rides his bike by the "
         "road", "vintage oil lamp - brass, 3 inch"),
        _is_contrast,
        _NO_LIMITS,
    ),
}  # fmt: skip
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
