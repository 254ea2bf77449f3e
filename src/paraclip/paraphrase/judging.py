"""Judging beside asking: questions from many captions share MiniLM's batches, in a thread."""

import asyncio
from collections.abc import Sequence

from paraclip.paraphrase.filters import Judge, Question, Verdict

MOST = 256  # answers judged at once


class JudgingDesk:
    """Collects what is waiting to be judged and judges it together.

    Use it as an asynchronous context manager; while it is open a task of it runs.

    Args:
        judge: does the judging.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._waiting: asyncio.Queue[tuple[Sequence[Question], asyncio.Future[list[Verdict]]]]
        self._waiting = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "JudgingDesk":
        self._task = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """Verdicts of the questions, in order."""
        answer: asyncio.Future[list[Verdict]] = asyncio.get_running_loop().create_future()
        await self._waiting.put((questions, answer))
        return await answer

    async def _work(self) -> None:
        while True:
            taken = [await self._waiting.get()]
            while not self._waiting.empty() and sum(len(asked) for asked, _ in taken) < MOST:
                taken.append(self._waiting.get_nowait())
            together = [question for asked, _ in taken for question in asked]
            try:
                verdicts = await asyncio.to_thread(self._judge.judge, together)
            except Exception as error:
                for _, answer in taken:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            place = 0
            for asked, answer in taken:
                if not answer.done():
                    answer.set_result(verdicts[place : place + len(asked)])
                place += len(asked)
