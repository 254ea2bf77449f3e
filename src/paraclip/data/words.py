"""The words of English texts: which describe the picture, and which deny."""

import re
from collections.abc import Iterable
from importlib.resources import files
from itertools import pairwise
from unicodedata import normalize


def read_sections(package: str) -> dict[str, list[str]]:
    """The lines of each section of the `words.txt` of a package, without comments."""
    sections: dict[str, list[str]] = {}
    for line in files(package).joinpath("words.txt").read_text("utf-8").splitlines():
        if line.startswith("["):
            lines = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            lines.append(line)
    return sections


STOP_WORDS, _NEGATIONS, _UNNEGATED = (
    frozenset(" ".join(lines).split()) for lines in read_sections("paraclip.data").values()
)
_NO_NEGATION = frozenset({("nothing", "but"), ("not", "far"), ("not", "only")})
_PART = r"(?:[^\W_][\u0300-\u036f]*)+"  # accents may be characters of their own
_WORD = re.compile(rf"{_PART}(?:['’]{_PART})*")


def words(text: str) -> list[str]:
    """The words of a text in lower case and NFC; hyphens split words, apostrophes do not."""
    return [normalize("NFC", word.lower()).replace("’", "'") for word in _WORD.findall(text)]


def strip_possessive(word: str) -> str:
    """The word without a possessive ending."""
    return word.removesuffix("'s").removesuffix("'")


def is_content(word: str) -> bool:
    """Whether a word describes the picture; function words do not."""
    return word not in STOP_WORDS and strip_possessive(word) not in STOP_WORDS


def is_negated(tokens: Iterable[str]) -> bool:
    """Whether some word negates: "no", "without", "isn't", "shirtless"."""
    tokens = [*tokens, "", ""]
    return any(
        word in _NEGATIONS
        or word.endswith("n't")
        or (word.endswith("less") and word not in _UNNEGATED)
        for word, after in pairwise(tokens)
        if (word, after) not in _NO_NEGATION
    )
