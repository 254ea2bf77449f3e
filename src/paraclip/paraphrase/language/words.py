"""Words of a caption and what they express: numbers, colours, negation, kinds of things."""

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any
from unicodedata import normalize

from paraclip.errors import optional_import
from paraclip.paraphrase.language import lexicon

_PART = r"(?:[^\W_][\u0300-\u036f]*)+"  # accents may be characters of their own
_WORD = re.compile(rf"{_PART}(?:['’]{_PART})*")
_TENS_AND_UNIT = re.compile(
    r"\b(twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)[- ]"
    r"(one|two|three|four|five|six|seven|eight|nine)\b"
)
_SCALED = re.compile(
    rf"\b(\d[\d,]{{0,15}}(?:\.\d{{1,15}})?|{'|'.join(lexicon.NUMBERS)}) "
    r"(dozen|hundred|thousand|million)\b"
)


def word_spans(text: str) -> list[tuple[str, int, int]]:
    """Each word in lower case and NFC with its start and end in the text."""
    found = _WORD.finditer(text)
    return [(normalize("NFC", one[0].lower()).replace("’", "'"), *one.span()) for one in found]


def words(text: str) -> list[str]:
    """The words of a text in lower case; hyphens split words, apostrophes do not."""
    return [word for word, _, _ in word_spans(text)]


def _bare(word: str) -> str:
    """The word without a possessive ending."""
    return word.removesuffix("'s").removesuffix("'")


@lru_cache(maxsize=50_000)
def _lemma(word: str) -> str:
    """The dictionary form, by `lexicon.LEMMAS` or else simplemma: "ran" becomes "run"."""
    word = _bare(word)
    if not word or word in lexicon.LEMMAS:
        return lexicon.LEMMAS.get(word, word)
    # Imported at the first use, so that commands that read no text start quickly.
    dictionary_form: str = optional_import("simplemma", "llm").lemmatize(word, lang="en")
    return dictionary_form.lower()


@lru_cache(maxsize=50_000)
def root(word: str) -> str:
    """What a word shares with its inflections and simple derivations: "climb" for "climbers"."""
    dictionary_form = _lemma(word)
    if dictionary_form in lexicon.UNSTEMMED:
        return dictionary_form
    stemmed: str = _stemmer().stemWord(lexicon.DERIVED.get(dictionary_form, dictionary_form))
    return stemmed


@cache
def _stemmer() -> Any:
    return optional_import("snowballstemmer", "llm").stemmer("english")


def is_content(word: str) -> bool:
    """Whether a word describes the picture; function words do not."""
    return word not in lexicon.STOP_WORDS and _bare(word) not in lexicon.STOP_WORDS


def content_roots(text: str) -> list[str]:
    """Roots of the content words, in order."""
    return [root(word) for word in words(text) if is_content(word)]


def overlap(first: str, second: str) -> float:
    """Share of content roots that two texts have in common (Jaccard), 0 to 1."""
    one, two = set(content_roots(first)), set(content_roots(second))
    return len(one & two) / len(one | two) if one | two else 1.0


def rewords(first: str, second: str) -> bool:
    """Whether the second text has a content word whose root is missing from the first.

    Carrier phrases do not count: "A photo showing a ram" does not reword "Ram".
    """
    new = (word for word in words(second) if word not in lexicon.CARRIER_WORDS)
    return not {root(word) for word in new if is_content(word)} <= set(content_roots(first))


def numbers(text: str) -> set[str]:
    """Numbers that a text states in digits or words: "two", "2" and "a pair" give "2".

    "One" is left out: it is usually a pronoun.
    """
    text = text.lower().replace("half a dozen", "six").replace("half-dozen", "six")
    text = _TENS_AND_UNIT.sub(lambda found: str(_value(found[1]) + _value(found[2])), text)
    for _ in range(2):  # "two hundred thousand"
        text = _SCALED.sub(lambda found: f"{_value(found[1]) * _value(found[2]):.15g}", text)
    digits = set()
    for word in re.findall(r"\d+(?:[.,]\d+)*|[^\W\d_]+", text):
        if word[0].isdigit():
            digits.add(word.replace(",", "").lstrip("0") or "0")
        elif word in lexicon.NUMBERS:
            digits.add(lexicon.NUMBERS[word])
    return digits


def _value(word: str) -> int | float:
    """The value of a number in digits or of a word for one."""
    digits = "1" if word == "one" else lexicon.NUMBERS.get(word, word).replace(",", "")
    return float(digits) if "." in digits else int(digits)


def allowed_numbers(text: str) -> set[str]:
    """Numbers that a text states or allows: "both" and "another" allow 2."""
    loose = {lexicon.LOOSE_NUMBERS[word] for word in words(text) if word in lexicon.LOOSE_NUMBERS}
    return numbers(text) | loose


def colours(tokens: Iterable[str]) -> set[str]:
    """Colour families that the words name."""
    return {lexicon.COLOUR_OF[word] for word in tokens if word in lexicon.COLOUR_OF}


def allowed_colours(tokens: Iterable[str]) -> set[str]:
    """Colour families that the words name or suggest ("snow", "ebony", "blond")."""
    tokens = list(tokens)  # an iterator could be read only once
    return colours(tokens).union(*(lexicon.LIKE_COLOUR.get(word, ()) for word in tokens))


def is_negated(tokens: Iterable[str]) -> bool:
    """Whether some word negates: "no", "without", "isn't", "shirtless"."""
    tokens = [*tokens, "", ""]
    return any(
        word in lexicon.NEGATIONS
        or word.endswith("n't")
        or (word.endswith("less") and word not in lexicon.UNNEGATED)
        for word, after in pairwise(tokens)
        if (word, after) not in lexicon.NO_NEGATION
    )


def allows_negation(tokens: Iterable[str]) -> bool:
    """Whether some word negates or names a lack ("bare", "missing", "unread", "leafless")."""
    tokens = list(tokens)
    return is_negated(tokens) or any(
        word in lexicon.LACKS
        or word.endswith("less")
        or (word.startswith("un") and len(word) > 5 and word.endswith(("ed", "en", "ad", "de")))
        for word in tokens
    )


@lru_cache(maxsize=50_000)
def concepts(word: str) -> frozenset[str]:
    """The possible concepts of a word by `concepts.txt`; empty if the word is not listed.

    The listed form has precedence, then the plural of any listed word, then other inflections of
    listed verbs. "Fishing" is not a fish and "manned" not a man, so nouns match in the plural only.
    """
    word = _bare(word)
    listed = lexicon.CONCEPTS_OF if word.endswith("s") else lexicon.CONCEPTS_OF_VERB
    exact = lexicon.CONCEPTS_OF.get(word)
    return listed.get(_lemma(word), frozenset()) if exact is None else exact


def with_parents(tokens: Iterable[str]) -> set[str]:
    """Concepts of all words with their ancestors: "pup" gives dog and animal."""
    named = (concept for word in tokens for concept in concepts(word))
    return set[str]().union(*(lexicon.WITH_PARENTS[concept] for concept in named))
