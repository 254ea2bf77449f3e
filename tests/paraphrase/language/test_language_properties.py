"""What must hold for any text, and for every caption of the starter set."""

import string
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip.data.triples import read_triples
from paraclip.paraphrase.language import lexicon, words
from paraclip.paraphrase.language.relations import (
    _changed_plurality,
    _new_compound,
    roles_changed,
)

VERBS = {"chases": "chased", "pushes": "pushed", "follows": "followed", "watches": "watched"}
PAIRS = [
    ("dog", "cat"), ("boy", "horse"), ("girl", "man"), ("lion", "zebra"), ("nurse", "patient"),
    ("woman", "bird"), ("sheep", "dog"), ("teacher", "child"),
]  # fmt: skip
anything = st.text(max_size=60)
captions = st.lists(
    st.sampled_from(sorted({*lexicon.COLOUR_OF, *lexicon.NUMBERS, *lexicon.CONCEPTS_OF, "on"})),
    max_size=9,
).map(" ".join)


@cache
def starter() -> list[dict[str, str]]:
    """The triples that ship with ParaCLIP."""
    found: list[dict[str, str]] = read_triples("starter").to_pylist()
    return found


@given(anything)
def test_words_are_parts_of_the_text_in_lower_case(text: str) -> None:
    for word, start, stop in words.word_spans(text):
        assert word == text[start:stop].lower().replace("’", "'") and word
        assert not set(word) & set(string.whitespace + ".,;:!?_-")
    assert words.words(text) == [word for word, _, _ in words.word_spans(text)]


@given(captions)
def test_case_punctuation_and_repetition_state_nothing(text: str) -> None:
    louder = f"  {text.upper()}!!  "
    assert words.content_roots(louder) == words.content_roots(text)
    assert words.numbers(louder) == words.numbers(text)
    tokens = words.words(text)
    assert words.colours(words.words(louder)) == words.colours(tokens) == words.colours(tokens * 2)


@given(captions, captions)
def test_overlap_is_a_symmetric_share(one: str, other: str) -> None:
    found = words.overlap(one, other)
    assert 0 <= found <= 1 and found == words.overlap(other, one)
    assert words.overlap(one, one) == 1
    assert (found == 1) == (set(words.content_roots(one)) == set(words.content_roots(other)))


@given(captions, captions)
def test_what_is_stated_is_allowed(one: str, other: str) -> None:
    assert words.numbers(one) <= words.allowed_numbers(one)
    tokens = words.words(one)
    assert words.colours(tokens) <= words.allowed_colours(tokens)
    assert words.allowed_colours(iter(tokens)) == words.allowed_colours(tokens)
    assert words.with_parents(tokens) <= words.with_parents([*tokens, *words.words(other)])
    assert words.allows_negation(tokens) or not words.is_negated(tokens)


@given(st.integers(0, 10**9))
def test_a_number_in_digits_is_the_same_with_separators(number: int) -> None:
    assert words.numbers(f"{number} dogs") == words.numbers(f"{number:,} dogs") == {str(number)}


@given(captions, captions)
def test_relations_that_compare_both_ways_are_symmetric(one: str, other: str) -> None:
    first, second = words.words(one), words.words(other)
    assert _changed_plurality(first, second) == _changed_plurality(second, first)


@pytest.mark.parametrize("column", ["caption", "paraphrase_1", "paraphrase_2"])
def test_no_text_of_the_starter_set_changes_its_own_roles(column: str) -> None:
    for row in starter():
        tokens = words.words(row[column])
        assert not roles_changed(tokens, tokens), row[column]
        assert not _new_compound(tokens, tokens), row[column]


@pytest.mark.parametrize(("one", "other"), PAIRS)
@pytest.mark.parametrize("verb", VERBS)
def test_exchanged_actors_are_caught_and_passives_pass(one: str, other: str, verb: str) -> None:
    active = words.words(f"a {one} {verb} a {other}")
    assert roles_changed(active, words.words(f"a {other} {verb} a {one}"))
    assert not roles_changed(active, words.words(f"a {other} is {VERBS[verb]} by a {one}"))


@given(st.sampled_from(sorted(lexicon.CONCEPTS_OF)))
def test_a_listed_word_means_its_kind_and_all_above_it(word: str) -> None:
    found = words.with_parents([word])
    for concept in words.concepts(word):
        assert concept in found and lexicon.WITH_PARENTS[concept] <= found


@given(st.sampled_from(sorted(lexicon.COLOUR_OF)))
def test_a_colour_is_its_own_family_or_a_shade_of_one(word: str) -> None:
    family = lexicon.COLOUR_OF[word]
    assert words.colours([word]) == {family} and family in words.allowed_colours([word])


@given(captions, captions)
def test_new_words_are_what_rewords(one: str, other: str) -> None:
    assert not words.rewords(one, one)
    if words.rewords(one, other):
        assert set(words.content_roots(other)) - set(words.content_roots(one))
