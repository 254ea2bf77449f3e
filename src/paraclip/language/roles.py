"""Who does what to whom, and which word describes which: two mix-ups of small generators.

"A dog pulls a child" is no paraphrase of "A child pulls a dog", though every word is the same and
MiniLM finds the two alike. The checks are cautious: they speak up only where the words that both
texts share stand plainly the other way round.
"""

from collections.abc import Sequence
from itertools import pairwise

from paraclip.language import lexicon
from paraclip.language import words as spoken
from paraclip.language.lexicon import listed

PEOPLE = listed(
    """
    teacher pupil student nurse patient doctor waiter waitress customer driver rider player
    officer tourist musician farmer chef cook worker clown pirate owner skier surfer skater
    swimmer runner climber singer dancer goalkeeper referee barber butcher robot client
    audience pianist actor sailor pilot guard
    """
)
ADJECTIVES = listed(
    """
    big large small little tiny tall short long young old elderly striped wooden metal plastic
    leather empty full wet dry dirty clean open closed round square bald bearded furry fat thin
    wide narrow older younger bigger smaller rusty new broken glass stone brick cotton
    """
)
PLACING = listed(
    """
    behind with in on to from for at near beside next under around over above below past before
    after by against toward towards between among off onto inside outside
    """
)
TURNING = listed("by while as and with whose from behind")
BEING = listed("is are was were be been being gets")
REACH = 3  # words before a name in which a preposition makes it an object

Named = tuple[int, frozenset[str]]  # place in the text, what the name stands for


def mixed_up(asked: Sequence[str], said: Sequence[str]) -> bool:
    """Whether the answer gives a description or a deed of one to another."""
    checks = (rebound, turned, undergone, already_painted)
    return any(check(asked, said) for check in checks)


def already_painted(asked: Sequence[str], said: Sequence[str]) -> bool:
    """Whether what a thing becomes it is said to be: "paints a fence white", "a white fence"."""
    if not {"paint", "dye", "colour"} & {spoken.stem(word) for word in asked}:
        return False
    become = {(colour, thing) for thing, colour in pairwise(asked) if colour in lexicon.COLOUR_OF}
    return bool(become & set(pairwise(said)))


def undergone(asked: Sequence[str], said: Sequence[str]) -> bool:
    """Whether a deed became one suffered, with nobody named who does it.

    "A woman hands bread to a man" does not make "A woman is handed bread to a man".
    """
    deeds = {
        spoken.stem(word)
        for before, word in pairwise(["", *asked])
        if before not in BEING or word.endswith("ing")
    }
    return any(
        before in BEING
        and word.endswith(("ed", "en"))
        and word not in asked
        and spoken.stem(word) in deeds
        and "by" not in said[place:]
        for place, (before, word) in enumerate(pairwise(said))
    )


def rebound(asked: Sequence[str], said: Sequence[str]) -> bool:
    """Whether an adjective moved to another thing: "black dog, white horse" as "white dog"."""
    before, after = _bindings(asked), _bindings(said)
    here, there = {spoken.stem(word) for word in said}, {spoken.stem(word) for word in asked}
    for adjective, things in after.items():
        old = before.get(adjective)
        if old and not old & things and old <= here and things & there:
            return True
    return False


def _bindings(found: Sequence[str]) -> dict[str, set[str]]:
    """Colours, participles and common adjectives to the roots of the words they stand before."""
    bound: dict[str, set[str]] = {}
    waiting: list[str] = []
    for word in found:
        describes = word in lexicon.COLOUR_OF or word in ADJECTIVES
        if spoken.is_content(word) and not describes:
            for adjective in waiting:
                bound.setdefault(adjective, set()).add(spoken.stem(word))
        if describes or word.endswith("ed"):
            waiting.append(lexicon.COLOUR_OF.get(word, word))
        elif not spoken.is_content(word) and word != "and":
            waiting = []
    return bound


def turned(asked: Sequence[str], said: Sequence[str]) -> bool:
    """Whether two living beings changed places without the sentence being turned around."""
    beings = _beings(asked)
    if len(beings) != 2 or beings[0][1] & beings[1][1]:
        return False
    (first, one), (second, other) = beings
    if {"and", "with"} & set(asked[first:second]):
        return False
    found = _beings(said)
    ones = [place for place, names in found if names & one and not names & other]
    others = [place for place, names in found if names & other and not names & one]
    if len(ones) != 1 or len(others) != 1:
        return False
    if ones[0] < others[0]:
        return "by" in said[ones[0] : others[0]] and "by" not in asked[first:second]
    return not _turned_around(said, others[0], ones[0], asked[first:second])


def _turned_around(said: Sequence[str], first: int, second: int, between: Sequence[str]) -> bool:
    """Whether the sentence is built so that the one named second still acts."""
    fronted = bool(PLACING & set(said[max(0, first - REACH) : first]))
    turning = (TURNING & set(said[first:second])) - ({"from", "behind", "by"} & set(between))
    active = "by" in between and "by" not in said[first:second]
    return fronted or bool(turning) or active


def _beings(found: Sequence[str]) -> list[Named]:
    """Persons and animals named in a text, in order, each with all that its name may mean."""
    beings: list[Named] = []
    for place, word in enumerate(found):
        kinds = spoken.meant([word])
        root = spoken.stem(word)
        person = word in PEOPLE or word.removesuffix("s") in PEOPLE
        if person or (kinds & {"person", "animal"} and word not in ADJECTIVES):
            beings.append((place, frozenset({root} | (kinds - {"person", "animal", "adult"}))))
    return beings
