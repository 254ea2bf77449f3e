"""Who does what to whom, by spaCy's dependency parser: the arguments of a caption's predicates.

Two texts contradict each other if they share a predicate that has different arguments in each, and
these arguments occur in both texts: "a dog chases a cat" and "the dog is chased by a cat". A
different word for the same thing contradicts nothing, so a rewording passes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from paraclip.paraphrase.language.relations import PREPOSITIONS
from paraclip.paraphrase.language.tagger import spacy_pipeline
from paraclip.paraphrase.language.words import is_content, root

AGENT, PATIENT, RECIPIENT, MODIFIER, OWNER = "agent", "patient", "recipient", "modifier", "owner"
SUBJECTS = frozenset({"nsubj", "csubj"})
OBJECTS = frozenset({"dobj", "obj", "attr", "oprd"})
MODIFIERS = frozenset({"amod", "compound", "nummod"})
PARTICIPLES = frozenset({"acl", "relcl", "advcl", "xcomp"})
SYMMETRIC = frozenset({"beside", "against", "between", "and"})
"""Relations that hold in both directions."""
CLASS_OF = {word: name for name, words in PREPOSITIONS.items() for word in words}

Slot = tuple[str, str]  # root of a predicate or noun, and the role that it assigns


@dataclass(frozen=True)
class Thing:
    """A noun of a text.

    Args:
        name: its root.
        modifiers: roots of its adjectives, numbers and compound words.
    """

    name: str
    modifiers: frozenset[str]


@dataclass(frozen=True)
class Arguments:
    """What a text states about its nouns.

    Args:
        things: all nouns.
        slots: the nouns in every role, by predicate and role.
        facts: (noun, relation, noun), such as ("dog", "chase", "cat") and ("cup", "on", "table").
        roots: roots of all content words.
    """

    things: list[Thing] = field(default_factory=list)
    slots: dict[Slot, list[Thing]] = field(default_factory=dict)
    facts: set[tuple[str, str, str]] = field(default_factory=set)
    roots: set[str] = field(default_factory=set)

    @property
    def names(self) -> set[str]:
        """Roots of all nouns."""
        return {thing.name for thing in self.things}


class ArgumentParser:
    """spaCy's small English model with its dependency parser.

    Raises:
        UserError: spaCy or its model is not installed.
    """

    def __init__(self) -> None:
        self._pipeline = spacy_pipeline(("ner", "lemmatizer"))

    def parse(self, texts: Iterable[str]) -> Iterator[Arguments]:
        """The arguments in each text, in order."""
        for document in self._pipeline.pipe(map(lower_first, texts), batch_size=256):
            yield arguments_of(document)


def lower_first(text: str) -> str:
    """The text with a lower-case first letter; the parser takes a capital for a proper name."""
    return text[:1].lower() + text[1:]


def arguments_of(document: Any) -> Arguments:
    """The arguments in a parsed text."""
    arguments = Arguments(roots={name(token) for token in document if is_content(token.lower_)})
    for token in document:
        if not is_noun(token):
            continue
        thing = Thing(name(token), modifiers_of(token))
        arguments.things.append(thing)
        for head, role in roles_of(token):
            arguments.slots.setdefault((name(head), role), []).append(thing)
            for other, relation in related(head, role):
                arguments.facts.add((thing.name, relation, other))
    return arguments


def name(token: Any) -> str:
    """The part that a token shares with its inflections."""
    return root(token.lower_)


def is_noun(token: Any) -> bool:
    """Whether a token is the last word of a noun that describes the picture."""
    named = token.pos_ in ("NOUN", "PROPN") and token.dep_ not in MODIFIERS
    return named and is_content(token.lower_)


def modifiers_of(token: Any) -> frozenset[str]:
    """Roots of the modifiers of a noun."""
    return frozenset(name(child) for child in token.children if child.dep_ in MODIFIERS)


def roles_of(token: Any) -> Iterator[tuple[Any, str]]:
    """Every predicate of which a noun is an argument, with the role."""
    if token.dep_ == "conj" and token.head.pos_ in ("NOUN", "PROPN"):
        yield from roles_of(token.head)
    else:
        yield from own_roles(token)
    for child in token.children:
        if child.dep_ in PARTICIPLES and child.pos_ == "VERB":
            yield from ((verb, subject_role(verb)) for verb in with_conjuncts(child))
    if token.dep_ in SUBJECTS | {"nsubjpass"}:
        for child in token.head.children:
            if child.dep_ in ("advcl", "xcomp") and not subjects_of(child) and child.pos_ == "VERB":
                yield child, subject_role(child)


def own_roles(token: Any) -> Iterator[tuple[Any, str]]:
    """The roles that follow from a noun's own position in the tree."""
    head, how = token.head, token.dep_
    if how in SUBJECTS or how == "nsubjpass":
        for verb in with_conjuncts(head):
            yield verb, subject_role(verb)
    elif how in OBJECTS:
        yield head, PATIENT
    elif how == "dative":
        yield head, RECIPIENT
    elif how == "poss":
        yield head, OWNER
    elif how == "pobj":
        yield from object_roles(head)


