"""The losses against a slow, simple NumPy implementation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from tiny_model import TinyModel
from training_rows import make_config

from paraclip.training.losses.contrast import FalseNegatives, LogitScaling
from paraclip.training.losses.objective import (
    CAPTION,
    PARAPHRASE_1,
    PARAPHRASE_2,
    Objective,
    Rows,
    Vectors,
    distillation,
    info_nce,
    three_losses,
    weighted_sum,
)
from paraclip.training.recipes import objective_of

NAMES = (CAPTION, PARAPHRASE_1, PARAPHRASE_2)


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


def random_mask(seed, rows, share):
    mask = np.triu(np.random.default_rng(seed).random((rows, rows)) < share, 1)
    return mask | mask.T


def sharing_of(mask):
    """Groups that give exactly this mask: one for each pair."""
    pairs = np.argwhere(np.triu(mask))
    member = np.zeros((len(mask), len(pairs) + 1), dtype=np.int8)
    for group, pair in enumerate(pairs):
        member[pair, group] = 1
    rows = sparse.csr_array(member)
    return FalseNegatives(rows, rows)


seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=60)
@given(seeds, st.integers(1, 7), st.floats(0.5, 100), st.floats(0, 1))
def test_info_nce_equals_its_twin(seed, rows, scale, share):
    a, b = unit(seed, rows, 5), unit(seed + 1, rows, 5)
    mask = random_mask(seed, rows, share)
    warm = torch.tensor(scale, dtype=torch.float64)
    ours = info_nce(*map(torch.from_numpy, (a, b)), warm, torch.from_numpy(mask))
    assert float(ours) == pytest.approx(slow_info_nce(a, b, scale, mask, range(rows)), abs=1e-6)


@settings(max_examples=40)
@given(seeds, st.integers(2, 7), st.floats(0, 1), st.sets(st.integers(0, 6)), st.booleans())
def test_three_losses_equal_their_twin(seed, size, share, chosen, apart):
    texts = dict(zip(NAMES, unit(seed, 3, size, 5), strict=True))
    images = unit(seed + 1, size, 5)
    mask = random_mask(seed, size, share)
    with_image = sorted(row for row in chosen if row < size)
    reworded = list(range(size - 1))
    objective = Objective((1.0, 0.5, 2.0), (CAPTION, PARAPHRASE_2))
    rows = Rows(
        torch.tensor(with_image, dtype=torch.int64), torch.arange(size),
        torch.tensor(reworded), sharing_of(mask),
    )  # fmt: skip
    vectors = Vectors(
        torch.from_numpy(images[with_image]), {n: torch.from_numpy(t) for n, t in texts.items()}
    )
    warm = 20.0 if apart else 7.0
    scalings = {
        name: LogitScaling(torch.tensor(warm, dtype=torch.float64)) for name in ("L2", "L3")
    }
    scalings["L1"] = LogitScaling(torch.tensor(7.0, dtype=torch.float64))
    losses = three_losses(vectors, scalings.__getitem__, rows, objective)
    slow = [slow_info_nce(images, texts[name], 7.0, mask, with_image)
            for name in (CAPTION, PARAPHRASE_2)]  # fmt: skip
    expected = {
        "L1": sum(slow) / 2,
        "L2": slow_info_nce(texts[CAPTION], texts[PARAPHRASE_1], warm, mask, range(size)),
        "L3": slow_info_nce(texts[PARAPHRASE_1], texts[PARAPHRASE_2], warm, mask, reworded),
    }
    assert {name: float(value) for name, value in losses.items()} == pytest.approx(expected)
    total = expected["L1"] + 0.5 * expected["L2"] + 2 * expected["L3"]
    assert weighted_sum(losses, objective).item() == pytest.approx(total)


@given(seeds)
@settings(max_examples=20)
def test_info_nce_is_symmetric_and_blind_to_row_order(seed):
    a, b = torch.from_numpy(unit(seed, 6, 4)), torch.from_numpy(unit(seed + 1, 6, 4))
    mask = torch.from_numpy(random_mask(seed, 6, 0.3))
    scale, order = torch.tensor(9.0), torch.randperm(6)
    one = float(info_nce(a, b, scale, mask))
    assert float(info_nce(b, a, scale, mask)) == pytest.approx(one)
    shuffled = info_nce(a[order], b[order], scale, mask[order][:, order])
    assert float(shuffled) == pytest.approx(one)


def test_by_hand_two_rows_at_right_angles():
    a = torch.eye(2)
    assert float(info_nce(a, a, torch.tensor(3.0))) == pytest.approx(math.log1p(math.exp(-3)))


def test_temperature_sharpens_what_is_right_and_punishes_what_is_wrong():
    a = torch.eye(3)
    cold, warm = torch.tensor(50.0), torch.tensor(2.0)
    assert info_nce(a, a, cold) < info_nce(a, a, warm)
    assert info_nce(a, a.roll(1, 0), cold) > info_nce(a, a.roll(1, 0), warm)


def test_masked_pairs_have_no_gradient():
    a = torch.eye(3, requires_grad=True)
    b = torch.roll(torch.eye(3), 1, 1).requires_grad_()
    everything = ~torch.eye(3, dtype=torch.bool)
    loss = info_nce(a, b, torch.tensor(5.0), everything)
    loss.backward()
    assert loss.item() == 0 and not a.grad.any() and not b.grad.any()


@given(seeds, st.integers(1, 9), st.integers(1, 4))
def test_distillation_is_the_mean_distance_and_its_shares_sum_up(seed, rows, parts):
    captions, base = (torch.from_numpy(unit(seed + n, rows, 4)) for n in (0, 1))
    whole = float(distillation(captions, base))
    assert whole == pytest.approx(np.mean([1 - a @ b for a, b in zip(captions, base, strict=True)]))
    shares = [float(distillation(captions, base, (part, parts))) for part in range(parts)]
    assert sum(shares) == pytest.approx(whole)
    assert float(distillation(base, base)) == pytest.approx(0, abs=1e-9)


def test_gradients_in_double_precision():
    maker = torch.Generator().manual_seed(1)
    vectors = torch.randn(4, 5, 3, dtype=torch.float64, generator=maker, requires_grad=True)
    scale = torch.tensor(4.0, dtype=torch.float64, requires_grad=True)
    mask = random_mask(3, 5, 0.3)
    chosen = (torch.tensor([0, 2, 3]), torch.arange(5), torch.tensor([1, 2, 4]))
    rows = Rows(*chosen, sharing_of(mask))
    objective = Objective((1.0, 2.0, 0.5), NAMES)

    def total(vectors, scale):
        texts = dict(zip(NAMES, vectors[1:], strict=True))
        vectors = Vectors(vectors[0][rows.with_image], texts)
        losses = three_losses(vectors, lambda _: LogitScaling(scale), rows, objective)
        return weighted_sum(losses, objective)

    assert torch.autograd.gradcheck(total, (vectors, scale))


def test_half_precision_vectors_are_compared_in_full():
    a = torch.nn.functional.normalize(torch.randn(4, 8), dim=-1).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = info_nce(a, a, torch.tensor(100.0))
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(info_nce(a.float(), a.float(), torch.tensor(100.0))))


@pytest.mark.parametrize("rows", [0, 1])
def test_with_no_negatives_the_loss_is_zero_and_harmless(rows):
    a = torch.randn(rows, 4, requires_grad=True)
    loss = info_nce(a, torch.randn(rows, 4), torch.tensor(10.0))
    loss.backward()
    assert loss.item() == 0 and not a.grad.any()


def test_only_the_texts_that_a_loss_needs_go_through_the_tower():
    assert Objective().texts == NAMES
    assert Objective((1, 0, 0)).texts == (PARAPHRASE_2,)
    assert Objective((0, 1, 0), (PARAPHRASE_2,)).texts == (CAPTION, PARAPHRASE_1)
    assert Objective((1, 0, 1), (CAPTION,)).texts == NAMES
    assert objective_of(make_config(control=True)).texts == (CAPTION,)
    assert objective_of(make_config(text_temperature=0.05)).scales == (None, 20, 20)


def test_the_model_in_the_tests_is_causal():
    model = TinyModel()
    ids = model.tokenize(["cat", "a red kite"]).ids
    cut = model.encode_tokens(ids[:1, :5])[0]
    torch.testing.assert_close(model.encode_tokens(ids)[0], cut, rtol=0, atol=1e-6)
