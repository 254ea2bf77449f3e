from hypothesis import given
from hypothesis import strategies as some

from paraclip.models.encoder import pad_rows

ROWS = some.lists(some.lists(some.integers(1, 99), min_size=2, max_size=9), min_size=1, max_size=5)


def test_rows_are_padded_to_the_longest():
    tokens = pad_rows([[7, 1, 9], [7, 9]], context_length=5, pad=4)
    assert tokens.ids.tolist() == [[7, 1, 9], [7, 9, 4]]
    assert tokens.truncated == 0


def test_a_long_row_keeps_its_end_token():
    tokens = pad_rows([[7, 1, 2, 3, 9], [7, 9]], context_length=3)
    assert tokens.ids.tolist() == [[7, 1, 9], [7, 9, 0]]
    assert tokens.truncated == 1


def test_no_texts_give_no_rows():
    assert list(pad_rows([], context_length=3).ids.shape) == [0, 0]


@given(ROWS, some.integers(2, 6))
def test_every_row_starts_and_ends_as_it_did(rows, context_length):
    tokens = pad_rows(rows, context_length)
    assert tokens.ids.shape[1] == max(min(len(row), context_length) for row in rows)
    assert tokens.truncated == sum(len(row) > context_length for row in rows)
    for row, ids in zip(rows, tokens.ids.tolist(), strict=True):
        kept = [number for number in ids if number]
        assert (kept[0], kept[-1]) == (row[0], row[-1])
