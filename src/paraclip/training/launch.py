"""Joining the other processes of a run, which torchrun or SLURM started.

Where one fails or dies, its connections close; the others notice at their next exchange and end
with an error of one line. torchrun stops them even before that.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import record

from paraclip.errors import UserError
from paraclip.training.processes import ALONE, CommunicationError, Processes, this_process

LONGEST_WAIT = timedelta(hours=12)
"""Most that the others wait while one works alone: the first computes image features, or judges. A
process that is gone is noticed at once, whatever this says."""


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
