"""Contrastive losses over batches of any size: the B x B similarities never exist at once.

Rows are compared with all columns block by block; each block's gradient is taken while the block
is there, and only the sums stay. Memory: a few blocks of `BLOCK` similarities, and the gradients
of the vectors, O(B D) for B rows of width D. Processes take shares of the rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from paraclip.training.losses.false_negatives import FalseNegatives

BLOCK = 1 << 22
"""Similarities of one block: 16 MiB in float32."""


def softmax_rows(logits: Tensor, own: Tensor) -> Tensor:
    """Sum over rows of -log softmax at the own column; InfoNCE of van den Oord et al. 2018."""
    return F.cross_entropy(logits, own, reduction="sum")


def sigmoid_rows(logits: Tensor, own: Tensor) -> Tensor:
    """Sum over all pairs of -log sigmoid(z logit), z = 1 at the own column and -1 elsewhere.

    Source: SigLIP, Zhai et al. 2023, equation 1. Note -log sigmoid(x) = softplus(x) - x.
    """
    return F.softplus(logits).sum() - logits.gather(1, own.unsqueeze(1)).sum()


@dataclass(frozen=True)
class ContrastiveLoss:
    """A contrastive loss.

    Args:
        of_rows: from logits [R, C] and each row's own column [R] to the sum of their losses.
        both_ways: whether b looks for a as well as a for b; the two are averaged.
        biased: whether a learned bias is added to the logits.
    """

    of_rows: Callable[[Tensor, Tensor], Tensor]
    both_ways: bool
    biased: bool = False


LOSSES: dict[str, ContrastiveLoss] = {
    "info_nce": ContrastiveLoss(softmax_rows, both_ways=True),
    "one_way": ContrastiveLoss(softmax_rows, both_ways=False),
    "sigmoid": ContrastiveLoss(sigmoid_rows, both_ways=False, biased=True),
}


@dataclass(frozen=True)
class Plan:
    """How a and b are compared.

    Args:
        kind: name of the loss in `LOSSES`.
        false_negatives: pairs that leave the denominators, or None.
        share: (k, n) computes the k-th of n shares of the rows; the shares' losses sum up.
        negatives_back: whether b, too, is compared with the hard negatives.
    """

    kind: str = "info_nce"
    false_negatives: FalseNegatives | None = None
    share: tuple[int, int] = (0, 1)
    negatives_back: bool = False

    def blocks(self, rows: int, columns: int) -> Iterator[tuple[int, int]]:
        """Start and stop of each block of this share of the rows."""
        part, parts = self.share
        first, last = rows * part // parts, rows * (part + 1) // parts
        height = max(1, BLOCK // columns)
        for start in range(first, last, height):
            yield start, min(start + height, last)


@dataclass(frozen=True)
class LogitScaling:
    """What turns a cosine into a logit.

    Args:
        scale: inverse temperature, a scalar.
        bias: added to it, a scalar; the sigmoid loss has one.
    """

    scale: Tensor
    bias: Tensor | None = None


def contrast(
    a: Tensor, b: Tensor, scaling: LogitScaling, plan: Plan, negatives: Tensor | None = None
) -> Tensor:
    """A contrastive loss, equal to `losses.info_nce` for the kind of that name.

    Args:
        a: unit vectors [N, D].
        b: unit vectors [N, D]; row i is the positive of row i.
        scaling: inverse temperature and bias.
        plan: which loss, on which share of the rows, and which pairs are no fair negatives.
        negatives: unit vectors [M, D] of hard negatives: columns beside b.

    Returns:
        This share's part of the mean over all N rows, a scalar in float32 or wider, with first
        derivatives. With fewer than two rows there is nothing to tell apart and it is 0.
    """
    if len(a) < 2:
        return (a.sum() + b.sum()) * 0.0
    wide = torch.promote_types(a.dtype, torch.float32)
    tensors = (a, b, negatives, scaling.scale, scaling.bias)
    total: Tensor = Blockwise.apply(  # type: ignore[no-untyped-call]
        plan, *(None if tensor is None else tensor.to(wide) for tensor in tensors)
    )
    return total / len(a)


class Blockwise(torch.autograd.Function):
    """The sum of all blocks' losses; the gradients are ready when the loss is."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, *tensors: Tensor | None) -> Tensor:
        """Loss of (a, b, negatives, scale, bias), a scalar."""
        needs = list(ctx.needs_input_grad[1:])
        leaves: list[Any] = [
            None if tensor is None else tensor.detach().requires_grad_(need)
            for tensor, need in zip(tensors, needs, strict=True)
        ]
        kind = leaves[0].device.type
        with torch.set_grad_enabled(any(needs)), torch.autocast(kind, enabled=False):
            total = sum_of_blocks(plan, *leaves)
        # Zeros where this share has no rows: its gradient still meets those of other processes.
        ctx.gradients = [
            (torch.zeros_like(leaf) if leaf.grad is None else leaf.grad) if need else None
            for leaf, need in zip(leaves, needs, strict=True)
        ]
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        """The gradients of the inputs of `forward`."""
        return None, *(None if own is None else own * outer[0] for own in ctx.gradients)


def sum_of_blocks(
    plan: Plan, a: Tensor, b: Tensor, negatives: Tensor | None, scale: Tensor, bias: Tensor | None
) -> Tensor:
    """The loss, with the gradients added up in the leaves; each block's graph ends with it."""
    kind = LOSSES[plan.kind]
    ways = [(a, b, True)] + [(b, a, plan.negatives_back)] * kind.both_ways
    total = a.new_zeros(())
    for rows, columns, beside in ways:
        more = negatives if beside else None
        for start, stop in plan.blocks(
            len(rows), len(columns) + (0 if more is None else len(more))
        ):
            logits = block_logits(rows[start:stop], columns, more, scale, bias)  # [R, C]
            mask_false_negatives(logits, plan.false_negatives, start, stop)
            own = torch.arange(start, stop, device=a.device)
            loss = kind.of_rows(logits, own) / len(ways)
            if loss.requires_grad:
                loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
    return total


def block_logits(
    rows: Tensor, columns: Tensor, more: Tensor | None, scale: Tensor, bias: Tensor | None
) -> Tensor:
    """Logits [R, C] of some rows against all columns, hard negatives last."""
    warm = scale * rows
    logits = warm @ columns.T
    if more is not None:
        logits = torch.cat([logits, warm @ more.T], dim=1)
    return logits if bias is None else logits + bias


def mask_false_negatives(
    logits: Tensor, pairs: FalseNegatives | None, start: int, stop: int
) -> None:
    """Take the false negatives of these rows out of the denominators, in place."""
    if pairs is None:
        return
    row, column = pairs.pairs(start, stop)
    inside = column < logits.shape[1]  # this way may be without the hard negatives
    logits[row[inside].to(logits.device), column[inside].to(logits.device)] = -torch.inf
