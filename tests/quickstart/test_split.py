"""No scored item is in the training data; rows of the trained models."""

import pytest

from paraclip.data.captions import Caption
from paraclip.data.triples import with_schema, with_starter
from paraclip.errors import UserError
from paraclip.quickstart.run import _sampled, _split_pictures, _with_captions


def caption(number: int, text: str, picture: str | None = None) -> Caption:
    name = picture or f"{number}.png"
    return Caption(str(number), text, name, name, f"captions.csv:{number}")


def pictures(count: int) -> list[Caption]:
    return [caption(number, f"thing number {number}") for number in range(count)]


def test_every_caption_is_in_one_part_and_at_most_a_third_is_held_out() -> None:
    alone = Caption("alone", "no picture here", "alone", None, "captions.csv:99")
    split = _split_pictures([*pictures(100), alone], held_out=20, seed=0)
    assert len(split.held_out) == 20 and len(split.learn) == 81 and alone in split.learn
    assert not {row.id for row in split.learn} & {row.id for row in split.held_out}
    assert len(_split_pictures(pictures(30), held_out=200, seed=0).held_out) == 10
    with pytest.raises(UserError, match="only 5 pictures"):
        _split_pictures(pictures(5), held_out=2, seed=0)


def test_the_seed_decides_the_split_and_a_picture_added_later_moves_few_others() -> None:
    first, again, other = (_split_pictures(pictures(60), 15, seed).held_out for seed in (1, 1, 2))
    assert first == again and first != other
    before = {row.id for row in _split_pictures(pictures(90), 20, 0).held_out}
    after = {row.id for row in _split_pictures(pictures(91), 20, 0).held_out}
    assert len(before & after) >= 19


@pytest.mark.parametrize("seed", range(4))
def test_texts_that_training_treats_as_equal_stay_together(seed: int) -> None:
    ways = ("A  cat {}", "a cat\u00a0{}", "A Cat {}")
    rows = [caption(number, ways[number % 3].format(number // 3)) for number in range(90)]
    split = _split_pictures(rows, held_out=20, seed=seed)
    parts = [{int(row.id) // 3 for row in part} for part in (split.learn, split.held_out)]
    assert parts[1] and not parts[0] & parts[1]
    rows = [caption(number, f"words {number}", f"{number // 3}.png") for number in range(150)]
    split = _split_pictures(rows, held_out=12, seed=seed)
    assert not {row.image_id for row in split.learn} & {row.image_id for row in split.held_out}


ROWS = [Caption(f"{at}.png", f"thing {at}", f"{at}.png", f"{at}.png", "here") for at in range(50)]


def triples(count: int) -> object:
    texts = ("caption", "paraphrase_1", "paraphrase_2")
    return with_schema(
        [
            {"id": row.id, "image_id": row.image_id, "image": row.image,
             **{name: f"{name} of {row.id}" for name in texts}}
            for row in ROWS[:count]
        ]
    )  # fmt: skip


def test_every_caption_without_a_triple_is_added_once() -> None:
    alone = Caption("alone", "no picture", "alone", None, "here")
    rows = _with_captions(triples(20), [*ROWS, alone]).to_pylist()
    assert len(rows) == 50
    added = [row for row in rows if row["paraphrase_1"] == row["caption"]]
    assert {row["image"] for row in added} == {row.image for row in ROWS[20:]}
    assert _with_captions(triples(50), ROWS).num_rows == 50
    assert _with_captions(triples(0), ROWS).num_rows == 50


def test_the_starter_set_comes_without_pictures() -> None:
    rows = with_starter(triples(5), 3000).to_pylist()
    assert len(rows) == 3005
    assert all(row["image"] is None for row in rows[5:])
    assert _with_captions(with_starter(triples(0), 70), ROWS).num_rows == 120


def test_a_sample_is_deterministic_keeps_the_order_and_contains_smaller_ones() -> None:
    assert _sampled(ROWS, 50, seed=0) == ROWS
    taken, few = _sampled(ROWS, 20, seed=0), _sampled(ROWS, 10, seed=0)
    assert len(taken) == 20
    assert taken == [row for row in ROWS if row in taken] == _sampled(ROWS, 20, seed=0)
    assert set(few) < set(taken) and few != _sampled(ROWS, 10, seed=1)
