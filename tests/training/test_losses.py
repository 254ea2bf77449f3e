"""The losses against a slow, simple NumPy implementation, and blockwise against one matrix."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from training_rows import make_options

from paraclip.starter import TEXTS
from paraclip.training import losses as losses_module
from paraclip.training.config import L1, L2, L3, RANKING, SENTENCES, resolved
from paraclip.training.data import FalseNegatives, Rows, find_false_negatives
from paraclip.training.losses import Objective, Vectors, info_nce, make_objective
from paraclip.training.ranking import BANK, HUBS, TEACHERS, TEACHERS_BANK, Ranker
from paraclip.training.sentences import MEANINGS
from tiny import TinyModel

CAPTION, PARAPHRASE_1, PARAPHRASE_2 = TEXTS
LOG = torch.tensor(math.log(7.0), dtype=torch.float64)
seeds = st.integers(0, 2**32 - 1)


def slow_info_nce(a, b, scale, false_negatives, rows):
    """Symmetric InfoNCE among some rows, one softmax at a time."""
    rows = list(rows)
    if len(rows) < 2:
        return 0.0
    total = 0.0
    for i in rows:
        fair = [j for j in rows if j == i or not false_negatives[i][j]]
        positive = scale * float(a[i] @ b[i])
        forth = sum(math.exp(scale * float(a[i] @ b[j]) - positive) for j in fair)
        back = sum(math.exp(scale * float(a[j] @ b[i]) - positive) for j in fair)
        total += (math.log(forth) + math.log(back)) / 2
    return total / len(rows)


def unit(seed, *shape):
    vectors = np.random.default_rng(seed).normal(size=shape)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def double(*values):
    return [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in values]


def random_mask(seed, rows, share):
    mask = np.triu(np.random.default_rng(seed).random((rows, rows)) < share, 1)
    return mask | mask.T


def groups_of(mask):
    """Groups that give exactly this mask: one for each pair."""
    pairs = np.argwhere(np.triu(mask))
    member = np.zeros((len(mask), len(pairs) + 1), dtype=np.int8)
    for group, pair in enumerate(pairs):
        member[pair, group] = 1
    return FalseNegatives(sparse.csr_array(member))


@given(seeds, st.integers(1, 7), st.floats(0.5, 100), st.floats(0, 1))
def test_info_nce_equals_its_twin(seed, rows, scale, share):
    a, b = unit(seed, rows, 5), unit(seed + 1, rows, 5)
    mask = random_mask(seed, rows, share)
    warm = torch.tensor(scale, dtype=torch.float64)
    ours = info_nce(*map(torch.from_numpy, (a, b)), warm, torch.from_numpy(mask))
    assert float(ours) == pytest.approx(slow_info_nce(a, b, scale, mask, range(rows)), abs=1e-6)


@given(seeds, st.integers(2, 9), st.floats(0.5, 80), st.floats(0, 1), st.integers(1, 40))
def test_blocks_give_value_and_gradient_of_the_plain_loss(seed, rows, scale, share, block):
    a, b, warm = double(unit(seed, rows, 5), unit(seed + 1, rows, 5), scale)
    mask = random_mask(seed, rows, share)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses_module, "BLOCK", block)
        ours = losses_module._contrast(a, b, warm, groups_of(mask))
    plain = info_nce(a, b, warm, torch.from_numpy(mask))
    torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-12)
    found, wanted = (torch.autograd.grad(loss, (a, b, warm)) for loss in (ours, plain))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("processes", [2, 3, 11])
def test_the_shares_of_all_processes_sum_up_to_the_loss(processes, monkeypatch):
    monkeypatch.setattr(losses_module, "BLOCK", 12)
    a, b, scale = double(unit(1, 7, 4), unit(2, 7, 4), 5.0)
    whole = losses_module._contrast(a, b, scale)
    shares = [(k, processes) for k in range(processes)]
    parts = sum(losses_module._contrast(a, b, scale, share=share) for share in shares)
    torch.testing.assert_close(parts, whole)
    found, wanted = (torch.autograd.grad(loss, (a, b)) for loss in (parts, whole))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_of_a_large_batch_only_a_block_is_held(monkeypatch):
    heights, cross_entropy = [], torch.nn.functional.cross_entropy

    def watched(logits, *arguments, **options):
        heights.append(logits.numel())
        return cross_entropy(logits, *arguments, **options)

    monkeypatch.setattr(losses_module, "BLOCK", 1000)
    monkeypatch.setattr(losses_module.F, "cross_entropy", watched)
    a = torch.from_numpy(unit(1, 200, 4)).requires_grad_()
    losses_module._contrast(a, a, torch.tensor(5.0)).backward()
    assert max(heights) == 1000 and len(heights) == 80


def objective_with(weights: dict[str, float], **changes) -> Objective:
    """The losses of options."""
    return make_objective(resolved(make_options(loss_weights=weights, **changes), "mini"))


@pytest.mark.parametrize("name", [RANKING, SENTENCES])
def test_of_a_large_batch_a_distilled_loss_keeps_no_similarities(name, monkeypatch):
    monkeypatch.setattr(losses_module, "BLOCK", 1000)
    kept = [0]
    texts = {one: torch.from_numpy(unit(1, 200, 4)).requires_grad_() for one in TEXTS}
    teacher, bank, meanings = (
        torch.from_numpy(unit(2, *shape)) for shape in ((200, 4), (50, 4), (200, 3, 4))
    )
    constants = {
        TEACHERS: teacher, BANK: bank, TEACHERS_BANK: bank, MEANINGS: meanings,
        HUBS: torch.zeros(1, 50),
    }  # fmt: skip
    objective = objective_with({**dict.fromkeys((L1, L2, L3, RANKING, SENTENCES), 0), name: 1})
    [loss] = objective.losses.values()
    loss.scale = 100.0
    loss.rankers = [Ranker("base", 1.0, 100.0, TinyModel(), bank, torch.zeros(50))]
    every = torch.arange(200)
    rows = Rows(every[:0], {PARAPHRASE_1: every, PARAPHRASE_2: every})
    with torch.autograd.graph.saved_tensors_hooks(
        lambda saved: kept.append(saved.numel()) or saved, lambda saved: saved
    ):
        objective.values(Vectors(torch.empty(0, 4), texts, rows, LOG, constants))
    assert max(kept) <= 1000


@given(seeds, st.integers(2, 7), st.floats(0, 1), st.sets(st.integers(0, 6)), st.booleans())
def test_three_losses_equal_their_twin(seed, size, share, chosen, apart):
    texts = dict(zip(TEXTS, unit(seed, 3, size, 5), strict=True))
    images, mask = unit(seed + 1, size, 5), random_mask(seed, size, share)
    with_image, reworded = sorted(row for row in chosen if row < size), list(range(size - 1))
    warm = 20.0 if apart else 7.0
    objective = objective_with(
        {L2: 0.5, L3: 2.0},
        image_loss_on=(CAPTION, PARAPHRASE_2), text_temperature=1 / 20 if apart else None,
    )  # fmt: skip
    rows = Rows(
        torch.tensor(with_image, dtype=torch.int64),
        {PARAPHRASE_1: torch.arange(size), PARAPHRASE_2: torch.tensor(reworded)},
        groups_of(mask),
    )  # fmt: skip
    vectors = Vectors(
        torch.from_numpy(images[with_image]), {n: torch.from_numpy(t) for n, t in texts.items()},
        rows, LOG,
    )  # fmt: skip
    losses = objective.values(vectors)
    slow = [
        slow_info_nce(images, texts[name], 7.0, mask, with_image)
        for name in (CAPTION, PARAPHRASE_2)
    ]
    expected = {
        L1: sum(slow) / 2,
        L2: slow_info_nce(texts[CAPTION], texts[PARAPHRASE_1], warm, mask, range(size)),
        L3: slow_info_nce(texts[PARAPHRASE_1], texts[PARAPHRASE_2], warm, mask, reworded),
    }
    assert {name: float(value) for name, value in losses.items()} == pytest.approx(expected)
    total = expected[L1] + 0.5 * expected[L2] + 2 * expected[L3]
    assert objective.total(losses).item() == pytest.approx(total)


def test_masked_pairs_have_no_gradient():
    a = torch.eye(3, requires_grad=True)
    b = torch.roll(torch.eye(3), 1, 1).requires_grad_()
    same = find_false_negatives(np.array([[7, 7, 7]]))
    loss = losses_module._contrast(a, b, torch.tensor(5.0), same)
    loss.backward()
    assert loss.item() == 0 and not a.grad.any() and not b.grad.any()


def test_half_precision_vectors_are_compared_in_full():
    a = torch.nn.functional.normalize(torch.randn(4, 8), dim=-1).bfloat16()
    for loss in (info_nce, losses_module._contrast):
        with torch.autocast("cpu", torch.bfloat16):
            found = loss(a, a, torch.tensor(100.0))
        assert found.dtype == torch.float32
        assert float(found) == pytest.approx(float(loss(a.float(), a.float(), torch.tensor(100.0))))


@pytest.mark.parametrize("loss", [info_nce, losses_module._contrast])
@pytest.mark.parametrize("rows", [0, 1])
def test_with_no_negatives_the_loss_is_zero_and_harmless(rows, loss):
    a = torch.randn(rows, 4, requires_grad=True)
    found = loss(a, torch.randn(rows, 4), torch.tensor(10.0))
    found.backward()
    assert found.item() == 0 and not a.grad.any()


@given(st.integers(1, 4), st.integers(1, 9), seeds)
def test_sharing_a_key_equals_comparing_every_pair(kinds, rows, seed):
    keys = np.random.default_rng(seed).integers(0, 12, (kinds, rows))
    expected = np.array(
        [[i != j and bool(set(keys[:, i]) & set(keys[:, j])) for j in range(rows)]
         for i in range(rows)]
    )  # fmt: skip
    found = find_false_negatives(keys)
    mask = np.zeros_like(expected) if found is None else found.dense().numpy()
    assert np.array_equal(mask, expected)


def test_only_the_texts_that_a_loss_needs_go_through_the_tower():
    assert objective_with({}).texts == TEXTS
    assert objective_with({L2: 0, L3: 0}).texts == (PARAPHRASE_2,)
    assert objective_with({L1: 0, L3: 0}).texts == (CAPTION, PARAPHRASE_1)
    assert objective_with({L2: 0}, image_loss_on=(CAPTION,)).texts == TEXTS
    assert objective_with({}, control=True).texts == (CAPTION,)
