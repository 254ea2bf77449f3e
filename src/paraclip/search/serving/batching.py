"""Batches of concurrent requests, and a bounded cache of results."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Key = TypeVar("Key", bound=Hashable)


class Overloaded(Exception):
    """Too many requests are waiting."""


class Batcher(Generic[Item, Result]):
    """Runs a function on all waiting items, in one thread.

    A batch forms while the previous one is computed: a single request does not wait, and under
    load the batches grow automatically.

    Args:
        work: maps a list of items to a list of results, in order.
        most: maximum number of items per batch.
        waiting: maximum number of waiting items; more are refused.
    """

    def __init__(
        self, work: Callable[[list[Item]], list[Result]], most: int = 64, waiting: int = 2048
    ) -> None:
        self.work, self.most, self.waiting = work, most, waiting
        self.queue: list[tuple[Item, asyncio.Future[Result]]] = []
        self.running: asyncio.Task[None] | None = None
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="batch")

    async def __call__(self, item: Item) -> Result:
        """The result of an item.

        Raises:
            Overloaded: too many items wait.
            Exception: error of `work` for the batch.
        """
        if len(self.queue) >= self.waiting:
            raise Overloaded
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.queue.append((item, future))
        if self.running is None or self.running.done():
            self.running = asyncio.create_task(self.drain())
        return await future

    async def drain(self) -> None:
        """Compute batches until no item is waiting."""
        loop = asyncio.get_running_loop()
        while self.queue:
            batch, self.queue = self.queue[: self.most], self.queue[self.most :]
            batch = [(item, future) for item, future in batch if not future.done()]
            try:
                items = [item for item, _ in batch]
                results = await loop.run_in_executor(self.thread, self.work, items)
            except Exception as error:
                settle(batch, [error] * len(batch))
            else:
                settle(batch, results)

    def close(self) -> None:
        """Let the thread end."""
        self.thread.shutdown(wait=False, cancel_futures=True)


def settle(batch: list[tuple[Item, asyncio.Future[Result]]], results: Sequence[object]) -> None:
    """Pass its result or error to each waiting request; cancelled requests are skipped."""
    for (_, future), result in zip(batch, results, strict=True):
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)  # type: ignore[arg-type]


class Recent(Generic[Key, Result]):
    """The most recently used values, at most `most`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.values: OrderedDict[Key, Result] = OrderedDict()

    def get(self, key: Key) -> Result | None:
        """The value of a key; counts as use."""
        if key not in self.values:
            return None
        self.values.move_to_end(key)
        return self.values[key]

    def put(self, key: Key, value: Result) -> None:
        """Store a value, and drop the least recently used one if necessary."""
        self.values[key] = value
        self.values.move_to_end(key)
        if len(self.values) > self.most:
            self.values.popitem(last=False)
