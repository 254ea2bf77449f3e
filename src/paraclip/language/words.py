"""Words of a caption and what they claim: numbers, colours, negation, who and what."""

import re
from collections.abc import Iterable
from functools import lru_cache

from paraclip.language import lexicon

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
SUFFIXES = ("ings", "ing", "ers", "er", "ied", "ies", "ed", "es", "s", "y")

DOUBLING = ("ings", "ing", "ers", "er", "ed")


def word_spans(text: str) -> list[tuple[str, int, int]]:
    """Each word in lower case with its start and end in the text."""
    return [(found[0].lower().replace("’", "'"), *found.span()) for found in WORD.finditer(text)]


def words(text: str) -> list[str]:
    """The words of a text in lower case; a hyphen parts words, an apostrophe does not."""
    return [word for word, _, _ in word_spans(text)]


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """A rough root, enough to find "runs" in "running" and "men" in "man"."""
    word = word.removesuffix("'s").removesuffix("'")
    word = lexicon.IRREGULAR.get(word, word)
    for suffix in SUFFIXES:
        root = word.removesuffix(suffix)
        if root != word and len(root) >= 3 and not word.endswith("ss"):
            word = undoubled(root) if suffix in DOUBLING else root
            break
    if len(word) > 3 and word[-1] in "eiy":
        word = word[:-1]
    return word


def undoubled(root: str) -> str:
    """A root without the letter that an ending doubled: "runn" is "run", "fall" stays."""
    doubled = len(root) > 3 and root[-1] == root[-2] and root[-1] not in "lsz"
    return root[:-1] if doubled else root


def is_content(word: str) -> bool:
    """Whether a word says something of the picture, rather than joins such words."""
    return word not in lexicon.STOP_WORDS and word.removesuffix("'s") not in lexicon.STOP_WORDS


def content_stems(text: str) -> list[str]:
    """Roots of the content words, in order."""
    return [stem(word) for word in words(text) if is_content(word)]


def overlap(first: str, second: str) -> float:
    """Share of content roots that two texts have in common (Jaccard), 0 to 1."""
    one, two = set(content_stems(first)), set(content_stems(second))
    return len(one & two) / len(one | two) if one | two else 1.0


def rewords(first: str, second: str) -> bool:
    """Whether the second text has a content word whose root the first lacks.

    Words of the frame that a caption hangs in are none: "A photo showing a ram" rewords nothing of
    "Ram".
    """
    told = (word for word in words(second) if is_content(word) and word not in lexicon.FRAME)
    return not {stem(word) for word in told} <= set(content_stems(first))


def numbers(text: str) -> set[str]:
    """Numbers that a text states, digits and words alike: "two", "2" and "a pair" give "2".

    The word "one" is too often a pronoun to be a claim.
    """
    found = set()
    for word in re.findall(r"\d+(?:[.,]\d+)*|[^\W\d_]+", text.lower()):
        if word[0].isdigit():
            found.add(word.replace(",", "").lstrip("0") or "0")
        elif word in lexicon.NUMBERS:
            found.add(lexicon.NUMBERS[word])
    return found


def may_number(text: str) -> set[str]:
    """Numbers that a text could mean, without stating them: "both" and "another" allow 2."""
    loose = {lexicon.LOOSE_NUMBERS[word] for word in words(text) if word in lexicon.LOOSE_NUMBERS}
    return numbers(text) | loose


def colours(found: Iterable[str]) -> set[str]:
    """Colour families that the words name plainly."""
    return {lexicon.COLOUR_OF[word] for word in found if word in lexicon.COLOUR_OF}


def may_colour(found: Iterable[str]) -> set[str]:
    """Colour families that the words name plainly or by likeness ("snow", "ebony", "blond")."""
    families: set[str] = set()
    for word in found:
        families |= lexicon.LIKE_COLOUR.get(word, set())
    return families | colours(found)


def negated(found: Iterable[str]) -> bool:
    """Whether some word denies something: "no", "without", "isn't", "shirtless"."""
    return any(word in lexicon.NEGATIONS or word.endswith("n't") or is_less(word) for word in found)


def is_less(word: str) -> bool:
    """Whether the word ends in a "-less" that denies ("shirtless", not "unless")."""
    return word.endswith("less") and word not in ("less", "unless", "regardless", "nevertheless")


def may_negate(found: Iterable[str]) -> bool:
    """Whether some word denies, or names a lack ("bare", "missing")."""
    return negated(found) or any(word in lexicon.LACKS for word in found)


def concepts(word: str) -> frozenset[str]:
    """Things that a known word may mean; empty for a word that the lexicon does not know."""
    return lexicon.CONCEPTS_OF.get(word) or CONCEPTS_OF_STEM.get(stem(word), frozenset())


def meant(found: Iterable[str]) -> set[str]:
    """Things that words mean, with all that they are kinds of: "pup" gives dog and animal."""
    reached: set[str] = set()
    for word in found:
        for concept in concepts(word):
            reached |= lexicon.WITH_PARENTS[concept]
    return reached


def _by_stem() -> dict[str, frozenset[str]]:
    roots: dict[str, frozenset[str]] = {}
    for word, known in lexicon.CONCEPTS_OF.items():
        roots[stem(word)] = roots.get(stem(word), frozenset()) | known
    return roots


CONCEPTS_OF_STEM = _by_stem()
