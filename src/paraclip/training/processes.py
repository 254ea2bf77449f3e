"""Several processes that train one model: which rows each computes, and what they exchange.

Each process makes the vectors of its own rows and gathers the others'; each computes its share
of the similarities' rows against all columns; the gradients are summed. So the gradient is that
of one process on the whole batch, whatever their number and however unevenly the rows divide.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.elastic.multiprocessing.errors import record

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

    def from_first(self, value: Any) -> Any:
        """Broadcast a JSON-able value of the first process; the others wait for it."""
        if self.count == 1:
            return value
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        encoded = torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8, device=device)
        size = torch.tensor([len(encoded)], device=device)
        with communicating():
            dist.broadcast(size, src=0)
            encoded = encoded if self.first else encoded.new_empty(int(size))
            dist.broadcast(encoded, src=0)
        return json.loads(bytes(encoded.tolist()))

    def check_alike(self, identity: Any) -> None:
        """All processes must have the same data, weights and options.

        Raises:
            UserError: this one has others than the first.
        """
        here = json.loads(json.dumps(identity))  # as it arrives at the others: lists, no tuples
        if self.from_first(here) != here:
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
    """This process among those that joined; `ALONE` where none did."""
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


LONGEST_WAIT = timedelta(hours=12)
"""Longest wait while the first process works alone: it computes image features, or evaluates. A
process that died is noticed at once."""


def placed(environment: Mapping[str, str]) -> dict[str, str]:
    """RANK, WORLD_SIZE and LOCAL_RANK as torchrun sets them, or as SLURM's `srun` means them.

    Under `srun` alone MASTER_ADDR and MASTER_PORT must be set by hand; without them, or with one
    process, there is nothing to join.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        return {name: environment[name] for name in names if name in environment}
    if "SLURM_PROCID" in environment and "MASTER_ADDR" in environment:
        return {
            "RANK": environment["SLURM_PROCID"],
            "WORLD_SIZE": environment["SLURM_NTASKS"],
            "LOCAL_RANK": environment.get("SLURM_LOCALID", "0"),
        }
    return {}


@contextmanager
def joined(device: str) -> Iterator[tuple[Processes, str]]:
    """Join the processes that were started together; alone there is nothing to do.

    Args:
        device: as the user gives it; with several GPUs each process takes its own.

    Yields:
        This process among the others, and its device. All but the first are silent in the block.

    Raises:
        UserError: the others do not come or one of them is gone, or there is no device for each.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # sums in one order, for a GPU
    place = placed(os.environ)
    if int(place.get("WORLD_SIZE", "1")) < 2:
        yield ALONE, device
        return
    os.environ.update(place)
    device = own_device(device, int(place.get("LOCAL_RANK", "0")))
    processes = meet("gloo" if device == "cpu" else "nccl")
    try:
        with silent_but_for_the_first(processes):
            yield processes, device
            processes.wait()
    except BaseException as error:
        if device == "cpu":  # so that the others notice; NCCL might wait for them here
            dist.destroy_process_group()
        if isinstance(error, CommunicationError):
            raise lost(processes) from error
        raise
    dist.destroy_process_group()


@contextmanager
def silent_but_for_the_first(processes: Processes) -> Iterator[None]:
    """Output of all but the first process goes nowhere; errors that leave the block are shown."""
    with ExitStack() as stack:
        if not processes.first:
            os.environ["PARACLIP_QUIET"] = "1"
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        yield


def reported(task: Callable[..., None], processes: Processes) -> Callable[..., object]:
    """The task, such that torchrun reports its error; alone it stays as it is.

    `record` installs a fault handler, which a notebook's standard error does not allow.
    """
    return task if processes.count == 1 else record(task)


def lost(processes: Processes) -> UserError:
    """The error of a process that can no longer reach the others."""
    what = f"process {processes.rank} of {processes.count} lost another one, which failed or died"
    hint = "If it failed, it says why. The same command again resumes from the last state."
    return UserError("processes", what, hint)


def own_device(device: str, local_rank: int) -> str:
    """The device of a process, by its number on its machine.

    Raises:
        UserError: there are more processes than GPUs, or one device is given for all.
    """
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if device not in ("auto", "cuda"):
        what = f"{device} cannot serve several processes"
        raise UserError("--device", what, "Give cpu or cuda: each process takes its own.")
    if local_rank >= torch.cuda.device_count():
        what = f"process {local_rank} of this machine, which has {torch.cuda.device_count()} GPUs"
        raise UserError("processes", what, "Start as many as there are GPUs, or use --device cpu.")
    torch.cuda.set_device(local_rank)
    return f"cuda:{local_rank}"


def meet(backend: str) -> Processes:
    """Start the process group; returns this process among the others.

    Raises:
        UserError: the others do not come.
    """
    try:
        dist.init_process_group(backend, timeout=LONGEST_WAIT)
    except (RuntimeError, ValueError) as error:
        hint = "Start all of them with the same torchrun options; see docs/training.md."
        raise UserError("processes", "the others did not come", hint) from error
    this_process().wait()  # NCCL connects at the first exchange, when all are here
    return this_process()
