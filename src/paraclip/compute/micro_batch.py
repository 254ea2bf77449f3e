"""A queue that runs a function on all waiting items together, outside the event loop."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Overloaded(Exception):
    """Too many items are waiting."""


class MicroBatchQueue(Generic[_Item, _Result]):
    """Runs a function on all waiting items, in one thread.

    A batch forms while the previous one is computed: a single item does not wait, and under load
    the batches grow automatically.

    Args:
        work: maps a list of items to a list of results, in order. A result that is an exception is
            raised for its item alone. One that is no `Exception`, such as a panic of a Rust
            package, is raised as RuntimeError.
        most: maximum number of items per batch.
        waiting: maximum number of waiting items; more are refused. None: no limit.
    """

    def __init__(
        self,
        work: Callable[[list[_Item]], Sequence[_Result | BaseException]],
        most: int = 64,
        waiting: int | None = 2048,
    ) -> None:
        self._work, self._most, self._limit = work, most, waiting
        self._waiting: list[tuple[_Item, asyncio.Future[_Result]]] = []
        self._running: asyncio.Task[None] | None = None  # asyncio itself keeps only weak references
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batch")

    async def __call__(self, item: _Item) -> _Result:
        """The result of an item; raises Overloaded if too many wait, and what `work` raises."""
        if self._limit is not None and len(self._waiting) >= self._limit:
            raise Overloaded
        future: asyncio.Future[_Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        """Compute batches until no item is waiting."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            # Without those whose caller has left.
            batch = [(item, future) for item, future in batch if not future.done()]
            results: Sequence[_Result | BaseException]
            try:
                items = [item for item, _ in batch]
                results = await loop.run_in_executor(self._thread, self._compute, items)
            except Exception as error:  # the thread takes no work after `close`
                results = [error] * len(batch)
            for (_, future), result in zip(batch, results, strict=True):
                if future.done():  # cancelled
                    continue
                if isinstance(result, BaseException):
                    future.set_exception(_raisable(result))
                else:
                    future.set_result(result)

    def _compute(self, items: list[_Item]) -> Sequence[_Result | BaseException]:
        """The results; whatever `work` raises, in the thread, so that no item waits for ever."""
        try:
            return self._work(items)
        except BaseException as error:
            return [error] * len(items)

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _raisable(error: BaseException) -> Exception:
    """The error, or one that a future accepts and that `except Exception` catches."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):  # asyncio refuses it
        return error
    return RuntimeError(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__)
