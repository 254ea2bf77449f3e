"""Semantic roles: who does what to whom, and which adjective belongs to which noun.

"A dog pulls a child" does not paraphrase "A child pulls a dog", although all words are the same and
MiniLM rates the two as similar. The checks are cautious: an answer fails only if words that both
texts share are clearly exchanged.
"""

from collections.abc import Sequence
from itertools import pairwise

from paraclip.paraphrase.language import lexicon
from paraclip.paraphrase.language import words as english
from paraclip.paraphrase.language.lexicon import listed

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
PREPOSITIONS = listed(
    """
    behind with in on to from for at near beside next under around over above below past before
    after by against toward towards between among off onto inside outside
    """
)
INVERTING = listed("by while as and with whose from behind")
AUXILIARIES = listed("is are was were be been being gets")
REACH = 3  # a preposition this many words before a name makes it an object

Named = tuple[int, frozenset[str]]  # index in the text, root and concepts of the name


def roles_changed(source: Sequence[str], answer: Sequence[str]) -> bool:
    """Whether the answer attaches an adjective or an action to a different thing."""
    checks = (adjective_moved, actors_exchanged, agent_lost, result_as_attribute)
    return any(check(source, answer) for check in checks)


def result_as_attribute(source: Sequence[str], answer: Sequence[str]) -> bool:
    """Whether a result became an attribute: "paints a fence white" as "a white fence"."""
    if not {"paint", "dye", "colour"} & {english.root(word) for word in source}:
        return False
    become = {(colour, thing) for thing, colour in pairwise(source) if colour in lexicon.COLOUR_OF}
    return bool(become & (set(pairwise(answer)) - set(pairwise(source))))


def agent_lost(source: Sequence[str], answer: Sequence[str]) -> bool:
    """Whether an active verb became passive without naming the agent.

    "A woman hands bread to a man" does not make "A woman is handed bread to a man".
    """
    verbs = {
        english.root(word)
        for before, word in pairwise(["", *source])
        if before not in AUXILIARIES or word.endswith("ing")
    }
    return any(
        before in AUXILIARIES
        and word.endswith(("ed", "en"))
        and word not in source
        and english.root(word) in verbs
        and "by" not in answer[index:]
        for index, (before, word) in enumerate(pairwise(answer))
    )


def adjective_moved(source: Sequence[str], answer: Sequence[str]) -> bool:
    """Whether an adjective moved to another noun: "black dog, white horse" as "white dog"."""
    before, after = _bindings(source), _bindings(answer)
    here, there = {english.root(word) for word in answer}, {english.root(word) for word in source}
    for adjective, nouns in after.items():
        old = before.get(adjective)
        if old and not old & nouns and old <= here and nouns & there:
            return True
    return False


def _bindings(tokens: Sequence[str]) -> dict[str, set[str]]:
    """Maps colours, participles and common adjectives to the roots of the nouns they precede."""
    described: dict[str, set[str]] = {}
    pending: list[str] = []
    for word in tokens:
        describes = word in lexicon.COLOUR_OF or word in ADJECTIVES
        if english.is_content(word) and not describes:
            for adjective in pending:
                described.setdefault(adjective, set()).add(english.root(word))
        if describes or word.endswith("ed"):
            pending.append(lexicon.COLOUR_OF.get(word, word))
        elif not english.is_content(word) and word != "and":
            pending = []
    return described


def actors_exchanged(source: Sequence[str], answer: Sequence[str]) -> bool:
    """Whether two living beings exchanged roles (a passive or fronted form exchanges none)."""
    beings = _beings(source)
    if len(beings) != 2 or beings[0][1] & beings[1][1]:
        return False
    (first, one), (second, other) = beings
    if {"and", "with"} & set(source[first:second]):
        return False
    named = _beings(answer)
    ones = [index for index, names in named if names & one and not names & other]
    others = [index for index, names in named if names & other and not names & one]
    if len(ones) != 1 or len(others) != 1:
        return False
    if ones[0] < others[0]:
        return "by" in answer[ones[0] : others[0]] and "by" not in source[first:second]
    return not _is_inverted(answer, others[0], ones[0], source[first:second])


def _is_inverted(answer: Sequence[str], first: int, second: int, between: Sequence[str]) -> bool:
    """Whether the syntax makes the being that is named second the agent."""
    fronted = bool(PREPOSITIONS & set(answer[max(0, first - REACH) : first]))
    inverted = (INVERTING & set(answer[first:second])) - ({"from", "behind", "by"} & set(between))
    active = "by" in between and "by" not in answer[first:second]
    return fronted or bool(inverted) or active


def _beings(tokens: Sequence[str]) -> list[Named]:
    """Persons and animals in a text, in order, each with all concepts that its name may mean."""
    beings: list[Named] = []
    for index, word in enumerate(tokens):
        kinds = english.with_parents([word])
        root = english.root(word)
        person = word in PEOPLE or word.removesuffix("s") in PEOPLE
        if person or (kinds & {"person", "animal"} and word not in ADJECTIVES):
            beings.append((index, frozenset({root} | (kinds - {"person", "animal", "adult"}))))
    return beings
