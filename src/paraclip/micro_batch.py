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
            raised for its item alone.
        most: maximum number of items per batch.
        waiting: maximum number of waiting items; more are refused. None: no limit.
    """

    def __init__(
        self,
        work: Callable[[list[_Item]], Sequence[_Result | Exception]],
        most: int = 64,
        waiting: int | None = 2048,
    ) -> None:
        self._work, self._most, self._limit = work, most, waiting
        self._waiting: list[tuple[_Item, asyncio.Future[_Result]]] = []
        self._running: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batch")

    async def __call__(self, item: _Item) -> _Result:
        """The result of an item.

        Raises:
            Overloaded: too many items wait.
            Exception: error of `work` for the item or the batch.
        """
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
            batch = [(item, future) for item, future in batch if not future.done()]
            results: Sequence[_Result | Exception]
            try:
                items = [item for item, _ in batch]
                results = await loop.run_in_executor(self._thread, self._work, items)
            except Exception as error:
                results = [error] * len(batch)
            for (_, future), result in zip(batch, results, strict=True):
                if future.done():  # cancelled
                    continue
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False, cancel_futures=True)
