"""Labelled pairs of the filters: faults are what their names say, and no row is in two parts."""

import random
from importlib.util import find_spec

import pytest

pytest.importorskip("nltk")
pytest.importorskip("spacy")

from benchmarks.generation.alt_texts import Scored, shares
from paraclip.paraphrase.config import Limits
from paraclip.paraphrase.filters.checks import same_words
from paraclip.starter import TRIPLES
from recipes.filters import labelled, web_pairs
from recipes.filters.edits import NEGATIVE_KINDS, Draw, replace_at, sentence, vocabulary_of
from recipes.filters.labelled import CHOSEN_ON, REPORTED, TRAINED_ON, labelled_pairs, part_of, read
from recipes.tagger import TAGGERS, Tagged, Tagger

needs_spacy = pytest.mark.skipif(
    not any(map(find_spec, TAGGERS)), reason="no English model of spaCy"
)
TAGS = {
    "dog": "NN", "cat": "NN", "apple": "NN", "ball": "NN", "dogs": "NNS", "Anna": "NNP",
    "red": "JJ", "old": "JJ", "chases": "VBZ", "eats": "VBZ", "two": "CD", "three": "CD",
    "on": "IN", "under": "IN", "and": "CC", "a": "DT", "an": "DT", "the": "DT", ".": ".",
}  # fmt: skip
ROW = {
    "caption": "three brown dogs in a park",
    "paraphrase_1": "Three brown dogs are playing in a big park.",
}


def tag(text: str) -> Tagged:
    tokens = text.replace(".", " .").split()
    return [(token, TAGS.get(token, TAGS.get(token.lower(), "DT"))) for token in tokens]


@pytest.mark.parametrize(
    ("kind", "text", "known", "false"),
    [
        ("swap_object", "a dog chases an apple.", "", "An apple chases a dog."),
        ("swap_object", "a dog on a ball", "", "A ball on a dog"),
        ("swap_object", "a dog and a cat", "", ""),  # as true as before
        ("swap_object", "a dog chases a dog", "", ""),
        ("swap_object", "Anna chases a dog", "", "Dog chases an Anna"),
        ("swap_attribute", "a red dog and an old cat", "", "An old dog and a red cat"),
        ("swap_attribute", "a red and old dog", "", ""),
        ("replace_place", "a dog on a ball", "", "A dog under a ball"),
        ("replace_place", "a dog and a cat", "", ""),
        ("replace_number", "a dog", "", ""),
        # no word of the triple replaces another, and a replacement has the same tag
        ("replace_object", "a red dog", "dog cat", "A red apple"),
        ("replace_object", "a red dog", "dog cat apple", ""),
        ("replace_number", "two dogs", "two", "Three dogs"),
        ("replace_deed", "a dog chases a cat", "chases", "A dog eats a cat"),
        ("replace_attribute", "a red dog", "red", "An old dog"),
    ],
)
def test_what_is_made_false(kind: str, text: str, known: str, false: str) -> None:
    words = vocabulary_of([tag("dog cat apple two three red old chases eats")])
    tokens = NEGATIVE_KINDS[kind](tag(text), Draw(words, frozenset(known.split()), random.Random()))
    assert ("" if tokens is None else sentence(tokens)) == false


def test_the_article_goes_with_the_word() -> None:
    assert replace_at(["A", "dog"], 1, "apple") == ["An", "apple"]
    assert replace_at(["an", "apple"], 1, "dog") == ["a", "dog"]


@needs_spacy
def test_a_fault_changes_what_its_name_says() -> None:
    tagged, other = Tagger().tag([ROW["paraphrase_1"], "A red kite hangs over the harbour."])
    wrong = (labelled.wrong_number(ROW, tagged, random.Random(0)) or "").split()[0].lower()
    assert wrong in labelled.NUMBERS and wrong != "three"
    lost = {labelled.lost_fact(ROW, tagged, random.Random(seed)) for seed in range(9)}
    assert lost == {"Three dogs are playing in a big park.", "Three brown dogs are playing."}
    assert labelled.negated(ROW["paraphrase_1"]) == ROW["paraphrase_1"].replace("are", "are not")
    assert labelled.negated("Dogs run.") is None
    add = labelled.adding([tagged, other])
    found = {add(ROW, tagged, random.Random(seed)) for seed in range(9)}
    assert "Three brown dogs are playing in a big park over the harbour." in found
    copy = labelled.copied("A dog runs.")
    assert copy != "A dog runs." and same_words(
        copy.strip("!").lower().split(), ["a", "dog", "runs"]
    )
    assert labelled.chatted("Perhaps {lower}", "A dog.") == "Perhaps a dog."


@needs_spacy
@pytest.mark.slow
def test_the_parts_share_no_row_and_every_kind_has_pairs() -> None:
    assert {part_of(row) for row in read(TRIPLES)} == {*TRAINED_ON, *CHOSEN_ON, *REPORTED}
    chosen, reported = labelled_pairs(CHOSEN_ON, 300), labelled_pairs(REPORTED, 300)
    for kinds in (chosen, reported):
        assert min(len(kind.pairs) for kind in kinds.values()) >= 120
    sources = [{one.source for kind in kinds.values() for one in kind.pairs}
               for kinds in (chosen, reported)]  # fmt: skip
    assert not sources[0] & sources[1]
    assert all(one.answer != one.source for kind in reported.values() for one in kind.pairs)


def test_readings_hold_no_text_and_shares_count_where_they_agree() -> None:
    readings = web_pairs.read_readings(web_pairs.JUDGED)
    assert len(readings) == 800 and all(len(key) == 16 for key in readings)
    scores = ((True, True, 0.1), (True, True, 0.9), (False, False, 0.9), (True, False, 0.1))
    pair = web_pairs.reworded("weak", [ROW | {"image_id": "a", "paraphrase_2": "Dogs play"}])[0]
    rows = [Scored(pair, *both, False, 1.0, 0.5, fault) for *both, fault in scores]
    limits = Limits(fault=0.5, title_fault=0.5)
    assert shares(rows, limits) == {
        "good": 2,
        "kept": 50,
        "bad": 1,
        "refused": 100,
    }


def test_copies_need_no_reader() -> None:
    row = {"image_id": "a", "caption": "A dog", "paraphrase_1": "the dog", "paraphrase_2": "x"}
    assert web_pairs.reworded("weak", [row]) == []
