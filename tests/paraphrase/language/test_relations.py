"""Agents and their actions, the nouns that adjectives describe, and function words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip.paraphrase.language.relations import (
    _actors_exchanged,
    _adjective_moved,
    _agent_lost,
    _result_as_attribute,
    doubtful_reason,
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
    assert _actors_exchanged(words(source), words(answer))


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
    assert not _actors_exchanged(words(source), words(answer))


@pytest.mark.parametrize(
    ("check", "source", "wrong", "right"),
    [
        (_adjective_moved, "A boy in a striped shirt whispers to a girl in a yellow dress.",
         "A boy in a yellow shirt whispers to a girl in a striped dress.",
         "A boy whose shirt is striped and a girl in a yellow dress."),
        (_agent_lost, "A woman hands bread to a man.", "A woman is handed bread to a man.",
         "Bread is handed to a man by a woman."),
        (_result_as_attribute, "A man paints a fence white.", "A man is painting a white fence.",
         "A fence is painted white by a man."),
    ],
)  # fmt: skip
def test_an_adjective_or_an_agent_that_moved(check, source: str, wrong: str, right: str) -> None:
    assert check(words(source), words(wrong)) and not check(words(source), words(right))


@pytest.mark.parametrize(
    ("source", "answer"),
    [("a little Asian girl", "an Asian little girl"), ("Fence white", "A white fence"),
     ("A dog is covered in mud.", "Covered in mud is a dog.")],
)  # fmt: skip
def test_another_order_is_no_other_role(source: str, answer: str) -> None:
    assert not roles_changed(words(source), words(answer))


def test_the_same_text_is_never_mixed_up() -> None:
    for text in ("A big dog bites a small cat.", "", "Two nurses and a patient by a red van"):
        assert not roles_changed(words(text), words(text))


@pytest.mark.parametrize(
    ("source", "answer", "expected"),
    [
        ("Men play cards under a tree.", "Men are playing cards in a tree.", "relation"),
        ("A nurse pushes a man in a wheelchair.", "A nurse pushes a man into a wheelchair.",
         "relation"),
        ("A boy throws a stick and his dog chases it.",
         "A boy throws a stick and his dog chases him.", "relation"),
        ("A goalkeeper dives.", "A goalkeeper is diving as he does.", "relation"),
        ("A map of the trails.", "A map of all the trails.", "relation"),
        ("Cheap car rental.", "A car rental cheaper than this.", "relation"),
        ("A kid eats melon on the old porch steps.", "A kid eats melon steps on the old porch.",
         "relation"),
        ("A couple kisses.", "Couples kiss.", "number"),
        ("A butcher weighs sausages.", "A sausage is weighed by a butcher.", "number"),
        ("Two men hold two dogs.", "Men hold two dogs.", "number"),
        ("A man at a city crosswalk.", "A man at a crosswalk across a city.", "relation"),
        ("A pair of mittens.", "Pairs of mittens.", "number"),
        ("A cake with cream.", "A cake with cream and cream.", "repetition"),
        ("A man swims.", "A man swims, wet.", "new content"),
    ],
)  # fmt: skip
def test_what_a_small_generator_mixes_up(source: str, answer: str, expected: str) -> None:
    assert doubtful_reason(source, answer) == expected


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("Men play cards under a tree.", "Beneath a tree, men are playing cards."),
        ("A woman in a red coat waits.", "A woman wearing a red coat is waiting."),
        ("A baby sleeps.", "A young baby is sleeping."),
        ("A man sits by a bench.", "A man is sitting near a bench."),
        ("A couple kisses.", "A couple is kissing."),
        ("Two dogs and two cats.", "A pair of dogs and 2 cats."),
        ("A giraffe.", "A picture of a giraffe."),
        ("Two goats stand near a shed.", "A pair of goats is standing next to a shed."),
        ("A bowl of hot soup.", "Hot soup of a bowl."),
    ],
)
def test_what_may_stay(source: str, answer: str) -> None:
    assert doubtful_reason(source, answer) is None


def test_words_of_the_caption_are_nothing_new() -> None:
    assert doubtful_reason("A man swims.", "A man swims, wet.", "A wet man swims.") is None


@given(st.lists(st.sampled_from(["a", "dog", "in", "red", "its", "only", "cats"]), max_size=8))
def test_a_copy_is_never_doubtful(text: list[str]) -> None:
    assert doubtful_reason(" ".join(text), " ".join(text)) is None
