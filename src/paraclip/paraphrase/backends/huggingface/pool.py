"""Collects questions that arrive one by one into batches of similar length."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paraclip.paraphrase.backends import Answer, AnswerError


@dataclass(frozen=True)
class Asked:
    """A tokenized prompt.

    Args:
        tokens: ids of the prompt.
        stop: strings that end the answer.
        candidates: number of answers.
    """

    tokens: tuple[int, ...]
    stop: tuple[str, ...]
    candidates: int

    @property
    def kind(self) -> tuple[tuple[str, ...], int]:
        """The properties that all questions of a batch share."""
        return self.stop, self.candidates


Generate = Callable[[Sequence[Asked]], list[list[Answer]]]
"""Answers to a batch; raises AnswerError for all of them."""


class Pool:
    """Collects all waiting questions, sorts them by length, and generates batch after batch.

    Similar lengths need little padding, and no question waits for more than one earlier pool.

    Args:
        generate: generates a batch; runs in a thread.
        size: number of sequences in a batch; each candidate of a question counts as one.
    """

    def __init__(self, generate: Generate, size: int) -> None:
        self._generate, self._size = generate, size
        self._waiting: list[tuple[Asked, asyncio.Future[list[Answer]]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def answer(self, asked: Asked) -> list[Answer]:
        """The answers to a question; raises the error of its batch."""
        answers: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answers))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await answers

    async def _work(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            for batch in batches(taken, self._size):
                await self._answer_batch([one for one in batch if not one[1].done()])

    async def _answer_batch(self, batch: list[tuple[Asked, asyncio.Future[list[Answer]]]]) -> None:
        if not batch:
            return
        try:
            results = await asyncio.to_thread(self._generate, [asked for asked, _ in batch])
        except Exception as error:
            for _, answers in batch:
                if not answers.done():
                    answers.set_exception(same_kind(error))
            return
        for (_, answers), one in zip(batch, results, strict=True):
            if not answers.done():  # otherwise its caption was cancelled meanwhile
                answers.set_result(one)

    async def close(self) -> None:
        """Wait for the batch in progress."""
        self._waiting = []
        if self._worker is not None:
            await asyncio.gather(self._worker, return_exceptions=True)


def same_kind(error: Exception) -> Exception:
    """The error for one of several questions; each needs its own exception object."""
    return AnswerError(str(error)) if isinstance(error, AnswerError) else error


def batches(
    taken: list[tuple[Asked, asyncio.Future[list[Answer]]]], size: int
) -> list[list[tuple[Asked, asyncio.Future[list[Answer]]]]]:
    """Group questions of one kind and of similar length, longest first.

    A lack of memory therefore shows up in the first batch.
    """
    ordered = sorted(taken, key=lambda one: (one[0].kind, -len(one[0].tokens)))
    result: list[list[tuple[Asked, asyncio.Future[list[Answer]]]]] = []
    for one in ordered:
        last = result[-1] if result else []
        room = len(last) < max(1, size // one[0].candidates)
        if last and room and last[0][0].kind == one[0].kind:
            last.append(one)
        else:
            result.append([one])
    return result
