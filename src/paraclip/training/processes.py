"""Several processes that train one model: who makes which rows, and what they tell each other.

Each process makes the vectors of its own rows and gathers the others'; each computes its share
of the similarities' rows against all columns; the gradients are summed. So the gradient is that
of one process on the whole batch, whatever their number and however unevenly the rows divide.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = 45.0
"""Seconds: more than it takes to notice that a process is gone."""


@dataclass(frozen=True)
class Processes:
    """This process among those of the run.

    Args:
        rank: its number, from 0; number 0 writes.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def share(self) -> tuple[int, int]:
        """As `Examples.batch` and `three_losses` take it."""
        return self.rank, self.count

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def gather(self, own: Tensor, sizes: Sequence[int]) -> Tensor:
        """Rows of all processes, in their order, with gradients that flow back to each.

        Args:
            own: this process's rows [sizes[rank], D].
            sizes: the rows of every process.
        """
        if self.count == 1:
            return own
        gathered: Tensor = Gather.apply(own, self.rank, tuple(sizes))  # type: ignore[no-untyped-call]
        return gathered

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by the sum over all processes; they travel as one."""
        every = list(tensors)
        if self.count == 1 or not every:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in every])
        with patience():
            dist.all_reduce(flat)
        pieces = torch.split(flat, [tensor.numel() for tensor in every])
        for tensor, piece in zip(every, pieces, strict=True):
            tensor.copy_(piece.view_as(tensor))

    def told_by_first(self, value: Any) -> Any:
        """What the first process has here; the others wait for it."""
        if self.count == 1:
            return value
        told = [value]
        with patience():
            dist.broadcast_object_list(told, src=0)
        return told[0]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            with patience():
                dist.barrier()

    @contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """The first process does the block before the others do: it fills caches, makes files."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()


ALONE = Processes()


def this_process() -> Processes:
    """This process among those that joined; alone where nobody did."""
    if not (dist.is_available() and dist.is_initialized()):
        return ALONE
    return Processes(dist.get_rank(), dist.get_world_size())


@contextmanager
def patience() -> Iterator[None]:
    """Where talking to the others fails, one of them is gone: wait until that is noticed.

    The thread that listens to the others (`launch.Heart`) then ends this process with a message
    that says who it was; the error here could not.
    """
    try:
        yield
    except (RuntimeError, ValueError):
        time.sleep(PATIENCE)
        raise


class Gather(torch.autograd.Function):
    """Rows of all processes; the gradient of a row is the sum of what all of them found."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, rank: int, sizes: tuple[int, ...]) -> Tensor:
        """All rows [sum of sizes, D]. The shorter parts travel padded to the longest."""
        ctx.start, ctx.size = sum(sizes[:rank]), sizes[rank]
        padded = own.new_zeros(max(sizes), *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in sizes]
        with patience():
            dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """This process's rows of the summed gradient."""
        total = gradients[0].contiguous().clone()
        with patience():
            dist.all_reduce(total)
        return total[ctx.start : ctx.start + ctx.size], None, None
