"""The benchmark of "nothing close": its subjects and its figures."""

import numpy as np
import pytest

from benchmarks.search.nothing_close import Scored, area_between, captioned


def test_a_subject_is_a_word_and_its_pictures_are_those_whose_captions_have_it() -> None:
    captions = {f"{number}.jpg": ["a cat sleeps", "Two cats."] for number in range(5)}
    captions |= {f"1{number}.jpg": ["cattle graze", "a catalogue"] for number in range(8)}
    pool = captioned("made", captions)
    cats = next(one for one in pool.subjects if pool.texts[one[1][0]] == "a cat sleeps")
    assert cats[0].tolist() == list(range(5)) and cats[1].tolist() == list(range(10))


def test_the_area_is_one_if_every_present_subject_is_above_every_absent_one() -> None:
    high, low = np.array([0.8, 0.9]), np.array([0.1, 0.2, 0.3])
    assert area_between(high, low) == 1 and area_between(low, high) == 0
    assert area_between(np.array([1.0, 3.0]), np.array([2.0, 0.0])) == pytest.approx(0.75)


def test_precision_recall_and_share_found() -> None:
    scored = Scored(np.array([0.5, 0.2, 0.6, 0.7]), np.array([0.1, 0.4, 0.2, 0.3]), (0, 0))
    assert scored.judged((0.35, 0.35)) == {"precision": 0.75, "recall": 0.75, "found": 0.75}
    assert 0.3 < scored.best_fixed() <= 0.5
