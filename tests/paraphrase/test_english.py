"""The claims made by the words of a caption, and their roles."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip.data.triples import read_triples
from paraclip.data.words import STOP_WORDS, is_negated, words
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
    assert english.numbers(text) == expected


@given(st.text(alphabet="0123456789٣,. ") | st.just("9" * 9000))
def test_any_digits_are_read(digits: str) -> None:
    assert english.numbers(f"{digits} million")


def test_what_is_stated_and_what_is_allowed() -> None:
    assert english.numbers("both dogs") == set() and "2" in english.allowed_numbers("both dogs")
    assert english.colours(["crimson", "hat"]) == {"red"} and english.colours(["snow"]) == set()
    assert "white" in english.allowed_colours(["snow"])


def test_denials() -> None:
    negations = ["no", "without", "isn't", "don't", "shirtless", "leafless"]
    assert all(is_negated([word]) for word in negations)
    others = ["less", "unless", "regardless", "now", "knot", "bare"]
    assert not any(is_negated([word]) for word in others)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("many busy ladies", {"female"}), ("lady's boys'", {"female", "male"}), ("ladder", set()),
        ("manned people", set()), ("men and women", {"male", "female"}), ("girls", {"female"}),
    ],
)  # fmt: skip
def test_a_gender_needs_a_noun_that_states_it(text: str, expected: set[str]) -> None:
    assert english.genders(words(text)) == expected


@pytest.mark.parametrize(
    "form", ["dog", "dogs", "dog's", "ponies", "wolves", "mice", "foxes", "geese", "oxen"]
)
def test_forms_of_a_noun_are_listed_with_it(form: str) -> None:
    assert english.is_listed(form, english._listed("animals"))


@given(
    st.sampled_from(sorted(english._listed("animals"))), st.sampled_from(["ness", "ings", "less"])
)
def test_a_word_that_only_begins_like_a_listed_one_is_not_listed(word: str, ending: str) -> None:
    assert not english.is_listed(word + ending, english._listed("animals"))


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


def test_the_lists_agree_with_each_other() -> None:
    assert set().union(*english.LIKE_COLOUR.values()) <= set(english.COLOUR_OF.values())
    assert not english.GENDER_NOUNS["male"] & english.GENDER_NOUNS["female"]
    assert not STOP_WORDS & set(english.COLOUR_OF)


CAPTIONS = st.lists(
    st.sampled_from(
        sorted({*english.COLOUR_OF, *english.NUMBERS, *english.GENDER_NOUNS["male"], "dogs", "on"})
    ),
    max_size=9,
).map(" ".join)


@given(st.text(max_size=60), st.text(max_size=60))
def test_words_are_what_is_between_marks_in_lower_case(one: str, other: str) -> None:
    found = words(one)
    assert words(f"{one} {other}") == found + words(other)
    for word in found:
        assert word and not set(word) & set(string.whitespace + ".,;:!?_-")
    assert bool(found) == any(letter.isalnum() for letter in one)


@given(CAPTIONS, CAPTIONS)
def test_what_holds_for_any_caption_and_another(one: str, other: str) -> None:
    tokens, louder = words(one), f"  {one.upper()}!!  "  # which states nothing more
    assert english.content_roots(louder) == english.content_roots(one)
    assert english.numbers(louder) == english.numbers(one) <= english.allowed_numbers(one)
    assert english.colours(words(louder)) == english.colours(tokens) == english.colours(tokens * 2)
    assert english.colours(tokens) <= english.allowed_colours(tokens)
    assert english.allowed_colours(iter(tokens)) == english.allowed_colours(tokens)
    assert english.genders(tokens) <= english.genders([*tokens, *words(other)])
    assert english.allows_negation(tokens) or not is_negated(tokens)
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


@given(st.integers(0, 10**9))
def test_a_number_in_digits_is_the_same_with_separators(number: int) -> None:
    assert english.numbers(f"{number} dogs") == english.numbers(f"{number:,} dogs") == {str(number)}


@given(st.sampled_from(sorted(english.COLOUR_OF)))
def test_a_colour_is_its_own_family_or_a_shade_of_one(word: str) -> None:
    family = english.COLOUR_OF[word]
    assert english.colours([word]) == {family} and family in english.allowed_colours([word])


# --- agents and their actions, and the nouns that adjectives describe ---

VERBS = {"chases": "chased", "pushes": "pushed", "follows": "followed", "watches": "watched"}
PAIRS = [
    ("dog", "cat"), ("boy", "horse"), ("girl", "man"), ("lion", "zebra"), ("nurse", "patient"),
    ("woman", "bird"), ("sheep", "dog"), ("teacher", "child"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), PAIRS)
@pytest.mark.parametrize("verb", VERBS)
def test_exchanged_actors_are_caught_and_passives_pass(one: str, other: str, verb: str) -> None:
    active = words(f"a {one} {verb} a {other}")
    assert english.roles_changed(active, words(f"a {other} {verb} a {one}"))
    assert not english.roles_changed(active, words(f"a {other} is {VERBS[verb]} by a {one}"))


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("A dog pulls a child on a sled.", "A child pulls a dog on a sled."),
        ("A lion chases a zebra.", "A lion is chased by a zebra."),
        ("A dog is trained by a girl.", "A girl is trained by a dog."),
        ("A black dog barks at a white horse.", "A white horse is barking at a black dog."),
        ("A boy in a striped shirt whispers to a girl in a yellow dress.",
         "A boy in a yellow shirt whispers to a girl in a striped dress."),
        ("A woman hands bread to a man.", "A woman is handed bread to a man."),
        ("A man paints a fence white.", "A man is painting a white fence."),
    ],
)  # fmt: skip
def test_changed_roles_are_found(source: str, answer: str) -> None:
    assert english.roles_changed(words(source), words(answer))


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
        ("A boy in a striped shirt whispers to a girl in a yellow dress.",
         "A boy whose shirt is striped and a girl in a yellow dress."),
        ("A woman hands bread to a man.", "Bread is handed to a man by a woman."),
        ("A man paints a fence white.", "A fence is painted white by a man."),
        ("a little Asian girl", "an Asian little girl"), ("Fence white", "A white fence"),
        ("A dog is covered in mud.", "Covered in mud is a dog."),
    ],
)  # fmt: skip
def test_another_order_is_no_other_role(source: str, answer: str) -> None:
    assert not english.roles_changed(words(source), words(answer))


@pytest.mark.parametrize("column", ["caption", "paraphrase_1", "paraphrase_2"])
def test_a_copy_of_a_text_of_the_starter_set_changes_nothing(column: str) -> None:
    for text in read_triples("starter")[column].to_pylist()[::3]:
        assert not english.roles_changed(words(text), words(text)), text
