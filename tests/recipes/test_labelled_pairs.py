"""Labelled pairs of the filters: faults are what their names say, and no row is in two parts."""

import random
import runpy
import sys
from pathlib import Path

import pytest

pytest.importorskip("spacy")
sys.path.insert(0, str(Path(__file__).parents[2] / "recipes" / "filters"))

import labelled
from labelled import (
    CHOSEN_ON,
    REPORTED,
    TRAINED_ON,
    adding,
    chatted,
    copied,
    further_pairs,
    labelled_pairs,
    lost_fact,
    negated,
    part_of,
    read,
    wrong_number,
)

from paraclip.paraphrase.filters.checks import same_words
from paraclip.paraphrase.language.parsing import SpacyTagger, installed_model
from paraclip.paraphrase.language.words import numbers
from paraclip.starter import TRIPLES

pytestmark = pytest.mark.skipif(installed_model() is None, reason="no English model of spaCy")
ROW = {
    "caption": "three brown dogs in a park",
    "paraphrase_1": "Three brown dogs are playing in a big park.",
}


@pytest.fixture(scope="module")
def tagged():
    return next(SpacyTagger().tag([ROW["paraphrase_1"]]))


def test_a_fault_changes_what_its_name_says(tagged) -> None:
    draw = random.Random(0)
    assert numbers(wrong_number(ROW, tagged, draw) or "") not in ({"3"}, set())
    lost = {lost_fact(ROW, tagged, random.Random(seed)) for seed in range(9)}
    assert lost == {"Three dogs are playing in a big park.", "Three brown dogs are playing."}
    assert negated(ROW["paraphrase_1"]) == "Three brown dogs are not playing in a big park."
    assert negated("Dogs run.") is None


def test_an_added_fact_comes_from_another_row(tagged) -> None:
    (other,) = SpacyTagger().tag(["A red kite hangs over the old harbour."])
    found = {adding([tagged, other])(ROW, tagged, random.Random(seed)) for seed in range(9)}
    assert "Three brown dogs are playing in a big park over the old harbour." in found


def test_copies_and_chats_keep_the_text() -> None:
    copy = copied("A dog runs.")
    assert copy != "A dog runs." and same_words(
        copy.lower().strip("!").split(), ["a", "dog", "runs"]
    )
    assert chatted("Perhaps {lower}", "A dog.") == "Perhaps a dog."


def test_the_weights_state_all_data_that_they_were_trained_on() -> None:
    recipe = runpy.run_path(str(Path(labelled.__file__).with_name("train.py")))
    assert recipe["origin"](further=False) == "ParaCLIP's starter set, half of it"
    assert "stamps" in recipe["origin"](further=True)
    assert "synonyms" in recipe["origin"](further=True)


@pytest.mark.slow
def test_the_parts_share_no_row_and_every_kind_has_pairs() -> None:
    rows = read(TRIPLES)
    assert {part_of(row) for row in rows} == {*TRAINED_ON, *CHOSEN_ON, *REPORTED}
    chosen, reported = labelled_pairs(CHOSEN_ON, 300), labelled_pairs(REPORTED, 300)
    assert set(reported) - set(chosen) == {"contrasts of the stamps"}
    for kinds in (chosen, reported):
        assert sum(kind.good for kind in kinds.values()) == 3
        assert min(len(kind.pairs) for kind in kinds.values()) >= 120
    sources = [{one.source for kind in kinds.values() for one in kind.pairs}
               for kinds in (chosen, reported)]  # fmt: skip
    assert not sources[0] & sources[1]
    further = further_pairs()
    assert {kind.good for kind in further.values()} == {True, False}
    assert min(len(kind.pairs) for kind in further.values()) >= 100
    assert not {one.source for kind in further.values() for one in kind.pairs} & sources[1]
    assert all(one.answer != one.source for kind in reported.values() for one in kind.pairs)
