"""Joining the other processes of a run, and noticing when one of them is gone.

Every process says through the common store that it is alive, in a thread, whatever else it does
(minutes of evaluation in the first one are no reason to give it up). One that is silent for
`SILENCE` seconds is taken for dead. Whoever finds that out, or fails itself, tells the others,
and all stop at once: one of them says why, to the user, on one line.
"""

import os
import sys
import threading
import time
import traceback
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from paraclip.errors import UserError
from paraclip.training.processes import ALONE, CommunicationError, Processes, this_process

BEAT, SILENCE = 1.0, 30.0  # seconds
DOUBT = 6.0
"""Seconds of silence that are enough once talking to the others has failed."""
STARTING = timedelta(minutes=10)
"""Longest wait for the others to start."""
PARTING = 20.0
"""Most seconds that the first process, which has the store, waits for the others' last word."""
DIED = 3
"""Exit code where another process died; where one failed all have its code."""


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
        UserError: the others do not come, or there is no device for each.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # sums in one order, for a GPU
    place = placed(os.environ)
    if int(place.get("WORLD_SIZE", "1")) < 2:
        yield ALONE, device
        return
    os.environ.update(place)
    device = own_device(device, int(place.get("LOCAL_RANK", "0")))
    with meeting("gloo" if device == "cpu" else "nccl") as store, ExitStack() as stack:
        processes = this_process()
        heart = Heartbeat(store, processes, silence)
        if not processes.first:
            os.environ["PARACLIP_QUIET"] = "1"
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        try:
            yield processes, device
            processes.wait()
        except BaseException as error:
            if isinstance(error, CommunicationError):
                heart.find_out()
            heart.fails(error)
        heart.ends()


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
        hint = "Start all of them with the same torchrun options; see docs/training.md."
        raise UserError("processes", "the others did not come", hint) from error
    # NCCL connects at the first word. It must not wait for it while one process computes.
    this_process().wait()
    yield store
    dist.destroy_process_group()


class Heartbeat:
    """Beats for this process and listens to the others'.

    Args:
        store: shared by all; the first process has it, or torchrun.
        processes: this one among the others.
        silence: seconds without a beat after which a process is taken for dead.
    """

    def __init__(self, store: Any, processes: Processes, silence: float) -> None:
        self.store, self.processes, self.silence = store, processes, silence
        self.others = [rank for rank in range(processes.count) if rank != processes.rank]
        self.heard = {rank: (b"", time.monotonic()) for rank in self.others}
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.listen, daemon=True, name="heart")
        self.thread.start()

    def listen(self) -> None:
        """Beat and listen until this process is done or all have to stop."""
        beats = 0
        while not self.stopping.wait(BEAT):
            beats += 1
            try:
                self.store.set(f"paraclip/beat/{self.processes.rank}", str(beats))
                if self.store.check(["paraclip/end"]):
                    code, *dead = map(int, self.store.get("paraclip/end").split())
                    self.exit(code, dead)
                gone = self.silent()
            except RuntimeError:  # the store went with the process that has it
                gone = {0}
            if gone and not self.stopping.is_set():
                self.leave(gone)

    def silent(self) -> set[int]:
        """The processes that were silent too long."""
        found, now = set(), time.monotonic()
        for rank, (last, when) in self.heard.items():
            key = f"paraclip/beat/{rank}"
            word = self.store.get(key) if self.store.check([key]) else b""
            if word != last:
                self.heard[rank] = (word, now)
            elif now - when > self.silence:
                found.add(rank)
        return found

    def leave(self, gone: set[int]) -> NoReturn:
        """Another process died: stop all that are left."""
        names = ", ".join(map(str, sorted(gone)))
        self.stop_all(
            f"paraclip: process {names} of {self.processes.count} died; all others stop. "
            "The same command again goes on from the last state.",
            DIED,
            gone,
        )

    def fails(self, error: BaseException) -> NoReturn:
        """This process ends by an error: stop all."""
        self.stop()
        if isinstance(error, UserError):
            self.stop_all(f"paraclip: {error}", 2)
        if isinstance(error, KeyboardInterrupt):
            self.stop_all("paraclip: stopped. The same command again goes on from here.", 130)
        self.stop_all("".join(traceback.format_exception(error)), 1)

    def stop_all(self, why: str, code: int, gone: Collection[int] = ()) -> NoReturn:
        """End this process and, through the store, all others; only the first to do so speaks.

        It speaks before it tells: torchrun kills all that are left once one has ended.
        """
        try:
            if self.store.add("paraclip/told", 1) == 1:
                say(why)
                self.store.set("paraclip/end", " ".join(map(str, (code, *gone))))
            else:
                self.store.wait(["paraclip/end"], timedelta(seconds=PARTING))
        except RuntimeError:  # the store went with the first process, which cannot speak
            if self.processes.rank == 1:
                say(why)
        self.exit(code, gone)

    def exit(self, code: int, gone: Collection[int] = ()) -> NoReturn:
        """End this process as it is: it may hang in a word to one that is gone."""
        self.part(gone)
        sys.stdout.flush()
        os._exit(code)

    def part(self, gone: Collection[int] = ()) -> None:
        """The last word; the process that has the store waits for that of all that are left."""
        left = [f"paraclip/parted/{rank}" for rank in self.others if rank not in gone]
        latest = time.monotonic() + PARTING
        with suppress(RuntimeError):  # one that was slow finds no store
            self.store.set(f"paraclip/parted/{self.processes.rank}", "1")
            while self.processes.first and time.monotonic() < latest:
                if not left or self.store.check(left):
                    break
                time.sleep(BEAT / 10)

    def find_out(self) -> None:
        """Talking failed: this process ends if another is gone; return if all are there."""
        self.silence = min(self.silence, DOUBT)
        self.stopping.wait(self.silence + 3 * BEAT)

    def ends(self) -> None:
        """All processes are done; the one that has the store ends last."""
        self.stop()
        self.part()

    def stop(self) -> None:
        """Beat and listen no more."""
        self.stopping.set()
        self.thread.join()


def say(line: str) -> None:
    """A line for the user, also from a process whose standard error goes nowhere."""
    if sys.__stderr__ is not None:
        print(line.rstrip(), file=sys.__stderr__, flush=True)