def object_roles(preposition: Any) -> Iterator[tuple[Any, str]]:
    """The role of a preposition's object: "of" marks an owner, passive "by" an agent."""
    word, governor = preposition.lower_, preposition.head
    if governor.dep_ == "prep":  # "in front of", "on top of"
        word, governor = governor.lower_, governor.head
    if preposition.dep_ == "agent" or (word == "by" and governor.tag_ == "VBN"):
        yield governor, AGENT
    elif word == "of":
        yield governor, OWNER
    else:
        yield governor, CLASS_OF.get(word, word)


def subject_role(verb: Any) -> str:
    """Whether a verb's subject is its agent or its patient."""
    passive = any(child.dep_ in ("auxpass", "nsubjpass") for child in verb.children)
    bare_participle = verb.tag_ == "VBN" and not any(c.dep_ == "aux" for c in verb.children)
    return PATIENT if passive or bare_participle else AGENT


def with_conjuncts(verb: Any) -> list[Any]:
    """The verb, and conjoined verbs without a subject of their own."""
    joined = [one for one in verb.conjuncts if one.pos_ == "VERB" and not subjects_of(one)]
    return [verb, *joined]


def subjects_of(verb: Any) -> list[Any]:
    """Explicit subjects of a verb."""
    return [child for child in verb.children if child.dep_ in SUBJECTS | {"nsubjpass"}]


def related(head: Any, role: str) -> Iterator[tuple[str, str]]:
    """The nouns that a noun is related to by its role, with the name of the relation."""
    if is_noun(head) and role not in (AGENT, PATIENT):
        yield name(head), f"of {role}"
    if head.pos_ not in ("VERB", "AUX"):
        return
    for token in head.subtree:
        if is_noun(token):
            for verb, other in own_roles(token):
                if verb == head and other != role:
                    yield name(token), f"{name(head)} {role} {other}"


def contradicts(source: Arguments, answer: Arguments) -> bool:
    """Whether a predicate that both texts share has other arguments in the answer."""
    return other_filler(source, answer) or reversed_fact(source, answer)


def other_filler(source: Arguments, answer: Arguments) -> bool:
    """Whether a role is filled by another thing, and both things occur in both texts."""
    both = source.names & answer.names
    for slot, before in source.slots.items():
        after = answer.slots.get(slot)
        if not after or slot[1] in SYMMETRIC:
            continue
        ones, others = {thing.name for thing in before}, {thing.name for thing in after}
        if not ones & others and ones <= both and others <= both:
            return True
        if ones == others and len(before) == len(after) == 1:
            one, other = before[0].modifiers, after[0].modifiers
            if one and other and not one & other and one <= answer.roots and other <= source.roots:
                return True
    return False


def reversed_fact(source: Arguments, answer: Arguments) -> bool:
    """Whether two things have swapped their sides of a relation."""
    for one, relation, other in source.facts:
        kind = relation.removeprefix("of ")
        if kind in SYMMETRIC or one == other:
            continue
        turned = (other, relation, one)
        if turned in answer.facts - source.facts and (one, relation, other) not in answer.facts:
            return True
    return False
