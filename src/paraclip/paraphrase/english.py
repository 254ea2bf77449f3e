"""What the filters know of English: which words are forms of one another.

What a text says is left to the models (`filters/minilm.py`). The word lists are in `words.txt`.
"""

from functools import cache, lru_cache
from typing import Any

from paraclip.data.words import is_content, read_sections, strip_possessive, words
from paraclip.errors import optional_import

_SECTIONS = read_sections("paraclip.paraphrase")


def _listed(section: str) -> frozenset[str]:
    """The words of a section of `words.txt`."""
    return frozenset(" ".join(_SECTIONS[section]).split())


def _pairs(section: str) -> dict[str, str]:
    """The pairs of a section of `form=meaning`."""
    return dict(pair.split("=") for pair in " ".join(_SECTIONS[section]).split())


_CARRIER_WORDS = _listed("carrier words")
_LEMMAS, _UNSTEMMED, _DERIVED = _pairs("lemmas"), _listed("unstemmed"), _pairs("families")


@lru_cache(maxsize=50_000)
def _lemma(word: str) -> str:
    """The dictionary form, by `_LEMMAS` or else simplemma: "ran" becomes "run"."""
    word = strip_possessive(word)
    if not word or word in _LEMMAS:
        return _LEMMAS.get(word, word)
    # Imported at the first use, so that commands that read no text start quickly.
    dictionary_form: str = optional_import("simplemma", "llm").lemmatize(word, lang="en")
    return dictionary_form.lower()


@lru_cache(maxsize=50_000)
def root(word: str) -> str:
    """What a word shares with its inflections and simple derivations: "climb" for "climbers"."""
    dictionary_form = _lemma(word)
    if dictionary_form in _UNSTEMMED:
        return dictionary_form
    stemmed: str = _stemmer().stemWord(_DERIVED.get(dictionary_form, dictionary_form))
    return stemmed


@cache
def _stemmer() -> Any:
    return optional_import("snowballstemmer", "llm").stemmer("english")


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
    new = (word for word in words(second) if word not in _CARRIER_WORDS)
    return not {root(word) for word in new if is_content(word)} <= set(content_roots(first))
