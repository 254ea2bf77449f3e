"""Joining the other processes of a run, and noticing when one of them is gone.

Every process says through the common store that it is alive, in a thread, whatever else it does
(minutes of evaluation in the first one are no reason to give it up). One that is silent for
`SILENCE` seconds is taken for dead, and all others stop at once: the lowest of them says so.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from paraclip.errors import UserError
from paraclip.training.processes import ALONE, Processes, this_process

BEAT, SILENCE = 1.0, 30.0  # seconds
STARTING = timedelta(minutes=10)
"""Longest wait for the others to start."""
DONE, FAILED = "done", "failed"
EXIT_CODE = 3


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
def joined(device: str, silence: float = SILENCE) -> Iterator[tuple[Processes, str]]:
    """Join the processes that were started together; alone there is nothing to do.

    Args:
        device: as the user gives it; with several GPUs each process takes its own.
        silence: seconds after which a process is taken for dead.

    Yields:
        This process among the others, and its device.

    Raises:
        UserError: the others do not come.
    """
    place = placed(os.environ)
    if int(place.get("WORLD_SIZE", "1")) < 2:
        yield ALONE, device
        return
    os.environ.update(place)
    on_gpu = device in ("auto", "cuda") and torch.cuda.is_available()
    if on_gpu:
        device = f"cuda:{place.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    with meeting("nccl" if on_gpu else "gloo") as store, ExitStack() as stack:
        processes = this_process()
        heart = Heart(store, processes, silence)
        if not processes.first:
            os.environ["PARACLIP_QUIET"] = "1"
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        try:
            yield processes, device
            processes.wait()
        except BaseException:
            heart.stop(FAILED)
            raise
        heart.stop(DONE)


@contextmanager
def meeting(backend: str) -> Iterator[Any]:
    """The process group, and a store that all share.

    Raises:
        UserError: the others do not come.
    """
    try:
        store, rank, count = next(rendezvous("env://", timeout=STARTING))
        store.set_timeout(STARTING)
        # Collectives wait long: the heart tells a dead process from one that works.
        dist.init_process_group(
            backend, store=store, rank=rank, world_size=count, timeout=timedelta(days=1)
        )
    except (RuntimeError, ValueError) as error:
        mend = "Start all of them with the same torchrun options; see docs/training.md."
        raise UserError("processes", "the others did not come", mend) from error
    try:
        yield store
    finally:
        dist.destroy_process_group()


class Heart:
    """Beats for this process and listens to the others'.

    Args:
        store: shared by all.
        processes: this one among the others.
        silence: seconds without a beat after which a process is taken for dead.
    """

    def __init__(self, store: Any, processes: Processes, silence: float) -> None:
        self.store, self.processes, self.silence = store, processes, silence
        self.stopping = threading.Event()
        self.beats = 0
        self.beat("0")
        self.heard = {
            rank: ("", time.monotonic())
            for rank in range(processes.count)
            if rank != processes.rank
        }
        self.thread = threading.Thread(target=self.listen, daemon=True, name="heart")
        self.thread.start()

    def beat(self, word: str) -> None:
        """Say something new to the others."""
        self.store.set(f"paraclip/beat/{self.processes.rank}", word)

    def stop(self, word: str) -> None:
        """Beat no more; the others read why."""
        self.stopping.set()
        self.thread.join()
        try:
            self.beat(word)
        except RuntimeError:
            return  # the store went with the first process, which was done

    def listen(self) -> None:
        """Beat and listen until this process is done or another is gone."""
        while not self.stopping.wait(BEAT):
            try:
                self.beats += 1
                self.beat(str(self.beats))
                gone = self.gone()
            except RuntimeError:  # the store is where the first process is
                gone = {0}
            if gone and not self.stopping.is_set():
                leave(self.processes, gone)

    def gone(self) -> set[int]:
        """The processes that failed, or were silent too long."""
        found, now = set(), time.monotonic()
        for rank, (last, when) in self.heard.items():
            key = f"paraclip/beat/{rank}"
            word = self.store.get(key).decode() if self.store.check([key]) else ""
            if word != last:
                self.heard[rank] = (word, now)
            elif word != DONE and now - when > self.silence:
                found.add(rank)
            if word == FAILED:
                found.add(rank)
        return found


def leave(processes: Processes, gone: set[int]) -> None:
    """End this process; the lowest that is left says why."""
    left = min(rank for rank in range(processes.count) if rank not in gone)
    if processes.rank == left and sys.__stderr__ is not None:
        names = ", ".join(map(str, sorted(gone)))
        print(
            f"paraclip: process {names} of {processes.count} died or failed; all others stop. "
            "See what it said above; the same command again goes on from the last state.",
            file=sys.__stderr__,
            flush=True,
        )
    os._exit(EXIT_CODE)
