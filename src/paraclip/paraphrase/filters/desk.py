"""Judges the answers of many captions together, outside the event loop.

A generator's answers arrive one by one, but MiniLM is several times faster in batches. Answers that
arrive while a batch is being judged form the next one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.judge import Judge, Verdict

MOST_JUDGED = 256  # answers per batch

BatchJudge = Callable[[list[Question]], Awaitable[list[Verdict]]]
"""Verdicts of a batch, in order."""


class JudgingDesk:
    """Judges one batch at a time.

    Args:
        judge: function that judges a batch, such as `in_thread(judge)`.
    """

    def __init__(self, judge: BatchJudge) -> None:
        self._judge, self._lock = judge, asyncio.Lock()
        self._waiting: list[tuple[Sequence[Question], asyncio.Future[list[Verdict]]]] = []

    async def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """The verdicts of the questions, in order."""
        verdicts: asyncio.Future[list[Verdict]] = asyncio.get_running_loop().create_future()
        self._waiting.append((questions, verdicts))
        async with self._lock:  # answers that arrive during a batch form the next one
            if not verdicts.done():
                await self._judge_batch()
        return verdicts.result()

    async def _judge_batch(self) -> None:
        """Judge those that have waited longest; they stay in the list if judging fails."""
        batch: list[Question] = []
        count = 0
        while count < len(self._waiting) and len(batch) < MOST_JUDGED:
            batch += self._waiting[count][0]
            count += 1
        judged = iter(await self._judge(batch))
        for questions, verdicts in self._waiting[:count]:
            verdicts.set_result(list(islice(judged, len(questions))))
        del self._waiting[:count]


def in_thread(judge: Judge) -> BatchJudge:
    """Judge in a thread of this process."""

    async def judge_batch(batch: list[Question]) -> list[Verdict]:
        return await asyncio.to_thread(judge.judge, batch)

    return judge_batch


class JudgingDesks:
    """Several desks; all texts of a caption use the same one, which caches their vectors.

    Args:
        desks: at least one.
    """

    def __init__(self, desks: Sequence[JudgingDesk]) -> None:
        self._desks = desks

    async def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """The verdicts of the questions of one caption, in order."""
        if not questions:
            return []
        caption = questions[0].caption or questions[0].source
        return await self._desks[hash(caption) % len(self._desks)].judge(questions)
