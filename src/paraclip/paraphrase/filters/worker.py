"""Judges in separate processes, so that filters do not slow down the questions.

A worker is started as `python -m paraclip.paraphrase.filters.worker` and not by `multiprocessing`,
whose children would run the caller's script again. It reads batches of questions from standard
input and writes verdicts to standard output, one JSON array per line, each with the number of its
batch. It ends with its input, so it never outlives the run, even if the run is killed.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, astuple
from typing import Any

from paraclip.allocator import keep_freed_memory
from paraclip.errors import UserError
from paraclip.paraphrase.config import Limits
from paraclip.paraphrase.filters.checks import FILTERS, Question
from paraclip.paraphrase.filters.desk import JudgingDesk, JudgingDesks, in_thread
from paraclip.paraphrase.filters.judge import Judge, Verdict

SHIPPED = tuple(FILTERS.items())
LONGEST_LINE = 64 << 20  # bytes
MOST_WORKERS = 8
CORES_OF_WORKER = 4  # one judge keeps up with the questions of about this many cores


class WorkerProcess:
    """A judge in another process; the process starts with the first batch.

    Args:
        limits: thresholds of the checks.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: asyncio.subprocess.Process | None = None
        self._sent = 0

    async def judge(self, batch: list[Question]) -> list[Verdict]:
        """Return the verdicts of a batch, in order.

        Raises:
            UserError: a wheel is missing in the worker, or it was killed.
        """
        if self._process is None:
            self._process = await started()
            await self._exchange({"limits": asdict(self._limits)})
        rows = await self._exchange([astuple(question) for question in batch])
        return [Verdict(*row) for row in rows]

    async def _exchange(self, content: Any) -> Any:
        assert self._process and self._process.stdin
        self._sent += 1
        number = self._sent
        try:
            self._process.stdin.write(json.dumps([number, content]).encode() + b"\n")
            await self._process.stdin.drain()
        except ConnectionError:
            pass  # the missing reply is reported below
        answered = 0
        while answered != number:  # earlier replies belong to calls that were cancelled
            answered, reply = await self._reply()
        if isinstance(reply, dict):
            raise UserError(*reply["error"])
        return reply

    async def _reply(self) -> tuple[int, Any]:
        """The next reply with the number of its batch."""
        assert self._process and self._process.stdout
        line = await self._process.stdout.readline()
        if not line.endswith(b"\n"):
            code = await self._process.wait()
            hint = "It may have run out of memory; the same command resumes."
            raise UserError("filters", f"their process ended with exit code {code}", hint)
        number, reply = json.loads(line)
        return number, reply

    async def close(self) -> None:
        """Kill the process and wait until it has ended."""
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.kill()  # it has no state that could be lost
        await self._process.communicate()


async def started() -> asyncio.subprocess.Process:
    """Start a worker process that computes with one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, env=environment, limit=LONGEST_LINE,
    )  # fmt: skip


@asynccontextmanager
async def judging(
    limits: Limits, judge: Judge | None, apart: bool, processes: int | None = None
) -> AsyncIterator[JudgingDesks]:
    """Create the desks of a run, closed at the end of the block.

    Args:
        limits: limits of the filters.
        judge: overrides the limits, and judges in this process.
        apart: whether to judge in separate processes. Filters registered by other code are known
            only in this process, which then judges.
        processes: number of these processes; the default suits the machine.
    """
    if judge is not None or not apart or tuple(FILTERS.items()) != SHIPPED:
        yield JudgingDesks([JudgingDesk(in_thread(judge or Judge(limits)))])
        return
    async with AsyncExitStack() as stack:
        count = processes or workers_of(os.cpu_count() or 1)
        workers = [WorkerProcess(limits) for _ in range(count)]
        for worker in workers:
            stack.push_async_callback(worker.close)
        yield JudgingDesks([JudgingDesk(worker.judge) for worker in workers])


def workers_of(cores: int) -> int:
    """Number of judging processes for a machine."""
    return min(MOST_WORKERS, max(1, cores // CORES_OF_WORKER))


def main() -> None:
    """Judge batches until the input ends."""
    keep_freed_memory()
    replies, sys.stdout = sys.stdout, sys.stderr  # nothing else may be written between replies
    judge: Judge | None = None
    for line in sys.stdin:
        number, content = json.loads(line)
        reply: Any = []
        try:
            if judge is None:
                judge = Judge(Limits(**content["limits"]), fast=True)
            else:
                questions = [Question(*question) for question in content]
                reply = [astuple(verdict) for verdict in judge.judge(questions)]
        except UserError as error:
            reply = {"error": [error.where, error.what, error.hint]}
        print(json.dumps([number, reply]), file=replies, flush=True)


if __name__ == "__main__":
    main()
