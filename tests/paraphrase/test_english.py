"""Words and their roots."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip.data.words import is_negated, words
from paraclip.paraphrase import english


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("runs", "running"), ("man", "men"), ("child", "children"), ("horses", "horse"),
        ("grassy", "grass"), ("dresses", "dress"), ("puppies", "puppy"), ("sat", "sitting"),
        ("climber", "climbs"), ("bike", "bicycles"), ("boy's", "boys"), ("wooden", "wood"),
        ("skiing", "skis"), ("lying", "lies"), ("hiked", "hiker"), ("leaf", "leaves"),
        ("singing", "sang"), ("swam", "swimmer"), ("threw", "thrown"), ("men's", "man"),
    ],
)  # fmt: skip
def test_forms_of_a_word_share_a_root(one: str, other: str) -> None:
    assert english.root(one) == english.root(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("dog", "dot"), ("cat", "car"), ("bus", "bush"), ("red", "read"), ("corner", "corn"),
        ("flower", "flow"), ("tower", "tow"), ("many", "man"), ("busy", "bus"),
        ("ready", "read"), ("ladder", "lad"), ("lady's", "lad"), ("stage", "stag"),
        ("story", "store"), ("party", "part"), ("pants", "panting"), ("shorts", "short"),
        ("business", "busy"), ("leaves", "leaving"), ("care", "car"),
    ],
)  # fmt: skip
def test_other_words_have_other_roots(one: str, other: str) -> None:
    assert english.root(one) != english.root(other)


def test_denials() -> None:
    negations = ["no", "without", "isn't", "don't", "shirtless", "leafless"]
    assert all(is_negated([word]) for word in negations)
    others = ["less", "unless", "regardless", "now", "knot", "bare"]
    assert not any(is_negated([word]) for word in others)


def test_an_accent_may_be_a_character_of_its_own() -> None:
    composed, apart = "Two cafés’ naïve cats", "Two cafe\u0301s’ nai\u0308ve cats"
    assert words(composed) == words(apart) == ["two", "cafés", "naïve", "cats"]


@pytest.mark.parametrize(
    ("caption", "second", "expected"),
    [
        ("ram", "A photo showing a ram.", False),
        ("a dog runs", "This image shows a running dog", False),
        ("two dogs in snow", "In snow, there are two dogs", False),
        ("ram", "A male sheep.", True),
        ("a dog runs", "A dog sprints.", True),
        ("", "", False),
    ],
)
def test_a_frame_rewords_nothing(caption: str, second: str, expected: bool) -> None:
    assert english.rewords(caption, second) is expected


@given(st.text(max_size=60), st.text(max_size=60))
def test_words_are_what_is_between_marks_in_lower_case(one: str, other: str) -> None:
    found = words(one)
    assert words(f"{one} {other}") == found + words(other)
    for word in found:
        assert word and not set(word) & set(string.whitespace + ".,;:!?_-")
    assert bool(found) == any(letter.isalnum() for letter in one)


CAPTIONS = st.lists(st.sampled_from(["red", "two", "men", "dogs", "on", "not"]), max_size=9).map(
    " ".join
)


@given(CAPTIONS, CAPTIONS)
def test_what_holds_for_any_caption_and_another(one: str, other: str) -> None:
    louder = f"  {one.upper()}!!  "  # which says nothing more
    assert english.content_roots(louder) == english.content_roots(one)
    share = english.overlap(one, other)
    assert 0 <= share <= 1 == english.overlap(one, one) and share == english.overlap(other, one)
    assert (share == 1) == (set(english.content_roots(one)) == set(english.content_roots(other)))
    assert not english.rewords(one, one)
    if english.rewords(one, other):
        assert set(english.content_roots(other)) - set(english.content_roots(one))


def test_overlap_counts_content_roots() -> None:
    assert english.overlap("A dog runs.", "The running dogs") == 1.0
    assert english.overlap("A dog runs.", "A dog naps.") == pytest.approx(1 / 3)
    assert english.overlap("", "") == 1.0
