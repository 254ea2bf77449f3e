"""Where things are, how many they are, and what the small words point at.

A small generator keeps the nouns and loses what lies between them: "under a tree" becomes "in a
tree", "chases it" becomes "chases him", "a couple" becomes "couples". The checks compare small
words by class; they are for generators whose every change is doubtful (`Limits.doubtful`).
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from paraclip.language.lexicon import FRAME, LOOSE_NUMBERS, NUMBERS, YOUNG, listed
from paraclip.language.words import is_content, stem, words

PLACES = {
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
# "to" joins verbs, and negation has a check of its own.
LOOSE = frozenset({"toward", "without"})
BESIDE = listed("by at")  # may be a place, and may be much else
WORN = listed("wearing wears wear dressed clad with")
MALE = listed("he his him man men boy guy gentleman father dad son brother lad male husband")
FEMALE = listed("she her hers woman girl lady mother mom daughter sister lass female wife bride")
POINTING = {
    "him": listed("him himself"),
    "he": MALE,
    "his": MALE,
    "she": FEMALE,
    "her": FEMALE,
    "them": listed("them themselves they their"),
    "itself": listed("itself it its"),
    "me": listed("me my i we us our"),
}
PARTS = listed("a an one")
COUNTING = listed("couple both pairs twins")
GROUPS = listed("couple pair set trio")
LIMITING = listed(
    "only all every each most half almost nearly always first last best few many than"
)
REACH = 3  # words before a noun in which its article stands
APART = 3  # words between two that still belong together: "alley covered in snow"


def doubtful_reason(source: str, answer: str, caption: str = "") -> str | None:
    """The first check of the small words that an answer fails, or None.

    Args:
        source: the text that was to be reworded.
        answer: the answer, cleaned.
        caption: the caption, in step 2: words of it are nothing new.
    """
    asked, said = words(source), words(answer)
    checks = (
        ("number", multiplied(asked, said)),
        ("number", counted(asked) != counted(said)),
        ("repetition", says_again(asked, said)),
        ("relation", moved(asked, said)),
        ("relation", points_elsewhere(asked, said)),
        ("relation", any(joined(asked, words(part)) for part in re.split("[,;:.]", answer))),
        ("new content", more_words(asked, said, words(caption))),
    )
    return next((reason for reason, failed in checks if failed), None)


def says_again(asked: Sequence[str], said: Sequence[str]) -> bool:
    """Whether a content word comes more often than the source has it ("cream, and cream")."""
    before = Counter(stem(word) for word in asked)
    after = Counter(stem(word) for word in said if is_content(word))
    return any(count > max(1, before[root]) for root, count in after.items())


def moved(asked: Sequence[str], said: Sequence[str]) -> bool:
    """Whether the answer puts something where the source does not, or forgets where it is."""
    before, after = _places(asked), _places(said)
    if "in" in after - before and WORN & set(asked):
        after.discard("in")
    if "in" in before - after and WORN & set(said):
        before.discard("in")
    changed = (before ^ after) - LOOSE
    if "beside" in changed and BESIDE & set(said if "beside" in before else asked):
        changed -= {"beside"}
    return bool(changed)


def _places(found: Sequence[str]) -> set[str]:
    here = set(found)
    return {place for place, names in PLACES.items() if names & here}


def points_elsewhere(asked: Sequence[str], said: Sequence[str]) -> bool:
    """Whether the answer has a pronoun, or an "only" or "all", that the source does not allow."""
    here, there = set(said), set(asked)
    strange = any(word in here and not (allowed & there) for word, allowed in POINTING.items())
    return strange or bool((here ^ there) & LIMITING)


def counted(found: Sequence[str]) -> Counter[str]:
    """How often each number stands in a text: two men with two dogs are not men with two dogs."""
    return Counter(
        NUMBERS.get(word, LOOSE_NUMBERS.get(word, word))
        for word in found
        if word in NUMBERS or word in COUNTING or word.isdigit()
    )


def multiplied(asked: Sequence[str], said: Sequence[str]) -> bool:
    """Whether one became many or many one: "a couple" as "couples", "sausages" as "a sausage"."""
    return _many_of_one(asked, said) or _many_of_one(said, asked)


def _many_of_one(one: Sequence[str], many: Sequence[str]) -> bool:
    singles = {
        word
        for place, word in enumerate(one)
        if not word.endswith("s")
        and (word in GROUPS or PARTS & set(one[max(0, place - REACH) : place]))
    }
    plurals = {word[:-1] for word in many if word.endswith("s")}
    return bool((singles & plurals) - set(many))


def joined(asked: Sequence[str], said: Sequence[str]) -> bool:
    """Whether two words of the source were put together that stand far apart in it.

    "Eating watermelon on the porch steps" does not make "watermelon steps".
    """
    places: dict[str, list[int]] = {}
    for place, word in enumerate(asked):
        places.setdefault(stem(word), []).append(place)
    return any(
        one in places and two in places and not _close(places[one], places[two])
        for one, two in _neighbours(said)
    )


def more_words(asked: Sequence[str], said: Sequence[str], caption: Sequence[str] = ()) -> bool:
    """Whether the answer has more words of its own than it left out of the source.

    A synonym takes the place of a word; a word that takes no place was added, unless it comes
    from the caption.
    """
    before, after = _telling(asked), _telling(said)
    return len(after - before - _telling(caption)) > len(before - after)


def _telling(found: Sequence[str]) -> set[str]:
    known = FRAME | YOUNG | NUMBERS.keys()
    return {
        stem(word)
        for word in found
        if is_content(word) and word not in known and not word.isdigit()
    }


def _neighbours(found: Sequence[str]) -> list[tuple[str, str]]:
    return [
        (stem(one), stem(two))
        for one, two in pairwise(found)
        if is_content(one) and is_content(two)
    ]


def _close(ones: Sequence[int], twos: Sequence[int]) -> bool:
    return any(abs(one - two) <= APART for one in ones for two in twos)
