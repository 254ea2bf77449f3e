"""Prepositions, grammatical number and pronouns of a caption and its paraphrase.

A small generator keeps the nouns and changes the function words: "under a tree" becomes "in a
tree", "chases it" becomes "chases him", "a couple" becomes "couples". The checks compare function
words by class, for generators whose every change is doubtful (`Limits.doubtful`).
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from paraclip.paraphrase.language.lexicon import (
    CARRIER_WORDS,
    LOOSE_NUMBERS,
    NUMBERS,
    YOUNG,
    listed,
)
from paraclip.paraphrase.language.words import is_content, root, words

PREPOSITIONS = {
    "on": listed("on upon atop top"),
    "in": listed("in inside within"),
    "under": listed("under beneath below underneath"),
    "over": listed("over above"),
    "beside": listed("beside near nearby next close alongside"),
    "across": listed("across"),
    "along": listed("along"),
    "behind": listed("behind rear back"),
    "front": listed("front before ahead"),
    "between": listed("between among amid"),
    "around": listed("around"),
    "into": listed("into onto"),
    "through": listed("through"),
    "after": listed("after"),
    "out": listed("out outside outdoors"),
    "off": listed("off from away"),
    "up": listed("up upward"),
    "down": listed("down downward"),
    "toward": listed("toward towards to"),
    "against": listed("against"),
    "without": listed("without no not"),
}
# "to" also marks infinitives, and negation has its own check.
UNCHECKED = frozenset({"toward", "without"})
BESIDE = listed("by at")  # mean a place, among other things
CLOTHING_WORDS = listed("wearing wears wear dressed clad with")
MALE = listed("he his him man men boy guy gentleman father dad son brother lad male husband")
FEMALE = listed("she her hers woman girl lady mother mom daughter sister lass female wife bride")
PRONOUNS = {
    "him": listed("him himself"),
    "he": MALE,
    "his": MALE,
    "she": FEMALE,
    "her": FEMALE,
    "them": listed("them themselves they their"),
    "itself": listed("itself it its"),
    "me": listed("me my i we us our"),
}
ARTICLES = listed("a an one")
PAIR_WORDS = listed("couple both pairs twins")
GROUPS = listed("couple pair set trio")
QUANTIFIERS = listed(
    "only all every each most half almost nearly always first last best few many than"
)
REACH = 3  # maximum number of words between an article and its noun
CLOSE_WITHIN = 3  # two words this far apart still belong together: "alley covered in snow"


def doubtful_reason(source: str, answer: str, caption: str = "") -> str | None:
    """The reason given by the first check that an answer fails, or None.

    Args:
        source: the text that was to be reworded.
        answer: the answer, cleaned.
        caption: the caption, in step 2; its words do not count as new content.
    """
    source_words, answer_words = words(source), words(answer)
    checks = (
        ("number", changed_plurality(source_words, answer_words)),
        ("number", number_counts(source_words) != number_counts(answer_words)),
        ("repetition", repeats_content(source_words, answer_words)),
        ("relation", changed_preposition(source_words, answer_words)),
        ("relation", changed_pronoun(source_words, answer_words)),
        (
            "relation",
            any(new_compound(source_words, words(part)) for part in re.split("[,;:.]", answer)),
        ),
        ("new content", added_words(source_words, answer_words, words(caption))),
    )
    return next((reason for reason, failed in checks if failed), None)


def repeats_content(source_words: Sequence[str], answer_words: Sequence[str]) -> bool:
    """Whether a content word occurs more often than in the source ("cream, and cream")."""
    before = Counter(root(word) for word in source_words)
    after = Counter(root(word) for word in answer_words if is_content(word))
    return any(count > max(1, before[word]) for word, count in after.items())


def changed_preposition(source_words: Sequence[str], answer_words: Sequence[str]) -> bool:
    """Whether source and answer use prepositions of different classes."""
    before, after = _preposition_classes(source_words), _preposition_classes(answer_words)
    if "in" in after - before and CLOTHING_WORDS & set(source_words):
        after.discard("in")
    if "in" in before - after and CLOTHING_WORDS & set(answer_words):
        before.discard("in")
    changed = (before ^ after) - UNCHECKED
    if "beside" in changed and BESIDE & set(answer_words if "beside" in before else source_words):
        changed -= {"beside"}
    return bool(changed)


def _preposition_classes(tokens: Sequence[str]) -> set[str]:
    here = set(tokens)
    return {kind for kind, names in PREPOSITIONS.items() if names & here}


def changed_pronoun(source_words: Sequence[str], answer_words: Sequence[str]) -> bool:
    """Whether the answer has a pronoun, an "only" or an "all" that the source does not allow."""
    here, there = set(answer_words), set(source_words)
    strange = any(word in here and not (allowed & there) for word, allowed in PRONOUNS.items())
    return strange or bool((here ^ there) & QUANTIFIERS)


def number_counts(tokens: Sequence[str]) -> Counter[str]:
    """Number of occurrences of each number: "two men with two dogs" is not "men with two dogs"."""
    return Counter(
        NUMBERS.get(word, LOOSE_NUMBERS.get(word, word))
        for word in tokens
        if word in NUMBERS or word in PAIR_WORDS or word.isdigit()
    )


def changed_plurality(source_words: Sequence[str], answer_words: Sequence[str]) -> bool:
    """Whether a singular became a plural or vice versa ("a couple" as "couples")."""
    return _plural_of_singular(source_words, answer_words) or _plural_of_singular(
        answer_words, source_words
    )


def _plural_of_singular(one: Sequence[str], many: Sequence[str]) -> bool:
    singles = {
        word
        for index, word in enumerate(one)
        if not word.endswith("s")
        and (word in GROUPS or ARTICLES & set(one[max(0, index - REACH) : index]))
    }
    plurals = {word[:-1] for word in many if word.endswith("s")}
    return bool((singles & plurals) - set(many))


def new_compound(source_words: Sequence[str], answer_words: Sequence[str]) -> bool:
    """Whether the answer joins two words that are far apart in the source.

    "Eating watermelon on the porch steps" does not make "watermelon steps".
    """
    indices: dict[str, list[int]] = {}
    for index, word in enumerate(source_words):
        indices.setdefault(root(word), []).append(index)
    return any(
        one in indices and two in indices and not _are_close(indices[one], indices[two])
        for one, two in _neighbours(answer_words)
    )


def added_words(
    source_words: Sequence[str], answer_words: Sequence[str], caption: Sequence[str] = ()
) -> bool:
    """Whether the answer has more new words than it omitted from the source.

    A synonym replaces a word; further words were added, unless they come from the caption.
    """
    before, after = _content_roots(source_words), _content_roots(answer_words)
    return len(after - before - _content_roots(caption)) > len(before - after)


def _content_roots(tokens: Sequence[str]) -> set[str]:
    known = CARRIER_WORDS | YOUNG | NUMBERS.keys()
    return {
        root(word)
        for word in tokens
        if is_content(word) and word not in known and not word.isdigit()
    }


def _neighbours(tokens: Sequence[str]) -> list[tuple[str, str]]:
    return [
        (root(one), root(two))
        for one, two in pairwise(tokens)
        if is_content(one) and is_content(two)
    ]


def _are_close(ones: Sequence[int], twos: Sequence[int]) -> bool:
    return any(abs(one - two) <= CLOSE_WITHIN for one in ones for two in twos)
