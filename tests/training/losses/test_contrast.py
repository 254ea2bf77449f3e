"""Blockwise losses and their gradients against plain references that use one block."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_losses import random_mask, seeds, sharing_of, slow_info_nce, unit

from paraclip.training.losses import contrast as contrast_module
from paraclip.training.losses.contrast import (
    LOSSES,
    ContrastOptions,
    LogitScaling,
    contrast,
    false_negatives,
)
from paraclip.training.losses.objective import info_nce


def double(*values):
    return [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in values]


def gradients(loss, *inputs):
    return torch.autograd.grad(loss, inputs)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(contrast_module, "BLOCK", 12)


@settings(max_examples=60)
@given(seeds, st.integers(2, 9), st.floats(0.5, 80), st.floats(0, 1), st.integers(1, 40))
def test_blocks_give_value_and_gradient_of_the_plain_loss(seed, rows, scale, share, block):
    a, b, warm = double(unit(seed, rows, 5), unit(seed + 1, rows, 5), scale)
    mask = random_mask(seed, rows, share)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contrast_module, "BLOCK", block)
        ours = contrast(a, b, LogitScaling(warm), ContrastOptions(false_negatives=sharing_of(mask)))
    plain = info_nce(a, b, warm, torch.from_numpy(mask))
    torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-12)
    for one, other in zip(gradients(ours, a, b, warm), gradients(plain, a, b, warm), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("kind", list(LOSSES))
@pytest.mark.parametrize("processes", [1, 2, 3, 11])
def test_the_shares_of_all_processes_sum_up_to_the_loss(kind, processes):
    a, b, scale, bias = double(unit(1, 7, 4), unit(2, 7, 4), 5.0, -2.0)
    scaling = LogitScaling(scale, bias if LOSSES[kind].biased else None)
    whole = contrast(a, b, scaling, ContrastOptions(kind))
    parts = [
        contrast(a, b, scaling, ContrastOptions(kind, share=(k, processes)))
        for k in range(processes)
    ]
    torch.testing.assert_close(sum(parts), whole)
    for one, other in zip(gradients(sum(parts), a, b), gradients(whole, a, b), strict=True):
        torch.testing.assert_close(one, other)


def slow_sigmoid(a, b, scale, bias, negatives, hidden):
    """SigLIP, one pair at a time."""
    total = 0.0
    columns = [*b, *negatives]
    for i in range(len(a)):
        for j, column in enumerate(columns):
            if i != j and hidden[i][j]:
                continue
            sign = 1.0 if i == j else -1.0
            logit = sign * (scale * float(a[i] @ column) + bias)
            total += math.log1p(math.exp(-logit))
    return total / len(a)


@pytest.mark.usefixtures("small_blocks")
def test_sigmoid_equals_its_twin():
    a, b, more = unit(3, 6, 4), unit(4, 6, 4), unit(5, 2, 4)
    mask = random_mask(3, 6, 0.3)
    hidden = np.hstack([mask, np.zeros((6, 2), dtype=bool)])
    tensors = [torch.from_numpy(value) for value in (a, b, more)]
    groups = sharing_of(mask)
    padded = type(groups)(groups.rows, stacked(groups.columns, 2))
    scaling = LogitScaling(torch.tensor(6.0).double(), torch.tensor(-3.0).double())
    ours = contrast(*tensors[:2], scaling, ContrastOptions("sigmoid", padded), tensors[2])
    assert float(ours) == pytest.approx(slow_sigmoid(a, b, 6.0, -3.0, more, hidden))


def stacked(columns, more):
    """The groups' columns, followed by hard negatives that share nothing."""
    from scipy import sparse

    nothing = sparse.csr_array((more, columns.shape[1]), dtype=np.int8)
    return sparse.csr_array(sparse.vstack([columns, nothing]))


def slow_softmax(rows, columns, scale):
    """Mean of -log softmax at the own column, one row at a time."""
    logits = scale * rows @ np.array(columns).T
    return float(np.mean([math.log(np.exp(line - line[i]).sum()) for i, line in enumerate(logits)]))


@pytest.mark.usefixtures("small_blocks")
def test_one_way_and_hard_negatives_equal_their_twin():
    a, b, more = unit(6, 5, 4), unit(7, 5, 4), unit(8, 3, 4)
    tensors = [torch.from_numpy(value) for value in (a, b, more)]
    scaling = LogitScaling(torch.tensor(6.0, dtype=torch.float64))
    one_way = contrast(*tensors[:2], scaling, ContrastOptions("one_way"))
    assert float(one_way) == pytest.approx(slow_softmax(a, b, 6.0))
    forth, back = slow_softmax(a, [*b, *more], 6.0), slow_softmax(b, a, 6.0)
    image = contrast(*tensors[:2], scaling, ContrastOptions(), tensors[2])
    assert float(image) == pytest.approx((forth + back) / 2)
    text = contrast(*tensors[:2], scaling, ContrastOptions(negatives_back=True), tensors[2])
    back = slow_softmax(b, [*a, *more], 6.0)
    assert float(text) == pytest.approx((forth + back) / 2)


def test_a_hard_negative_that_is_somebodys_own_text_is_hidden_from_that_row():
    found = false_negatives(np.array([[1, 2, 3]]), np.array([9, 2]))
    assert found.dense().tolist() == [[False] * 5, [False] * 4 + [True], [False] * 5]
    assert false_negatives(np.array([[1, 2, 3]]), np.array([9, 8])) is None
    chosen = found.among(torch.tensor([1, 2]), extra=2)
    assert chosen.dense().tolist() == [[False, False, False, True], [False] * 4]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("kind", list(LOSSES))
def test_gradients_of_every_kind_in_double_precision(kind):
    a, b, more, scale, bias = double(unit(1, 5, 3), unit(2, 5, 3), unit(3, 2, 3), 4.0, -1.0)
    groups = sharing_of(random_mask(5, 5, 0.3))
    plan = ContrastOptions(
        kind, type(groups)(groups.rows, stacked(groups.columns, 2)), negatives_back=True
    )

    def loss(a, b, more, scale, bias):
        return contrast(a, b, LogitScaling(scale, bias), plan, more)

    assert torch.autograd.gradcheck(loss, (a, b, more, scale, bias))


def test_all_rows_alike_leaves_no_denominator_and_half_precision_is_widened():
    a = torch.nn.functional.normalize(torch.randn(4, 8), dim=-1).bfloat16().requires_grad_()
    plan = ContrastOptions(false_negatives=false_negatives(np.array([[7, 7, 7, 7]])))
    loss = contrast(a, a, LogitScaling(torch.tensor(100.0)), plan)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == 0 and not a.grad.any()


def test_of_a_large_batch_only_a_block_is_held(monkeypatch):
    heights = []
    logits = contrast_module.block_logits

    def watched(*arguments):
        found = logits(*arguments)
        heights.append(found.numel())
        return found

    monkeypatch.setattr(contrast_module, "BLOCK", 1000)
    monkeypatch.setattr(contrast_module, "block_logits", watched)
    a = torch.from_numpy(unit(1, 200, 4)).requires_grad_()
    contrast(a, a, LogitScaling(torch.tensor(5.0)), ContrastOptions()).backward()
    assert max(heights) == 1000 and len(heights) == 80


def test_slow_twins_agree_with_each_other():
    a, b = unit(9, 4, 3), unit(10, 4, 3)
    both = (slow_softmax(a, b, 3.0) + slow_softmax(b, a, 3.0)) / 2
    nobody = np.zeros((4, 4), dtype=bool)
    assert slow_info_nce(a, b, 3.0, nobody, range(4)) == pytest.approx(both)
