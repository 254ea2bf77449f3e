"""Parts of speech, subjects and objects of verbs, by spaCy (the extra `tags`)."""

import pytest

from paraclip.errors import UserError
from paraclip.paraphrase.language import parsing
from paraclip.paraphrase.language.parsing import (
    ADJECTIVES,
    NOUNS,
    ArgumentParser,
    SpacyTagger,
    contradicts,
)

SWAPPED = [
    ("The dog chases the cat.", "The cat chases the dog."),
    ("The dog chases the cat.", "The dog is chased by the cat."),
    ("A woman prepares a pizza as a man watches.", "A man prepares a pizza as a woman looks."),
    ("Three snowboards behind trophies.", "Trophies behind three snowboards."),
    ("A boy holding a hat over a woman's head.", "A woman holding a hat over a boy's head."),
    ("A clock sits above green bushes.", "Green bushes sit above a clock."),
    ("A dog watches a small horse that is eating.", "A horse watches a small dog that is eating."),
]  # fmt: skip
KEPT = [
    ("The dog chases the cat.", "The cat is chased by the dog."),
    ("The dog chases the cat.", "A hound runs after the kitten."),
    ("A cup on a table.", "On the table stands a cup."),
    ("A woman makes a pizza while a man watches.", "A man watches while a woman makes a pizza."),
    ("A horse pulling a white carriage.", "A white carriage is being pulled by a horse."),
    ("A cat and a dog rest on a mat.", "A dog and a cat rest on a mat."),
]  # fmt: skip


@pytest.fixture(scope="module")
def parser() -> ArgumentParser:
    pytest.importorskip("spacy")
    if parsing._installed_model() is None:
        pytest.skip("spaCy's English model is not installed")
    return ArgumentParser()


def differs(parser: ArgumentParser, source: str, answer: str) -> bool:
    before, after = parser.parse([source, answer])
    return contradicts(before, after)


@pytest.mark.parametrize(("source", "answer"), SWAPPED)
def test_exchanged_arguments_contradict(parser, source: str, answer: str) -> None:
    assert differs(parser, source, answer)


@pytest.mark.parametrize(("source", "answer"), KEPT)
def test_another_structure_or_word_contradicts_nothing(parser, source: str, answer: str) -> None:
    assert not differs(parser, source, answer)


def test_what_a_text_says_is_read_off_its_tree(parser) -> None:
    (found,) = parser.parse(["A girl is handed a red ball by an old man."])
    assert {thing.name for thing in found.slots["hand", "agent"]} == {"man"}
    assert found.names == {"girl", "ball", "man"}
    assert {thing.modifiers for thing in found.things if thing.name == "ball"} == {
        frozenset({"red"})
    }


@pytest.mark.parametrize("needs", [ArgumentParser, SpacyTagger])
def test_the_missing_model_is_reported(monkeypatch, needs) -> None:
    monkeypatch.setattr(parsing, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="spaCy") as caught:
        needs()
    assert "[tags]" in caught.value.hint


def test_spacy_tells_nouns_and_adjectives(parser) -> None:
    tagger = SpacyTagger()
    (tagged,) = tagger.tag(["A brown dog runs across the green grass."])
    tags = dict(tagged)
    assert {word for word, tag in tagged if tag in NOUNS} == {"dog", "grass"}
    assert {word for word, tag in tagged if tag in ADJECTIVES} == {"brown", "green"}
    assert tags["runs"] == "VBZ" and "en_core_web_sm" in tagger.name
