"""Small word lists of English as used in captions: numbers, colours, negation, kinds of things.

They are read from `words.txt` and `concepts.txt`, and are not a dictionary. A word that is not
listed is compared by its vector (`filters/judge.py`). A listed word is judged more exactly: "pooch"
is a dog and "pony" is not, however close their vectors are.
"""

from importlib.resources import files


def _read(name: str) -> list[str]:
    """The lines of a file of this package, without comments and empty lines."""
    text = files("paraclip.paraphrase.language").joinpath(name).read_text("utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


_SECTIONS: dict[str, list[str]] = {}
for _line in _read("words.txt"):
    if _line.startswith("["):
        _lines = _SECTIONS.setdefault(_line.strip("[]"), [])
    else:
        _lines.append(_line)


def listed(section: str) -> frozenset[str]:
    """The words of a section of `words.txt`."""
    return frozenset(" ".join(_SECTIONS[section]).split())


def _named_lists(section: str) -> dict[str, frozenset[str]]:
    """The lists of a section of lines `name: words`, by name."""
    lines = (line.partition(":") for line in _SECTIONS[section])
    return {name: frozenset(words.split()) for name, _, words in lines}


def _pairs(section: str) -> dict[str, str]:
    """The pairs of a section of `form=meaning`."""
    return dict(pair.split("=") for pair in " ".join(_SECTIONS[section]).split())


def _by_word(section: str) -> dict[str, set[str]]:
    """Names of the lists in which each word of a section occurs."""
    found: dict[str, set[str]] = {}
    for name, words in _named_lists(section).items():
        for word in words:
            found.setdefault(word, set()).add(name)
    return found


STOP_WORDS, CARRIER_WORDS = listed("stop words"), listed("carrier words")
COUPLES, EITHER_GENDER, YOUNG = listed("couples"), listed("either gender"), listed("young")
GENDER_WORDS = _named_lists("gender words")
LEMMAS, UNSTEMMED, DERIVED = _pairs("lemmas"), listed("unstemmed"), _pairs("families")
NUMBERS, LOOSE_NUMBERS = _pairs("numbers"), _pairs("loose numbers")
NEGATIONS, LACKS, UNNEGATED = listed("negations"), listed("lacks"), listed("unnegated")
NO_NEGATION = frozenset({("nothing", "but"), ("not", "far"), ("not", "only")})
COLOUR_OF = {word: name for word, (name,) in _by_word("colours").items()}
LIKE_COLOUR = _by_word("colour likeness")
_EXCLUSIVE_PARENTS = frozenset({"animal", "bird", "fish", "insect", "vehicle", "ball", "food"})

CONCEPTS_OF: dict[str, frozenset[str]] = {}
"""Concepts of each word listed in `concepts.txt`."""
CONCEPTS_OF_VERB: dict[str, frozenset[str]] = {}
"""The same for the words under `[verbs]` alone."""
WITH_PARENTS: dict[str, frozenset[str]] = {}
"""Each concept with all its ancestors, itself included."""
EXCLUSIVE_CONCEPTS = set(listed("exclusive"))
"""Groups of concepts that exclude each other."""

_tables = [CONCEPTS_OF]
for _line in _read("concepts.txt"):
    if _line.startswith("["):
        _tables = [CONCEPTS_OF, CONCEPTS_OF_VERB] if _line == "[verbs]" else [CONCEPTS_OF]
    else:
        _head, _words = _line.split(":")
        _name, _, _parent = (part.strip() for part in _head.partition("<"))
        _above = WITH_PARENTS.get(_parent, frozenset())
        WITH_PARENTS[_name] = WITH_PARENTS.get(_name, frozenset()) | _above | {_name}
        if _parent in _EXCLUSIVE_PARENTS:
            EXCLUSIVE_CONCEPTS.add(_name)
        for _table in _tables:
            for _word in _words.split():
                _table[_word] = _table.get(_word, frozenset()) | {_name}
