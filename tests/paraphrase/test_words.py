"""What the words of a caption claim."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip.language import lexicon, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("runs", "running"), ("man", "men"), ("child", "children"), ("horses", "horse"),
        ("grassy", "grass"), ("dresses", "dress"), ("puppies", "puppy"), ("sat", "sitting"),
        ("climber", "climbs"), ("bike", "bicycles"), ("boy's", "boys"), ("wooden", "wood"),
        ("skiing", "skis"), ("lying", "lies"), ("hiked", "hiker"),
    ],
)  # fmt: skip
def test_forms_of_a_word_share_a_root(one: str, other: str) -> None:
    assert words.stem(one) == words.stem(other)


@pytest.mark.parametrize(
    ("one", "other"), [("dog", "dot"), ("cat", "car"), ("bus", "bush"), ("red", "read")]
)
def test_other_words_have_other_roots(one: str, other: str) -> None:
    assert words.stem(one) != words.stem(other)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two dogs", {"2"}),
        ("2 dogs and 3 cats", {"2", "3"}),
        ("a pair of shoes", {"2"}),
        ("one of them", set()),
        ("1,200 steps", {"1200"}),
        ("a V8 in 1996", {"8", "1996"}),
        ("a 007 film", {"7"}),
        ("nobody", set()),
    ],
)
def test_numbers_are_digits_and_words_alike(text: str, expected: set[str]) -> None:
    assert words.numbers(text) == expected


def test_loose_words_allow_a_number_without_stating_it() -> None:
    assert words.numbers("both dogs") == set()
    assert "2" in words.may_number("both dogs")


def test_colours_by_name_and_by_likeness() -> None:
    assert words.colours(["crimson", "hat"]) == {"red"}
    assert words.colours(["snow"]) == set()
    assert "white" in words.may_colour(["snow"])


@pytest.mark.parametrize("word", ["no", "without", "isn't", "shirtless"])
def test_denials(word: str) -> None:
    assert words.negated([word])


@pytest.mark.parametrize("word", ["less", "unless", "now", "bare"])
def test_what_is_no_denial(word: str) -> None:
    assert not words.negated([word])


def test_a_kind_means_its_parents_too() -> None:
    assert {"dog", "animal"} <= words.meant(["puppies"])
    assert "dog" not in words.meant(["animal"])
    assert {"male", "young", "person"} <= words.meant(["boy"])


def test_overlap_counts_content_roots() -> None:
    assert words.overlap("A dog runs.", "The running dogs") == 1.0
    assert words.overlap("A dog runs.", "A cat naps.") == 0.0
    assert words.overlap("A dog runs.", "A dog naps.") == pytest.approx(1 / 3)
    assert words.overlap("", "") == 1.0


@given(st.text(), st.text())
def test_overlap_is_a_share_and_symmetric(one: str, other: str) -> None:
    share = words.overlap(one, other)
    assert 0 <= share <= 1 and share == words.overlap(other, one)


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
    assert words.rewords(caption, second) is expected


@given(st.text())
def test_no_text_rewords_itself(text: str) -> None:
    assert not words.rewords(text, text)


def test_the_lists_agree_with_each_other() -> None:
    families = set(lexicon.COLOURS)
    assert set(lexicon.COLOUR_LIKENESS) <= families
    assert set(lexicon.WITH_PARENTS) >= lexicon.EXCLUSIVE_CONCEPTS
    for concept, reached in lexicon.WITH_PARENTS.items():
        assert concept in reached and reached <= set(lexicon.WITH_PARENTS)
    assert not lexicon.STOP_WORDS & set(lexicon.COLOUR_OF)
