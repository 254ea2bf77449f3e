"""Agents and their actions, and the nouns that adjectives describe."""

import pytest

from paraclip.paraphrase.language.roles import (
    actors_exchanged,
    adjective_moved,
    agent_lost,
    result_as_attribute,
    roles_changed,
)
from paraclip.paraphrase.language.words import words


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("A dog pulls a child on a sled.", "A child pulls a dog on a sled."),
        ("A lion chases a zebra.", "A lion is chased by a zebra."),
        ("A nurse pushes a patient.", "A patient pushes a nurse."),
        ("A dog is trained by a girl.", "A girl is trained by a dog."),
        ("A black dog barks at a white horse.", "A white horse is barking at a black dog."),
    ],
)
def test_changed_places_are_found(source: str, answer: str) -> None:
    assert actors_exchanged(words(source), words(answer))


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("A dog pulls a child on a sled.", "A child is pulled on a sled by a dog."),
        ("A dog barks at a horse.", "A dog is barking at a horse by a gate."),
        ("The boy hides behind his mother.", "Behind his mother, a young boy hides."),
        ("A man and a dog rest.", "A dog and a man rest."),
        ("A dog is walked by a man.", "A man walks a dog."),
        ("A dog runs while a cat sleeps.", "A cat sleeps while a dog runs."),
        ("A boy chases a boy.", "A boy is chased by a boy."),
    ],
)
def test_a_sentence_turned_around_is_not_a_contradiction(source: str, answer: str) -> None:
    assert not actors_exchanged(words(source), words(answer))


def test_an_adjective_that_moved_is_found() -> None:
    source = words("A boy in a striped shirt whispers to a girl in a yellow dress.")
    assert adjective_moved(
        source, words("A boy in a yellow shirt whispers to a girl in a striped dress.")
    )
    assert not adjective_moved(
        source, words("A boy whose shirt is striped and a girl in a yellow dress.")
    )


def test_adjectives_in_another_order_have_not_moved() -> None:
    assert not adjective_moved(words("a little Asian girl"), words("an Asian little girl"))


def test_who_acts_must_not_suffer_the_deed() -> None:
    source = words("A woman hands bread to a man.")
    assert agent_lost(source, words("A woman is handed bread to a man."))
    assert not agent_lost(source, words("Bread is handed to a man by a woman."))
    assert not agent_lost(words("A dog is covered in mud."), words("Covered in mud is a dog."))


def test_what_becomes_white_was_not_white_before() -> None:
    source = words("A man paints a fence white.")
    assert result_as_attribute(source, words("A man is painting a white fence."))
    assert not result_as_attribute(source, words("A fence is painted white by a man."))
    assert not result_as_attribute(words("Fence white"), words("A white fence"))


def test_the_same_text_is_never_mixed_up() -> None:
    for text in ("A big dog bites a small cat.", "", "Two nurses and a patient by a red van"):
        assert not roles_changed(words(text), words(text))
