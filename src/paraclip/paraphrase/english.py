"""What the filters know of English: the words of a caption, what they express, and their roles.

The small word lists (numbers, colours, negation, people and animals) are read from `words.txt`, and
are not a dictionary: what they do not know is left to the models (`filters/minilm.py`).
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

from paraclip.data.words import is_content, is_negated, read_sections, strip_possessive, words
from paraclip.errors import optional_import

_SECTIONS = read_sections("paraclip.paraphrase")


def _listed(section: str) -> frozenset[str]:
    """The words of a section of `words.txt`."""
    return frozenset(" ".join(_SECTIONS[section]).split())


def _named_lists(section: str) -> dict[str, frozenset[str]]:
    """The lists of a section of lines `name: words`, by name; a list may have several lines."""
    lists: dict[str, frozenset[str]] = {}
    for line in _SECTIONS[section]:
        name, _, listed_words = line.partition(":")
        lists[name] = lists.get(name, frozenset()) | frozenset(listed_words.split())
    return lists


def _pairs(section: str) -> dict[str, str]:
    """The pairs of a section of `form=meaning`."""
    return dict(pair.split("=") for pair in " ".join(_SECTIONS[section]).split())


def _by_word(section: str) -> dict[str, set[str]]:
    """Names of the lists in which each word of a section occurs."""
    found: dict[str, set[str]] = {}
    for name, listed in _named_lists(section).items():
        for word in listed:
            found.setdefault(word, set()).add(name)
    return found


_CARRIER_WORDS = _listed("carrier words")
COUPLES = _listed("couples")
GENDER_NOUNS, GENDER_WORDS = _named_lists("gender nouns"), _named_lists("gender words")
_LEMMAS, _UNSTEMMED, _DERIVED = _pairs("lemmas"), _listed("unstemmed"), _pairs("families")
NUMBERS, _LOOSE_NUMBERS = _pairs("numbers"), _pairs("loose numbers")
_LACKS = _listed("lacks")
COLOUR_OF = {word: name for word, (name,) in _by_word("colours").items()}
LIKE_COLOUR = _by_word("colour likeness")
_TENS_AND_UNIT = re.compile(
    r"\b(twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)[- ]"
    r"(one|two|three|four|five|six|seven|eight|nine)\b"
)
_SCALED = re.compile(
    rf"\b(\d[\d,]{{0,15}}(?:\.\d{{1,15}})?|{'|'.join(NUMBERS)}) "
    r"(dozen|hundred|thousand|million)\b"
)


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
        elif word in NUMBERS:
            digits.add(NUMBERS[word])
    return digits


def _value(word: str) -> int | float:
    """The value of a number in digits or of a word for one."""
    digits = "1" if word == "one" else NUMBERS.get(word, word).replace(",", "")
    return float(digits) if "." in digits else int(digits)


def allowed_numbers(text: str) -> set[str]:
    """Numbers that a text states or allows: "both" and "another" allow 2."""
    loose = {_LOOSE_NUMBERS[word] for word in words(text) if word in _LOOSE_NUMBERS}
    return numbers(text) | loose


def colours(tokens: Iterable[str]) -> set[str]:
    """Colour families that the words name."""
    return {COLOUR_OF[word] for word in tokens if word in COLOUR_OF}


def allowed_colours(tokens: Iterable[str]) -> set[str]:
    """Colour families that the words name or suggest ("snow", "ebony", "blond")."""
    tokens = list(tokens)  # an iterator could be read only once
    return colours(tokens).union(*(LIKE_COLOUR.get(word, ()) for word in tokens))


def allows_negation(tokens: Iterable[str]) -> bool:
    """Whether some word negates or names a lack ("bare", "missing", "unread", "leafless")."""
    tokens = list(tokens)
    return is_negated(tokens) or any(
        word in _LACKS
        or word.endswith("less")
        or (word.startswith("un") and len(word) > 5 and word.endswith(("ed", "en", "ad", "de")))
        for word in tokens
    )


def is_listed(word: str, nouns: frozenset[str]) -> bool:
    """Whether nouns include a word, or what it is the plural of.

    "Fishing" is not a fish and "manned" not a man, so no other inflection counts.
    """
    word = strip_possessive(word)
    return word in nouns or (word.endswith("s") and _lemma(word) in nouns)


def genders(tokens: Iterable[str]) -> set[str]:
    """Of "male" and "female", those that a noun states."""
    tokens = list(tokens)
    return {
        gender
        for gender, nouns in GENDER_NOUNS.items()
        if any(is_listed(word, nouns) for word in tokens)
    }


# Who does what to whom, and which adjective belongs to which noun. "A dog pulls a child" does not
# paraphrase "A child pulls a dog", although all words are the same and MiniLM rates the two as
# similar. The checks are cautious: an answer fails only if words that both share are exchanged.
_BEINGS = _listed("people").union(_listed("animals"), *GENDER_NOUNS.values())
_ADJECTIVES = _listed("adjectives")
_FRONTING, _INVERTING = _listed("fronting"), _listed("inverting")
_AUXILIARIES = _listed("auxiliaries")
_REACH = 3
"""Maximum number of words between a preposition and its noun."""


def roles_changed(source: Sequence[str], answer: Sequence[str]) -> bool:
    """Whether the answer attaches an adjective or an action to a different thing."""
    checks = (_adjective_moved, _actors_exchanged, _agent_lost, _result_as_attribute)
    return any(check(source, answer) for check in checks)


def _result_as_attribute(source: Sequence[str], answer: Sequence[str]) -> bool:
    """Whether a result became an attribute: "paints a fence white" as "a white fence"."""
    if not {"paint", "dye", "colour"} & set(map(root, source)):
        return False
    become = {(colour, thing) for thing, colour in pairwise(source) if colour in COLOUR_OF}
    return bool(become & (set(pairwise(answer)) - set(pairwise(source))))


def _agent_lost(source: Sequence[str], answer: Sequence[str]) -> bool:
    """Whether a verb became passive without its agent: "a woman hands" as "a woman is handed"."""
    verbs = {
        root(word)
        for before, word in pairwise(["", *source])
        if before not in _AUXILIARIES or word.endswith("ing")
    }
    return any(
        before in _AUXILIARIES
        and word.endswith(("ed", "en"))
        and word not in source
        and root(word) in verbs
        and "by" not in answer[index:]
        for index, (before, word) in enumerate(pairwise(answer))
    )


def _adjective_moved(source: Sequence[str], answer: Sequence[str]) -> bool:
    """Whether an adjective moved to another noun: "black dog, white horse" as "white dog"."""
    before, after = _described_nouns(source), _described_nouns(answer)
    here, there = set(map(root, answer)), set(map(root, source))
    pairs = ((before.get(adjective), nouns) for adjective, nouns in after.items())
    return any(old and not old & new and old <= here and new & there for old, new in pairs)


def _described_nouns(tokens: Sequence[str]) -> dict[str, set[str]]:
    """Maps colours, participles and common adjectives to the roots of the nouns they precede."""
    described: dict[str, set[str]] = {}
    pending: list[str] = []
    for word in tokens:
        describes = word in COLOUR_OF or word in _ADJECTIVES
        if is_content(word) and not describes:
            for adjective in pending:
                described.setdefault(adjective, set()).add(root(word))
        if describes or word.endswith("ed"):
            pending.append(COLOUR_OF.get(word, word))
        elif not is_content(word) and word != "and":
            pending = []
    return described


def _actors_exchanged(source: Sequence[str], answer: Sequence[str]) -> bool:
    """Whether two living beings exchanged roles (a passive or fronted form exchanges none)."""
    beings = _living_beings(source)
    if len(beings) != 2 or beings[0][1] & beings[1][1]:
        return False
    (first, one), (second, other) = beings
    between = source[first:second]
    if {"and", "with"} & set(between):
        return False
    named = _living_beings(answer)
    ones = [index for index, names in named if names & one and not names & other]
    others = [index for index, names in named if names & other and not names & one]
    if len(ones) != 1 or len(others) != 1:
        return False
    begin, end = sorted((ones[0], others[0]))
    active = "by" in between and "by" not in answer[begin:end]
    if ones[0] < others[0]:
        return "by" in answer[begin:end] and "by" not in between
    # The being that is named second may still be the agent, by the syntax of the answer.
    fronted = _FRONTING & set(answer[max(0, begin - _REACH) : begin])
    inverted = (_INVERTING & set(answer[begin:end])) - ({"from", "behind", "by"} & set(between))
    return not (fronted or inverted or active)


def _living_beings(tokens: Sequence[str]) -> list[tuple[int, frozenset[str]]]:
    """Index of each person and animal, with its root and gender: "guy" may stand for "man"."""
    return [
        (index, frozenset({root(word)} | genders([word])))
        for index, word in enumerate(tokens)
        if is_listed(word, _BEINGS) and word not in _ADJECTIVES
    ]
