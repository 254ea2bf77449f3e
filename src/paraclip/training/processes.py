"""Several processes that train one model: who makes which rows, and what they tell each other.

Each process makes the vectors of its own rows and gathers the others'; each computes its share
of the similarities' rows against all columns; the gradients are summed. So the gradient is that
of one process on the whole batch, whatever their number and however unevenly the rows divide.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from paraclip.errors import UserError


class CommunicationError(Exception):
    """An exchange with the other processes failed: one of them is gone, or used other tensors."""


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
        with communicating():
            dist.all_reduce(flat)
        pieces = torch.split(flat, [tensor.numel() for tensor in every])
        for tensor, piece in zip(every, pieces, strict=True):
            tensor.copy_(piece.view_as(tensor))

    def told_by_first(self, value: Any) -> Any:
        """What the first process has here, JSON-able; the others wait for it."""
        if self.count == 1:
            return value
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        told = torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8, device=device)
        size = torch.tensor([len(told)], device=device)
        with communicating():
            dist.broadcast(size, src=0)
            told = told if self.first else told.new_empty(int(size))
            dist.broadcast(told, src=0)
        return json.loads(bytes(told.tolist()))

    def check_alike(self, identity: Any) -> None:
        """All processes must have the same data, weights and options.

        Raises:
            UserError: this one has others than the first.
        """
        here = json.loads(json.dumps(identity))  # as the others are told it: lists, no tuples
        if self.told_by_first(here) != here:
            what = f"process {self.rank} has other rows, weights or options than process 0"
            raise UserError("processes", what, "Give all of them the same files and options.")

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            with communicating():
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
def communicating() -> Iterator[None]:
    """Give an error of an exchange, most often because a process is gone, a kind of its own."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise CommunicationError(str(error)) from error


class Gather(torch.autograd.Function):
    """Rows of all processes; the gradient of a row is the sum of what all of them found."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, rank: int, sizes: tuple[int, ...]) -> Tensor:
        """All rows [sum of sizes, D]. The shorter parts travel padded to the longest."""
        ctx.start, ctx.size = sum(sizes[:rank]), sizes[rank]
        padded = own.new_zeros(max(sizes), *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in sizes]
        with communicating():
            dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """This process's rows of the summed gradient."""
        total = gradients[0].contiguous().clone()
        with communicating():
            dist.all_reduce(total)
        return total[ctx.start : ctx.start + ctx.size], None, None
