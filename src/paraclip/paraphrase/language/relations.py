"""Relations that a paraphrase must keep: who does what to whom, which adjective belongs to which
noun, prepositions, grammatical number and pronouns.

"A dog pulls a child" does not paraphrase "A child pulls a dog", although all words are the same and
MiniLM rates the two as similar. The checks of roles are cautious: an answer fails only if words
that both texts share are clearly exchanged. `doubtful_reason` is for small generators, which keep
the nouns and change the function words: "under a tree" becomes "in a tree", "chases it" becomes
"chases him", "a couple" becomes "couples".
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from paraclip.paraphrase.language.lexicon import (
    CARRIER_WORDS,
    COLOUR_OF,
    LOOSE_NUMBERS,
    NUMBERS,
    YOUNG,
    listed,
    named_lists,
)
from paraclip.paraphrase.language.words import is_content, root, with_parents, words

PEOPLE, ADJECTIVES = listed("people"), listed("adjectives")
FRONTING, INVERTING = listed("fronting"), listed("inverting")
_AUXILIARIES = listed("auxiliaries")
_PREPOSITIONS = named_lists("prepositions")
# "to" also marks infinitives, and negation has its own check.
_UNCHECKED = frozenset({"toward", "without"})
_BESIDE = frozenset({"by", "at"})  # mean a place, among other things
CLOTHING_WORDS, QUANTIFIERS = listed("clothing words"), listed("quantifiers")
_PRONOUNS = named_lists("pronouns")
_ARTICLES = frozenset({"a", "an", "one"})
_PAIR_WORDS = frozenset({"couple", "both", "pairs", "twins"})
_GROUPS = frozenset({"couple", "pair", "set", "trio"})
_REACH = 3
"""Maximum number of words between an article or a preposition and its noun, and between two words
that belong together ("alley covered in snow")."""


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
        describes = word in COLOUR_OF or word in ADJECTIVES
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
    fronted = FRONTING & set(answer[max(0, begin - _REACH) : begin])
    inverted = (INVERTING & set(answer[begin:end])) - ({"from", "behind", "by"} & set(between))
    return not (fronted or inverted or active)


def _living_beings(tokens: Sequence[str]) -> list[tuple[int, frozenset[str]]]:
    """Index of each person and animal, with its root and all concepts that its name may mean."""
    beings: list[tuple[int, frozenset[str]]] = []
    for index, word in enumerate(tokens):
        kinds = with_parents([word])
        person = word in PEOPLE or word.removesuffix("s") in PEOPLE
        if person or (kinds & {"person", "animal"} and word not in ADJECTIVES):
            names = frozenset({root(word)} | (kinds - {"person", "animal", "adult"}))
            beings.append((index, names))
    return beings


def doubtful_reason(source: str, answer: str, caption: str = "") -> str | None:
    """The reason of the first check for small generators that an answer fails, or None.

    Args:
        source: the text that was to be reworded.
        answer: the answer, cleaned.
        caption: the caption, in step 2; its words do not count as new content.
    """
    before, after = words(source), words(answer)
    if _changed_plurality(before, after) or _count_numbers(before) != _count_numbers(after):
        return "number"
    counts = Counter(map(root, before))
    repeated = Counter(root(word) for word in after if is_content(word))
    if any(count > max(1, counts[word]) for word, count in repeated.items()):
        return "repetition"
    pronouns = any(
        word in after and not allowed & set(before) for word, allowed in _PRONOUNS.items()
    )
    quantifiers = (set(before) ^ set(after)) & QUANTIFIERS
    compounds = any(_new_compound(before, words(part)) for part in re.split("[,;:.]", answer))
    if _changed_preposition(before, after) or pronouns or quantifiers or compounds:
        return "relation"
    # A synonym replaces a word; further words were added, unless they come from the caption.
    old, new = _described_things(before), _described_things(after)
    added = new - old - _described_things(words(caption))
    return "new content" if len(added) > len(old - new) else None


def _count_numbers(tokens: Sequence[str]) -> Counter[str]:
    """Number of occurrences of each number: "two men with two dogs" is not "men with two dogs"."""
    return Counter(
        NUMBERS.get(word, LOOSE_NUMBERS.get(word, word))
        for word in tokens
        if word in NUMBERS or word in _PAIR_WORDS or word.isdigit()
    )


def _changed_preposition(source: Sequence[str], answer: Sequence[str]) -> bool:
    """Whether source and answer use prepositions of different classes."""
    before, after = (
        {kind for kind, names in _PREPOSITIONS.items() if names & set(tokens)}
        for tokens in (source, answer)
    )
    changed = (before ^ after) - _UNCHECKED
    if CLOTHING_WORDS & set(source if "in" in after else answer):  # "in" may mean "wearing"
        changed -= {"in"}
    if _BESIDE & set(answer if "beside" in before else source):
        changed -= {"beside"}
    return bool(changed)


def _changed_plurality(source: Sequence[str], answer: Sequence[str]) -> bool:
    """Whether a singular became a plural or vice versa ("a couple" as "couples")."""
    for one, many in ((source, answer), (answer, source)):
        singles = {
            word
            for index, word in enumerate(one)
            if not word.endswith("s")
            and (word in _GROUPS or _ARTICLES & set(one[max(0, index - _REACH) : index]))
        }
        plurals = {word[:-1] for word in many if word.endswith("s")}
        if (singles & plurals) - set(many):
            return True
    return False


def _new_compound(source: Sequence[str], answer: Sequence[str]) -> bool:
    """Whether the answer joins words that are far apart: "melon on porch steps", "melon steps"."""
    indices: dict[str, list[int]] = {}
    for index, word in enumerate(source):
        indices.setdefault(root(word), []).append(index)
    for one, other in pairwise(answer):
        if is_content(one) and is_content(other):
            ones, others = indices.get(root(one), []), indices.get(root(other), [])
            distances = [abs(first - second) for first in ones for second in others]
            if distances and min(distances) > _REACH:
                return True
    return False


def _described_things(tokens: Sequence[str]) -> set[str]:
    """Roots of the words that describe the picture, without carriers, numbers and "young"."""
    known = CARRIER_WORDS | YOUNG | NUMBERS.keys()
    described = (word for word in tokens if word not in known and not word.isdigit())
    return {root(word) for word in described if is_content(word)}
