"""Batches of rows: complete, deterministic, and correct for equal rows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import TinyModel
from training_rows import make_features, make_triples

from paraclip.errors import UserError
from paraclip.training.examples import (
    ALL_TEXTS,
    Examples,
    epoch_batches,
    row_batches,
    split_rows,
    store_tokens,
)
from paraclip.training.losses.contrast import false_negatives
from paraclip.training.task import make_examples

SHORT = st.text("abc ", min_size=1, max_size=14)


def examples_of(texts: dict[str, list[str]], image_ids=None, features=None) -> Examples:
    count = len(texts["caption"])
    ids = image_ids or [str(index) for index in range(count)]
    return make_examples(TinyModel(), texts, ids, features, tuple(texts))


def alike(*captions: str, **others: list[str]) -> Examples:
    texts = {"caption": list(captions)}
    for name in ALL_TEXTS[1:]:
        texts[name] = others.get(name) or [f"{name} {index}" for index in range(len(captions))]
    return examples_of(texts, others.get("image_ids"))


@settings(max_examples=30)
@given(st.lists(SHORT, min_size=1, max_size=9))
def test_stored_tokens_are_the_tokenizers(texts):
    model = TinyModel()
    store = store_tokens(model, texts)
    tokens = model.tokenize(texts)
    assert torch.equal(store.padded(np.arange(len(texts))), tokens.ids)
    assert store.truncated == tokens.truncated


def test_a_batch_is_cut_to_its_longest_text():
    store = store_tokens(TinyModel(), ["abcdefgh", "a", "abc"])
    assert store.padded(np.array([1, 2])).shape == (2, 5)
    assert store.padded(np.array([0, 1])).shape == (2, 10)


@settings(max_examples=25)
@given(st.lists(SHORT, min_size=2, max_size=12, unique=True), st.integers(1, 5))
def test_chunked_vectors_are_those_of_one_pass(captions, chunk):
    from dataclasses import replace

    if len({" ".join(text.split()) for text in captions}) < 2:
        return
    model = TinyModel()
    texts = {"caption": captions, "paraphrase_1": captions[::-1], "paraphrase_2": captions}
    examples = replace(examples_of(texts), chunk=chunk)
    rows = np.arange(len(captions))[::-1].copy()
    batch = examples.batch(rows)
    vectors = torch.cat([model.encode_tokens(ids) for ids in batch.chunks])
    found = vectors[batch.restore].view(3, len(rows), -1)
    for vectors, name in zip(found, ALL_TEXTS, strict=True):
        expected = model.encode_tokens(model.tokenize(texts[name]).ids)[torch.from_numpy(rows)]
        torch.testing.assert_close(vectors, expected, rtol=0, atol=1e-6)


def test_a_text_goes_through_the_tower_once_a_batch_however_often_it_occurs():
    texts = {
        "caption": ["a", "b", "c", "a"], "paraphrase_1": ["a", "b b", "c", "a a"],
        "paraphrase_2": ["a", "b b", "c c", "a"],
    }  # fmt: skip
    examples = examples_of(texts)
    whole, part = examples.batch(np.arange(4)), examples.batch(np.array([3, 0]))
    assert sum(map(len, whole.chunks)) == 6  # a, b, c, b b, c c, a a
    assert sum(map(len, part.chunks)) == 2
    assert whole.restore.shape == (12,) and part.restore.shape == (6,)


def test_an_empty_text_is_a_text_but_no_hard_negative():
    texts = {"caption": ["", "b"]}
    hard = ["", "c"]
    examples = make_examples(TinyModel(), texts, ["0", "1"], None, ("caption",), negatives=hard)
    assert examples.text_rows.tolist() == [[0, 1]] and examples.negative.tolist() == [-1, 2]


def test_equal_text_on_either_side_or_equal_picture_is_not_a_negative():
    examples = alike(
        "a cat", "A  Cat", "dog", "boat", "tree",
        paraphrase_1=["p", "q", "r", "s", "t"],
        paraphrase_2=["x", "y", "boat", "z", "w"],
        image_ids=["0", "1", "2", "3", "0"],
    )  # fmt: skip
    mask = examples.parts(np.arange(5)).false_negatives.dense().numpy()
    assert {tuple(pair) for pair in np.argwhere(np.triu(mask))} == {(0, 1), (2, 3), (0, 4)}
    assert np.array_equal(mask, mask.T) and not mask.diagonal().any()
    assert examples.parts(np.array([0, 2])).false_negatives is None


def test_a_text_that_no_loss_uses_masks_nothing():
    texts = {"caption": ["one", "two"], "paraphrase_1": ["same", "same"]}
    used = make_examples(TinyModel(), texts, ["0", "1"], None, ("caption", "paraphrase_1"))
    unused = make_examples(TinyModel(), texts, ["0", "1"], None, ("caption",))
    assert used.parts(np.arange(2)).false_negatives is not None
    assert unused.parts(np.arange(2)).false_negatives is None


@settings(max_examples=50)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 2**31))
def test_sharing_equals_comparing_every_pair(kinds, rows, seed):
    keys = np.random.default_rng(seed).integers(0, 12, (kinds, rows))
    expected = np.array(
        [[i != j and bool(set(keys[:, i]) & set(keys[:, j])) for j in range(rows)]
         for i in range(rows)]
    )  # fmt: skip
    found = false_negatives(keys)
    mask = np.zeros_like(expected) if found is None else found.dense().numpy()
    assert np.array_equal(mask, expected)


def test_a_row_that_was_not_reworded_leaves_that_loss():
    same = ["one", "2", "three"]
    examples = alike("one", "two", "three", paraphrase_1=same, paraphrase_2=["one", "2", "drei"])
    rows = examples.parts(np.arange(3))
    assert rows.reworded_1.tolist() == [1] and rows.reworded_2.tolist() == [2]


def test_rows_without_a_picture_bring_no_feature():
    triples = make_triples(6)
    texts = {name: triples[name].to_pylist() for name in ALL_TEXTS}
    features = make_features(triples, missing=(1, 4))
    examples = examples_of(texts, features=features)
    batch = examples.batch(np.array([5, 4, 1, 0]))
    assert batch.rows.with_image.tolist() == [0, 3]
    assert torch.equal(batch.features, features[[5, 0]])


@settings(max_examples=40)
@given(st.integers(4, 15), st.integers(1, 4), st.integers(1, 4))
def test_the_processes_parts_are_the_batch_however_it_divides(size, processes, chunk):
    from dataclasses import replace

    triples = make_triples(24)
    texts = {name: triples[name].to_pylist() for name in ALL_TEXTS}
    examples = replace(examples_of(texts, features=make_features(triples)), chunk=chunk)
    rows = np.random.default_rng(size).permutation(24)[:size]
    parts = [examples.batch(rows, (rank, processes)) for rank in range(processes)]
    assert [part.size for part in parts] == parts[0].sizes.rows
    assert [len(part.features) for part in parts] == parts[0].sizes.images
    together = torch.cat([part.features for part in parts])
    assert torch.equal(together, examples.batch(rows).features)
    assert all(torch.equal(part.rows.with_image, parts[0].rows.with_image) for part in parts)


@settings(max_examples=50)
@given(st.integers(2, 200), st.integers(1, 60), st.integers(0, 9))
def test_an_epoch_holds_every_row_once_in_even_batches(rows, size, seed):
    batches = epoch_batches(np.arange(rows), size, seed, 0)
    assert sorted(np.concatenate(batches)) == list(range(rows))
    lengths = [len(batch) for batch in batches]
    assert max(lengths) <= size and max(lengths) - min(lengths) <= 1


def test_order_depends_on_seed_and_epoch_and_any_step_can_be_the_first():
    rows = np.arange(30)
    whole = list(row_batches(rows, 8, 1, 0, 12))
    later = list(row_batches(rows, 8, 1, 5, 12))
    assert all(np.array_equal(a, b) for a, b in zip(whole[5:], later, strict=True))
    assert not np.array_equal(whole[0], whole[4])
    assert not np.array_equal(whole[0], epoch_batches(rows, 8, 2, 0)[0])


@settings(max_examples=40)
@given(st.lists(st.integers(0, 15), min_size=2, max_size=60), st.floats(0, 0.5), st.integers(0, 5))
def test_no_picture_is_both_learned_and_held_out(pictures, share, seed):
    keys = np.array(pictures)
    learn, held_out = split_rows(keys, share, seed)
    assert sorted([*learn, *held_out]) == list(range(len(keys)))
    assert not set(keys[learn]) & set(keys[held_out])
    assert len(learn)


@pytest.mark.parametrize(
    ("texts", "image_ids", "complaint"),
    [
        ([], [], "0 row"),
        (["one"], ["0"], "1 row"),
        (["same", "same"], ["0", "1"], "the same caption"),
        (["one", "two"], ["0", "0"], "the same picture"),
    ],
)
def test_rows_with_no_negatives_are_refused(texts, image_ids, complaint):
    with pytest.raises(UserError, match=complaint):
        make_examples(TinyModel(), {"caption": texts}, image_ids, None, ("caption",))


@pytest.mark.parametrize(
    ("features", "complaint"),
    [
        (torch.ones(3, 12), r"shape \[3, 12\] for 2 rows"),
        (torch.ones(2, 5), "width 5 does not fit tiny"),
        (torch.full((2, 12), torch.inf), "infinite"),
    ],
)
def test_features_of_another_run_are_refused(features, complaint):
    with pytest.raises(UserError, match=complaint):
        examples_of({"caption": ["one", "two"]}, features=features)
