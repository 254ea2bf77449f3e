"""The claims made by the words of a caption."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip.paraphrase.language import lexicon, words


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
    assert words.root(one) == words.root(other)


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
    assert words.root(one) != words.root(other)


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
        ("Twenty-five candles", {"25"}),
        ("twenty one dogs", {"21"}),
        ("two hundred people", {"200"}),
        ("two dozen eggs and 2 dozen", {"24"}),
        ("1.5 million stamps", {"1500000"}),
        ("two hundred thousand", {"200000"}),
        ("a hundred", {"100"}),
        ("3,000,000", {"3000000"}),
        ("twenty people, one dog", {"20"}),
        ("9" * 20 + " million", {"9" * 20, "1000000"}),
    ],
)
def test_numbers_are_digits_and_words_alike(text: str, expected: set[str]) -> None:
    assert words.numbers(text) == expected


@given(st.text(alphabet="0123456789٣,. ") | st.just("9" * 9000))
def test_any_digits_are_read(digits: str) -> None:
    assert words.numbers(f"{digits} million")


def test_loose_words_allow_a_number_without_stating_it() -> None:
    assert words.numbers("both dogs") == set()
    assert "2" in words.allowed_numbers("both dogs")


def test_colours_by_name_and_by_likeness() -> None:
    assert words.colours(["crimson", "hat"]) == {"red"}
    assert words.colours(["snow"]) == set()
    assert "white" in words.allowed_colours(["snow"])


def test_denials() -> None:
    negations = ["no", "without", "isn't", "don't", "shirtless", "leafless"]
    assert all(words.is_negated([word]) for word in negations)
    others = ["less", "unless", "regardless", "now", "knot", "bare"]
    assert not any(words.is_negated([word]) for word in others)


def test_a_kind_means_its_parents_too() -> None:
    assert {"dog", "animal"} <= words.with_parents(["puppies"])
    assert "dog" not in words.with_parents(["animal"])
    assert {"male", "young", "person"} <= words.with_parents(["boy"])


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("many", set()), ("busy", set()), ("ready", set()), ("box", set()), ("boxes", set()),
        ("ladder", set()), ("lady's", {"female", "adult"}), ("corner", set()), ("short", set()),
        ("manned", set()), ("fishing", set()), ("training", set()), ("stage", set()),
        ("people", {"person"}), ("buses", {"bus"}), ("boys'", {"boy", "young"}),
    ],
)  # fmt: skip
def test_a_concept_needs_the_word_itself(word: str, expected: set[str]) -> None:
    assert words.concepts(word) == expected


VERBS_AND_THEIR_FORMS = {
    "walk": "walks walked walking", "run": "runs ran running", "stroll": "strolls strolled",
    "throw": "throws threw thrown throwing", "swim": "swims swam swum swimming",
    "sit": "sits sat sitting", "climb": "climbs climbed climbing", "hide": "hid hidden hiding",
    "carry": "carries carried carrying", "wander": "wandered wandering",
}  # fmt: skip
IRREGULAR_PLURALS = {
    "man": "men", "woman": "women", "child": "children", "mouse": "mice", "goose": "geese",
    "wolf": "wolves", "ox": "oxen", "pony": "ponies", "lady": "ladies", "fox": "foxes",
}  # fmt: skip


@given(st.sampled_from([(verb, form) for verb, forms in VERBS_AND_THEIR_FORMS.items()
                        for form in forms.split()]))  # fmt: skip
def test_inflections_of_a_listed_verb_share_its_concepts(pair: tuple[str, str]) -> None:
    verb, form = pair
    assert words.concepts(form) >= words.concepts(verb) != frozenset()


NOUNS = """
    dog canine terrier cat kitten horse cow goat pig rabbit bear elephant zebra giraffe monkey
    lion squirrel bird duck swan owl parrot chicken penguin shark whale turtle frog snake bee spider
    car truck train motorcycle bicycle boat plane helicopter boy girl lad guy person adult kid
"""


@pytest.mark.parametrize("noun", NOUNS.split())
def test_the_plural_of_a_listed_noun_shares_its_concepts(noun: str) -> None:
    assert words.concepts(f"{noun}s") == words.concepts(noun) != frozenset()
    assert words.concepts(f"{noun}'s") == words.concepts(noun)


@pytest.mark.parametrize(("noun", "plural"), IRREGULAR_PLURALS.items())
def test_irregular_plurals_share_concepts(noun: str, plural: str) -> None:
    assert words.concepts(plural) == words.concepts(noun) != frozenset()


@given(st.sampled_from(sorted(lexicon.CONCEPTS_OF)), st.sampled_from(["y", "er", "ery", "ly", "i"]))
def test_a_word_that_only_begins_like_a_listed_one_has_no_concept(word: str, ending: str) -> None:
    longer = word + ending
    if longer not in lexicon.CONCEPTS_OF and words._lemma(longer) == longer:
        assert not words.concepts(longer)


def test_an_accent_may_be_a_character_of_its_own() -> None:
    composed, apart = "Two cafés’ naïve cats", "Two cafe\u0301s’ nai\u0308ve cats"
    assert words.words(composed) == words.words(apart) == ["two", "cafés", "naïve", "cats"]
    assert [apart[start:end] for _, start, end in words.word_spans(apart)] == [
        "Two", "cafe\u0301s", "nai\u0308ve", "cats",
    ]  # fmt: skip


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
    assert set().union(*lexicon.LIKE_COLOUR.values()) <= set(lexicon.COLOUR_OF.values())
    assert set(lexicon.WITH_PARENTS) >= lexicon.EXCLUSIVE_CONCEPTS
    for concept, reached in lexicon.WITH_PARENTS.items():
        assert concept in reached and reached <= set(lexicon.WITH_PARENTS)
    assert not lexicon.STOP_WORDS & set(lexicon.COLOUR_OF)
