"""Relations that a paraphrase must keep: who does what to whom, and which adjective belongs to
which noun.

"A dog pulls a child" does not paraphrase "A child pulls a dog", although all words are the same and
MiniLM rates the two as similar. The checks are cautious: an answer fails only if words that both
texts share are clearly exchanged.
"""

from collections.abc import Sequence
from itertools import pairwise

from paraclip.paraphrase.language.lexicon import COLOUR_OF, listed
from paraclip.paraphrase.language.words import is_content, root, with_parents

PEOPLE, ADJECTIVES = listed("people"), listed("adjectives")
FRONTING, INVERTING = listed("fronting"), listed("inverting")
_AUXILIARIES = listed("auxiliaries")
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
