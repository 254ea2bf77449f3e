"""Texts with one fact changed: the edits are what their names say."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes" / "filters"))

from edits import (
    NEGATIVE_KINDS,
    OPPOSITES,
    Draw,
    hard_negatives,
    negative,
    replace_at,
    sentence,
    vocabulary_of,
)

from paraclip.data.triples import TEXTS
from paraclip.paraphrase.language.parsing import Tagged

pytest.importorskip("nltk")

TAGS = {
    "dog": "NN", "cat": "NN", "apple": "NN", "ball": "NN", "dogs": "NNS", "Anna": "NNP",
    "red": "JJ", "old": "JJ", "chases": "VBZ", "eats": "VBZ", "two": "CD", "three": "CD",
    "on": "IN", "under": "IN", "and": "CC", "a": "DT", "an": "DT", "the": "DT", ".": ".",
}  # fmt: skip


class Tags:
    """A tagger that knows the words above."""

    name = "by hand"

    def tag(self, texts: Iterable[str]) -> Iterator[Tagged]:
        for text in texts:
            tokens = text.replace(".", " .").split()
            yield [(token, TAGS.get(token, TAGS.get(token.lower(), "DT"))) for token in tokens]


def tagged(text: str) -> Tagged:
    return next(Tags().tag([text]))


def edited(kind: str, text: str, known: str = "", words: str = "dog cat apple red old") -> str:
    draw = Draw(vocabulary_of([tagged(words)]), frozenset(known.split()), Random(0))
    tokens = NEGATIVE_KINDS[kind](tagged(text), draw)
    return "" if tokens is None else sentence(tokens)


@pytest.mark.parametrize(
    ("kind", "text", "false"),
    [
        ("swap_object", "a dog chases an apple.", "An apple chases a dog."),
        ("swap_object", "a dog on a ball", "A ball on a dog"),
        ("swap_object", "a dog and a cat", ""),  # as true as before
        ("swap_object", "a dog chases a dog", ""),
        ("swap_attribute", "a red dog and an old cat", "An old dog and a red cat"),
        ("swap_attribute", "a red and old dog", ""),
        ("replace_place", "a dog on a ball", "A dog under a ball"),
        ("replace_place", "a dog and a cat", ""),
        ("replace_number", "a dog", ""),
    ],
)
def test_what_is_made_false(kind: str, text: str, false: str) -> None:
    assert edited(kind, text) == false


def test_a_word_of_the_triple_replaces_none() -> None:
    assert edited("replace_object", "a red dog", "dog cat") == "A red apple"
    assert edited("replace_object", "a red dog", "dog cat apple") == ""


def test_a_replacement_has_the_same_tag() -> None:
    words = "dog dogs two three red old chases eats"
    assert edited("replace_number", "two dogs", "two", words) == "Three dogs"
    assert edited("replace_deed", "a dog chases a cat", "chases", words) == "A dog eats a cat"
    assert edited("replace_attribute", "a red dog", "red", words) == "An old dog"


def test_the_article_goes_with_the_word() -> None:
    assert replace_at(["A", "dog"], 1, "apple") == ["An", "apple"]
    assert replace_at(["an", "apple"], 1, "dog") == ["a", "dog"]
    assert replace_at(["the", "apple"], 1, "dog") == ["the", "dog"]


def test_names_keep_their_capital_and_first_words_lose_theirs() -> None:
    assert edited("swap_object", "Anna chases a dog") == "Dog chases an Anna"
    text = tagged("Dogs eats Anna")
    made = negative(
        text, Draw(vocabulary_of([text]), frozenset(("dogs", "eats", "anna")), Random(0))
    )
    assert made is not None and made.kind == "swap_object" and made.text == "Anna eats dogs"


@given(st.lists(st.sampled_from(sorted(TAGS)), min_size=1, max_size=9), st.integers(0, 99))
def test_every_negative_differs_and_brings_no_word_of_the_triple(
    tokens: list[str], seed: int
) -> None:
    text = " ".join(tokens)
    row = {"caption": text, "paraphrase_1": text, "paraphrase_2": "the ball"}
    other = dict.fromkeys(TEXTS, " ".join(TAGS))  # brings all words into the vocabulary
    made, _ = hard_negatives([row, other], Tags(), seed=seed)
    again, _ = hard_negatives([row, other], Tags(), seed=seed)
    assert again == made
    if made is None:
        return
    before, after = text.lower().replace(".", " .").split(), made.text.lower()
    after_tokens = after.replace(".", " .").split()
    assert made.kind in NEGATIVE_KINDS and before != after_tokens
    if made.kind.startswith("swap"):
        articles = {"a", "an"}
        assert sorted(set(before) - articles) == sorted(set(after_tokens) - articles)
    elif made.kind != "replace_place":
        changed = [
            new
            for old, new in zip(before, after_tokens, strict=True)
            if new != old and new not in ("a", "an")
        ]
        assert len(changed) == 1 and changed[0] not in {*before, "the", "ball"}


def test_opposites_are_other_words() -> None:
    assert all(word != opposite for word, opposite in OPPOSITES.items())
