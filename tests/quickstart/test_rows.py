"""Rows of the trained models: triples, captions without one, and the starter set."""

from paraclip.data.captions import Caption
from paraclip.data.triples import with_schema, with_starter
from paraclip.quickstart.run import equal_steps, sampled, with_captions

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
    rows = with_captions(triples(20), [*ROWS, alone], seed=0).to_pylist()
    assert len(rows) == 50
    added = [row for row in rows if row["paraphrase_1"] == row["caption"]]
    assert {row["image"] for row in added} == {row.image for row in ROWS[20:]}
    assert with_captions(triples(50), ROWS, seed=0).num_rows == 50
    assert with_captions(triples(0), ROWS, seed=0).num_rows == 50


def test_the_starter_set_comes_without_pictures() -> None:
    rows = with_starter(triples(5), 3000).to_pylist()
    assert len(rows) == 3005
    assert all(row["image"] is None for row in rows[5:])
    assert with_captions(with_starter(triples(0), 70), ROWS, seed=0).num_rows == 120


def test_all_are_sampled_if_few() -> None:
    assert sampled(ROWS, 50, seed=0) == ROWS


def test_a_sample_keeps_the_order_and_is_deterministic() -> None:
    taken = sampled(ROWS, 20, seed=0)
    assert len(taken) == 20
    assert taken == [row for row in ROWS if row in taken] == sampled(ROWS, 20, seed=0)


def test_larger_samples_contain_smaller_ones_and_seeds_differ() -> None:
    few = sampled(ROWS, 10, seed=0)
    assert set(few) < set(sampled(ROWS, 20, seed=0))
    assert few != sampled(ROWS, 10, seed=1)


def test_few_rows_take_as_many_steps_as_many() -> None:
    assert equal_steps(rows=499, epochs=3, batch_size=128, others=3499) == 21  # 4 for 28 batches
    assert equal_steps(rows=3499, epochs=3, batch_size=128, others=3499) == 3
    assert equal_steps(rows=9000, epochs=1, batch_size=128, others=300) == 1
