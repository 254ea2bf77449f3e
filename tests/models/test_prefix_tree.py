"""Texts as a tree against texts one by one."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny_clip

from paraclip.models import prefix_tree
from paraclip.models.features import encode_texts
from paraclip.models.prefix_tree import common, encode_by_prefix_tree, make_tree, packs, shares

NAMES = ["red disc", "red square", "paper", "a small thing on paper", "disc"]
PROMPTS = [f"{start} {name}{end}" for name in NAMES for start, end in
           (("a photo of a", "."), ("a photo of the", "."), ("a", " in the snow."))]  # fmt: skip


@pytest.mark.parametrize("most", [9, 20, 512])
@pytest.mark.parametrize("changes", [{}, {"quick_gelu": True}])
def test_vectors_are_those_of_each_text_alone(most: int, changes, monkeypatch) -> None:
    monkeypatch.setattr(prefix_tree, "MOST", most)
    model = tiny_clip(**changes)
    texts = [*PROMPTS, PROMPTS[3], "a photo of a", "word " * 30]
    found = encode_by_prefix_tree(model, texts, batch_size=4, label="prompts")
    torch.testing.assert_close(found, encode_texts(model, texts), rtol=0, atol=1e-5)
    assert torch.equal(found[3], found[len(PROMPTS)])
    one, other = encode_texts(model, PROMPTS[:2])
    assert (one - other).abs().max() > 1e-3  # so near a neighbour's vector would not pass


def test_half_precision_is_near(clip) -> None:
    found = encode_by_prefix_tree(clip, PROMPTS, precision="bf16")
    assert (found * encode_texts(clip, PROMPTS)).sum(1).min() > 0.995


def test_towers_that_see_everything_are_asked_text_by_text(mini, clip) -> None:
    assert shares(clip.text_tower) and not shares(mini.text_tower)
    texts = ["a red disc", "a red square"]
    assert torch.equal(encode_by_prefix_tree(mini, texts), encode_texts(mini, texts))
    assert list(encode_by_prefix_tree(clip, []).shape) == [0, 16]


def test_a_tree_by_hand() -> None:
    # 1 2 3 and 1 2 4 share two nodes; 5 stands apart.
    tree = make_tree([(1, 2, 3), (1, 2, 4), (5,)])
    assert tree.ids.tolist() == [1, 2, 3, 4, 5]
    assert tree.depths.tolist() == [0, 1, 2, 2, 0]
    assert tree.ends.tolist() == [2, 3, 4]
    seen = [row.isfinite().nonzero().flatten().tolist() for row in tree.mask]
    assert seen == [[0], [0, 1], [0, 1, 2], [0, 1, 3], [4]]


ROWS = st.sets(st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple), min_size=1)


@given(ROWS, st.integers(1, 12))
def test_every_text_is_in_one_tree_of_bounded_size(texts: set, most: int) -> None:
    rows = sorted(texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix_tree, "MOST", most)
        found = list(packs(rows))
    assert [row for part in found for row in part] == rows
    for part in found:
        tree = make_tree(part)
        assert len(tree.ids) == len({row[:n] for row in part for n in range(1, len(row) + 1)})
        assert len(tree.ids) <= most or len(part) == 1
        for row, end in zip(part, tree.ends.tolist(), strict=True):
            line = tree.mask[end].isfinite().nonzero().flatten()
            assert tree.ids[line].tolist() == list(row)
            assert tree.depths[line].tolist() == list(range(len(row)))


def test_common_beginnings() -> None:
    assert [common((1, 2, 3), row) for row in ((1, 2, 4), (1, 2), (2,), (1, 2, 3))] == [2, 2, 0, 3]
