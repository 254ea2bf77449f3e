"""Function words: positions, numbers, and the referents of pronouns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip.paraphrase.language.relations import doubtful_reason


def reason(source: str, answer: str, caption: str = "") -> str | None:
    return doubtful_reason(source, answer, caption)


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
    assert reason(source, answer) == expected


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
    assert reason(source, answer) is None


def test_words_of_the_caption_are_nothing_new() -> None:
    assert reason("A man swims.", "A man swims, wet.", "A wet man swims.") is None


@given(st.lists(st.sampled_from(["a", "dog", "in", "red", "its", "only", "cats"]), max_size=8))
def test_a_copy_is_never_doubtful(text: list[str]) -> None:
    assert doubtful_reason(" ".join(text), " ".join(text)) is None
