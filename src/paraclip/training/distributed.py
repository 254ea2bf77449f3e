"""Training of one model by several processes, and their communication.

Each process encodes its own rows and gathers the vectors of the others, then computes its rows of
the similarity matrix against all columns; the gradients are summed. The gradient therefore equals
that of one process on the whole batch, for any number of processes and any division of the rows.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from paraclip.errors import UserError


class _CommunicationError(Exception):
    """Communication failed because another process ended or used mismatched tensors."""


@dataclass(frozen=True)
class Processes:
    """The rank of this process and the number of processes in the run."""

    rank: int = 0  # rank of this process; rank 0 writes files
    count: int = 1  # number of processes

    @property
    def share(self) -> tuple[int, int]:
        """Rank and count, as expected by `Examples.batch` and `compute_losses`."""
        return self.rank, self.count

    @property
    def first(self) -> bool:
        """Whether this process has rank 0 and writes files."""
        return self.rank == 0

    def gather(self, own: Tensor, sizes: Sequence[int]) -> Tensor:
        """Gather the rows [sizes[rank], D] of all processes in rank order; gradients flow back to
        each process."""
        if self.count == 1:
            return own
        gathered: Tensor = _Gather.apply(own, self.rank, tuple(sizes))  # type: ignore[no-untyped-call]
        return gathered

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in one communication."""
        every = list(tensors)
        if self.count == 1 or not every:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in every])
        with _communicating():
            dist.all_reduce(flat)
        pieces = torch.split(flat, [tensor.numel() for tensor in every])
        for tensor, piece in zip(every, pieces, strict=True):
            tensor.copy_(piece.view_as(tensor))

    def from_first(self, value: Any) -> Any:
        """Broadcast a JSON-serialisable value from the first process; the others wait for it."""
        if self.count == 1:
            return value
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"  # NCCL sends only from GPUs
        encoded = torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8, device=device)
        size = torch.tensor([len(encoded)], device=device)
        with _communicating():
            dist.broadcast(size, src=0)
            encoded = encoded if self.first else encoded.new_empty(int(size))
            dist.broadcast(encoded, src=0)
        return json.loads(bytes(encoded.tolist()))

    def check_alike(self, identity: Any) -> None:
        """Check that all processes have the same data, weights and options."""
        here = json.loads(json.dumps(identity))  # as after a broadcast: lists instead of tuples
        if self.from_first(here) != here:
            what = f"process {self.rank} has other rows, weights or options than process 0"
            raise UserError("processes", what, "Give all of them the same files and options.")

    def wait(self) -> None:
        """Wait until all processes reach this point."""
        if self.count > 1:
            with _communicating():
                dist.barrier()

    @contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """Run the block in the first process before the others, to fill caches or create files."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()


ALONE = Processes()


def this_process() -> Processes:
    """Return rank and count of this process; `ALONE` without a process group."""
    if not (dist.is_available() and dist.is_initialized()):
        return ALONE
    return Processes(dist.get_rank(), dist.get_world_size())


@contextmanager
def _communicating() -> Iterator[None]:
    """Convert errors of communication, mostly from a process that ended, to CommunicationError."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise _CommunicationError(str(error)) from error


class _Gather(torch.autograd.Function):
    """Gathering of rows from all processes; the gradient of a row is summed over processes."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, rank: int, sizes: tuple[int, ...]) -> Tensor:
        """Return all rows [sum of sizes, D]; parts are padded to the longest for the transfer."""
        ctx.start, ctx.size = sum(sizes[:rank]), sizes[rank]
        padded = own.new_zeros(max(sizes), *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in sizes]
        with _communicating():
            dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Return this process's rows of the summed gradient."""
        total = gradients[0].contiguous().clone()  # `all_reduce` works in place
        with _communicating():
            dist.all_reduce(total)
        return total[ctx.start : ctx.start + ctx.size], None, None


_LONGEST_WAIT = timedelta(hours=12)
"""Longest wait while only the first process works (on image features or an evaluation). A process
that died is detected immediately."""


def _placed(environment: Mapping[str, str]) -> dict[str, str]:
    """Return RANK, WORLD_SIZE and LOCAL_RANK from torchrun or from SLURM's `srun`.

    With `srun` alone, MASTER_ADDR and MASTER_PORT must be set manually. The result is empty
    without a launcher, or without MASTER_ADDR under `srun`.
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
def each_process(device: str) -> Iterator[str]:
    """Run the block in all processes that torchrun or SLURM started together, and yield the device
    of this one: the user's, with several GPUs one each; a process alone has nothing to join.

    Only the first process prints in the block; errors that leave it are shown by all, and reported
    to torchrun.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic sums on a GPU
    place = _placed(os.environ)
    if int(place.get("WORLD_SIZE", "1")) < 2:
        yield device
        return
    os.environ.update(place)
    device = _own_device(device, int(place.get("LOCAL_RANK", "0")))
    try:
        dist.init_process_group("gloo" if device == "cpu" else "nccl", timeout=_LONGEST_WAIT)
    except (RuntimeError, ValueError) as error:
        hint = "Start all of them with the same torchrun options; see docs/guide/train.md."
        raise UserError("processes", "the other processes did not start", hint) from error
    processes, errors = this_process(), get_error_handler()
    processes.wait()  # NCCL connects at the first communication
    errors.initialize()
    try:
        with ExitStack() as silence:
            if not processes.first:
                os.environ["PARACLIP_QUIET"] = "1"
                nowhere = silence.enter_context(open(os.devnull, "w", encoding="utf-8"))
                silence.enter_context(redirect_stdout(nowhere))
                silence.enter_context(redirect_stderr(nowhere))
            yield device
            processes.wait()
    except BaseException as error:
        if isinstance(error, Exception):
            errors.record_exception(error)
        if device == "cpu":  # notifies the others; NCCL could block here
            dist.destroy_process_group()
        if isinstance(error, _CommunicationError):
            rank = f"process {processes.rank} of {processes.count}"
            what = f"{rank} lost another one, which failed or died"
            hint = "If it failed, it says why. The same command again resumes from the last state."
            raise UserError("processes", what, hint) from error
        raise
    dist.destroy_process_group()


def _own_device(device: str, local_rank: int) -> str:
    """Return the device of a process, given its rank on the local machine."""
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
