"""No scored item is in the training data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip.data.captions import Caption
from paraclip.errors import UserError
from paraclip.quickstart.run import split_pictures


def caption(number: int, text: str, picture: str | None = None) -> Caption:
    name = picture or f"{number}.png"
    return Caption(str(number), text, name, name, f"captions.csv:{number}")


def pictures(count: int) -> list[Caption]:
    return [caption(number, f"thing number {number}") for number in range(count)]


def test_every_caption_is_in_one_part_of_the_requested_size() -> None:
    split = split_pictures(pictures(100), held_out=20, seed=0)
    assert len(split.held_out) == 20
    assert len(split.learn) == 80
    assert not {row.id for row in split.learn} & {row.id for row in split.held_out}


def test_no_more_than_a_third_is_held_out() -> None:
    assert len(split_pictures(pictures(30), held_out=200, seed=0).held_out) == 10


def test_another_seed_gives_another_split_and_the_same_seed_the_same() -> None:
    first, again, other = (split_pictures(pictures(60), 15, seed).held_out for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_picture_added_later_moves_few_others() -> None:
    before = {row.id for row in split_pictures(pictures(90), 20, 0).held_out}
    after = {row.id for row in split_pictures(pictures(91), 20, 0).held_out}
    assert len(before & after) >= 19


@pytest.mark.parametrize("seed", range(4))
def test_texts_that_training_treats_as_equal_stay_together(seed: int) -> None:
    ways = ("A  cat {}", "a cat\u00a0{}", "A Cat {}")
    rows = [caption(number, ways[number % 3].format(number // 3)) for number in range(90)]
    split = split_pictures(rows, held_out=20, seed=seed)
    parts = [{int(row.id) // 3 for row in part} for part in (split.learn, split.held_out)]
    assert parts[1] and not parts[0] & parts[1]


@given(st.lists(st.integers(0, 12), min_size=60, max_size=90), st.integers(0, 5))
def test_no_held_out_text_was_learnt(texts: list[int], seed: int) -> None:
    rows = [caption(number, f"Text {text}") for number, text in enumerate(texts)]
    split = split_pictures(rows, held_out=20, seed=seed)
    assert not {row.caption for row in split.learn} & {row.caption for row in split.held_out}


@given(st.integers(0, 5))
def test_captions_of_one_picture_stay_together(seed: int) -> None:
    rows = [caption(number, f"words {number}", f"{number // 3}.png") for number in range(150)]
    split = split_pictures(rows, held_out=12, seed=seed)
    assert not {row.image_id for row in split.learn} & {row.image_id for row in split.held_out}


def test_captions_without_a_picture_are_for_learning() -> None:
    alone = Caption("alone", "no picture here", "alone", None, "captions.csv:99")
    split = split_pictures([*pictures(60), alone], held_out=20, seed=3)
    assert alone in split.learn
    assert all(row.image for row in split.held_out)


def test_too_few_pictures_are_refused_with_the_number() -> None:
    with pytest.raises(UserError, match="only 5 pictures"):
        split_pictures(pictures(5), held_out=2, seed=0)
