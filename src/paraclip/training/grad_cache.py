"""The gradient of one big contrastive batch in the memory of a micro-batch.

A contrastive loss couples all rows of a batch, but only through their vectors. So:

    pass 1   micro-batch by micro-batch, no graph     -> vectors [B, D]
             the loss on the vectors                  -> their gradient [B, D], the temperature's
    pass 2   micro-batch by micro-batch, with graph   -> the vectors' gradient goes down the tower

Memory beyond model and optimiser: the graph of one micro-batch, and O(B D) for the vectors and
their gradients; B x B similarities never exist at once (`contrast.py`). Price: a second forward
pass. Where there is memory to spare, the first micro-batches keep the graph of pass 1 and do not
pay it.

Dropout must fall alike in both passes: every micro-batch has a seed of its own, made of the
run's seed, the step, the process and its place. So no random state has to be kept anywhere.

Source: GradCache, Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory
Limited Setup", section 3.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Side:
    """What makes the vectors of one side, texts or images.

    Args:
        encode: from a micro-batch to its vectors [n, D].
        micro_batches: whatever `encode` takes; at least one.
        seed: numbers that no other side, step or process of the run has together.
        kept: how many of the first micro-batches keep the graph of pass 1, and so need no second
            forward pass.
        trained: whether any weight wants the gradient of these vectors.
        arithmetic: a context in which `encode` computes: its precision.
        magnified: weights of a tower that computes in fp16: the vectors' gradient, too small for
            it, goes down the tower magnified, and these weights' gradients are made small again.
        damping: so much less are they magnified, where they would overflow.
    """

    encode: Callable[[Any], Tensor]
    micro_batches: Sequence[Any]
    seed: tuple[int, ...]
    kept: int
    trained: bool = True
    arithmetic: Callable[[], AbstractContextManager[Any]] = nullcontext
    magnified: Sequence[Tensor] = ()
    damping: float = 1.0

    def vectors(self, place: int) -> Tensor:
        """Vectors of a micro-batch; each time with the same dropout."""
        torch.manual_seed(mixed(*self.seed, place))
        return self.encode(self.micro_batches[place])

    def first_pass(self) -> list[Tensor]:
        """Vectors of each micro-batch, with a graph only where it is kept."""
        found, wanted = [], torch.is_grad_enabled()
        # Those with a graph come first: autocast casts a weight once, with a graph or without.
        with self.arithmetic():
            for place in range(len(self.micro_batches)):
                with torch.set_grad_enabled(wanted and place < self.kept):
                    found.append(self.vectors(place))
        return found

    def second_pass(self, first: list[Tensor], gradient: Tensor) -> None:
        """Bring the gradient [all rows, D] of the vectors down into the weights'."""
        factor = power_of_two(gradient) * self.damping if self.magnified else 1.0
        pieces = torch.split(gradient * factor, [len(part) for part in first])
        with self.arithmetic():
            for place, (part, piece) in enumerate(zip(first, pieces, strict=True)):
                vectors = part if place < self.kept else self.vectors(place)
                if vectors.requires_grad:
                    vectors.backward(piece.to(vectors.dtype))  # type: ignore[no-untyped-call]
        for weight in self.magnified:
            if weight.grad is not None:
                weight.grad /= factor


def backward(sides: Sequence[Side], loss_of: Callable[..., Tensor]) -> None:
    """Add the gradient of a loss over all vectors to the `.grad` of every weight.

    Args:
        sides: what makes the vectors.
        loss_of: from each side's vectors [its rows, D], in the order of its micro-batches, to a
            scalar. What it holds itself (the temperature) gets its gradient as well.
    """
    first = [side.first_pass() for side in sides]
    leaves = [
        together(parts).requires_grad_(side.trained)
        for side, parts in zip(sides, first, strict=True)
    ]
    loss_of(*leaves).backward()  # type: ignore[no-untyped-call]
    for side, parts, leaf in zip(sides, first, leaves, strict=True):
        if leaf.grad is not None:
            side.second_pass(parts, leaf.grad)


def together(parts: Sequence[Tensor]) -> Tensor:
    """Vectors of all micro-batches without graph, in float32 or wider."""
    vectors = torch.cat([part.detach() for part in parts])
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32))


def mixed(*numbers: int) -> int:
    """One seed of several numbers, such that near numbers give unlike seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def power_of_two(gradient: Tensor) -> float:
    """A factor that brings the largest number of a gradient near 1 and rounds nothing."""
    largest = float(gradient.abs().max()) if gradient.numel() else 0.0
    return 2.0 ** -math.frexp(largest)[1] if 0 < largest < math.inf else 1.0
