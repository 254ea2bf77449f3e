"""Contrastive losses over batches of any size, without the whole B x B similarity matrix.

Rows are compared with all columns block by block. The gradient of each block is computed while the
block exists, and only the sums are kept. Memory: a few blocks of `BLOCK` similarities, and the
gradients of the vectors, O(B D) for B rows of width D. Processes share the rows.

Rows that share a picture or a text are not negatives of each other. Only a sparse membership matrix
of these groups is kept; the pairs of a block of rows are computed with the block.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F

Integers = NDArray[np.int64]
BLOCK = 1 << 22
"""Number of similarities in a block: 16 MiB in float32."""


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
        of_rows: maps logits [R, C] and each row's own column [R] to the sum of their losses.
        both_ways: whether both directions, a to b and b to a, are computed and averaged.
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
class FalseNegatives:
    """The rows that share a key."""

    rows: sparse.csr_array  # sparse int8 [B, groups]; above 0 where the row is in the group
    # the same for the columns that rows are compared with: [B, groups], followed by the M hard
    # negatives of the batch, [B + M, groups]
    columns: sparse.csr_array

    def among(self, chosen: Tensor, extra: int = 0) -> "FalseNegatives":
        """The same for a selection of rows [N]; the last `extra` columns stay at the end."""
        places = chosen.cpu().numpy()
        behind = np.arange(self.columns.shape[0] - extra, self.columns.shape[0])
        return FalseNegatives(self.rows[places], self.columns[np.concatenate([places, behind])])

    def pairs(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """False negatives of the rows from `start` to `stop`: int64 row - start, and column."""
        shared = (self.rows[start:stop] @ self.columns.T).tocoo()
        row, column = shared.row.astype(np.int64), shared.col.astype(np.int64)
        others = row + start != column  # the diagonal contains the positives
        return torch.from_numpy(row[others]), torch.from_numpy(column[others])

    def dense(self) -> Tensor:
        """Bool [B, columns], for small batches only."""
        mask = torch.zeros(self.rows.shape[0], self.columns.shape[0], dtype=torch.bool)
        mask[self.pairs(0, len(mask))] = True
        return mask


def false_negatives(keys: Integers, negatives: Integers | None = None) -> FalseNegatives | None:
    """Find rows that share a key: the same picture, or the same text on either side.

    Args:
        keys: int64 [kinds, B]; image keys and text keys must not overlap.
        negatives: int64 [M], keys of the batch's hard negatives.

    Returns:
        None if no two rows share a key.
    """
    kinds, count = keys.shape
    behind = np.zeros(0, dtype=np.int64) if negatives is None else negatives
    every = np.concatenate([keys.ravel(), behind])
    place = np.concatenate([np.tile(np.arange(count), kinds), count + np.arange(len(behind))])
    entries = np.unique(np.stack([every, place]), axis=1)  # a row may have a key twice
    _, group, counts = np.unique(entries[0], return_inverse=True, return_counts=True)
    shared = (counts > 1)[group]
    if not shared.any():
        return None
    ones = np.ones(int(shared.sum()), dtype=np.int8)
    shape = (count + len(behind), len(counts))
    columns = sparse.csr_array((ones, (entries[1][shared], group[shared])), shape=shape)
    return FalseNegatives(columns[:count], columns)


@dataclass(frozen=True)
class ContrastOptions:
    """How a and b are compared."""

    kind: str = "info_nce"  # name of the loss in `LOSSES`
    false_negatives: FalseNegatives | None = None  # pairs that leave the denominators, or None
    # (k, n) computes the k-th of n shares of the rows; the losses of the shares add up
    share: tuple[int, int] = (0, 1)
    negatives_back: bool = False  # whether b is also compared with the hard negatives

    def blocks(self, rows: int, columns: int) -> Iterator[tuple[int, int]]:
        """Start and stop of each block of this share of the rows."""
        part, parts = self.share
        first, last = rows * part // parts, rows * (part + 1) // parts
        height = max(1, BLOCK // columns)
        for start in range(first, last, height):
            yield start, min(start + height, last)


@dataclass(frozen=True)
class LogitScaling:
    """Parameters that turn a cosine into a logit."""

    scale: Tensor  # inverse temperature, a scalar
    bias: Tensor | None = None  # scalar added to the logit; only for the sigmoid loss


def contrast(
    a: Tensor,
    b: Tensor,
    scaling: LogitScaling,
    plan: ContrastOptions,
    negatives: Tensor | None = None,
) -> Tensor:
    """A contrastive loss, for "info_nce" equal to `losses.info_nce`.

    Args:
        a: unit vectors [N, D].
        b: unit vectors [N, D]; row i is the positive of row i.
        scaling: inverse temperature and bias.
        plan: which loss, on which share of the rows, and which pairs are false negatives.
        negatives: unit vectors [M, D] of hard negatives, as columns in addition to b.

    Returns:
        This share's part of the mean over all N rows, a scalar in float32 or wider, with first
        derivatives. With fewer than two rows there are no negatives, and it is 0.
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
    """The sum of all blocks' losses; gradients are computed together with the loss."""

    @staticmethod
    def forward(ctx: Any, plan: ContrastOptions, *tensors: Tensor | None) -> Tensor:
        """Loss of (a, b, negatives, scale, bias), a scalar."""
        needs = list(ctx.needs_input_grad[1:])
        leaves: list[Any] = [
            None if tensor is None else tensor.detach().requires_grad_(need)
            for tensor, need in zip(tensors, needs, strict=True)
        ]
        kind = leaves[0].device.type
        with torch.set_grad_enabled(any(needs)), torch.autocast(kind, enabled=False):
            total = sum_of_blocks(plan, *leaves)
        # Zeros if this share has no rows, because other processes wait for its gradient.
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
    plan: ContrastOptions,
    a: Tensor,
    b: Tensor,
    negatives: Tensor | None,
    scale: Tensor,
    bias: Tensor | None,
) -> Tensor:
    """The loss; gradients are added up in the leaves, and each block's graph is freed with it."""
    kind = LOSSES[plan.kind]
    ways = [(a, b, True)] + [(b, a, plan.negatives_back)] * kind.both_ways
    total = a.new_zeros(())
    for rows, columns, with_negatives in ways:
        more = negatives if with_negatives else None
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
    """Remove the false negatives of these rows from the denominators, in place."""
    if pairs is None:
        return
    row, column = pairs.pairs(start, stop)
    inside = column < logits.shape[1]  # this direction may lack the hard negatives
    logits[row[inside].to(logits.device), column[inside].to(logits.device)] = -torch.inf
