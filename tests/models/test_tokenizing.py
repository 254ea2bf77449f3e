"""Rows of tokens, and CLIP's vocabulary as open_clip has it, read without torch."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as some
from open_clip.tokenizer import SimpleTokenizer, basic_clean

from paraclip.models.encoder import DualEncoder, pad_rows
from paraclip.models.formats import clip_tokenizer
from paraclip.models.formats.clip_tokenizer import END, START, repaired_text
from paraclip.models.mini import SentenceModel
from tiny import roberta_clip, tiny_clip, word_files

ROWS = some.lists(some.lists(some.integers(1, 99), min_size=2, max_size=9), min_size=1, max_size=5)


def test_rows_are_padded_to_the_longest_and_a_long_one_keeps_its_end_token():
    tokens = pad_rows([[7, 1, 9], [7, 9]], context_length=5, pad=4)
    assert tokens.ids.tolist() == [[7, 1, 9], [7, 9, 4]] and tokens.truncated == 0
    tokens = pad_rows([[7, 1, 2, 3, 9], [7, 9]], context_length=3)
    assert tokens.ids.tolist() == [[7, 1, 9], [7, 9, 0]] and tokens.truncated == 1
    assert list(pad_rows([], context_length=3).ids.shape) == [0, 0]


@given(ROWS, some.integers(2, 6))
def test_every_row_starts_and_ends_as_it_did(rows, context_length):
    tokens = pad_rows(rows, context_length)
    assert tokens.ids.shape[1] == max(min(len(row), context_length) for row in rows)
    assert tokens.truncated == sum(len(row) > context_length for row in rows)
    for row, ids in zip(rows, tokens.ids.tolist(), strict=True):
        kept = [number for number in ids if number]
        assert (kept[0], kept[-1]) == (row[0], row[-1])


def test_the_vocabulary_is_open_clips() -> None:
    theirs = SimpleTokenizer()
    vocabulary, merges = clip_tokenizer._vocabulary_and_merges()
    names = {"<start_of_text>": START, "<end_of_text>": END}
    assert vocabulary == {names.get(token, token): at for token, at in theirs.encoder.items()}
    assert merges == sorted(theirs.bpe_ranks, key=theirs.bpe_ranks.__getitem__)


def test_texts_are_repaired_as_in_open_clip() -> None:
    text = " \u201cCurly\u201d &amp;amp; it\u2019s a CafÃ© "
    assert repaired_text(text) == basic_clean(text).lower()


@pytest.mark.parametrize("make", [roberta_clip, lambda: SentenceModel(word_files("bert"))])
def test_words_that_a_vocabulary_lacks_are_unknown(make: Callable[[], DualEncoder]) -> None:
    model = make()
    ids = model.tokenize(["a red tiger"]).ids[0].tolist()
    assert ids.index(model.unknown_id) == 3 and ids.count(model.unknown_id) == 1
    assert tiny_clip().unknown_id == -1  # bytes represent every word
