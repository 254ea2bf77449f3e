"""Items are computed in batches, in one thread; what waits is bounded."""

import asyncio
import threading
from typing import Any

import pytest

from paraclip.compute.micro_batch import MicroBatchQueue, Overloaded


@pytest.mark.parametrize("waiting", [3, 100, None])
def test_waiting_items_are_bounded_and_errors_passed_on(waiting: int | None) -> None:
    async def run() -> list[Any]:
        queue = MicroBatchQueue(lambda items: [1 / item for item in items], 1, waiting)
        try:
            calls = [queue(item) for item in (1, 2, 0, 4, 5)]
            return await asyncio.gather(*calls, return_exceptions=True)
        finally:
            queue.close()

    found = asyncio.run(run())
    if waiting == 3:
        assert sum(isinstance(one, Overloaded) for one in found) == 2
    else:
        assert isinstance(found[2], ZeroDivisionError)
        assert [one for one in found if isinstance(one, float)] == [1.0, 0.5, 0.25, 0.2]


@pytest.mark.parametrize("kind", [StopIteration, SystemExit, type("Panic", (BaseException,), {})])
def test_what_is_no_exception_for_a_future_is_raised_as_one(kind: type[BaseException]) -> None:
    def work(items: list[int]) -> list[int]:
        raise kind("broken")

    async def run() -> list[Any]:
        queue = MicroBatchQueue(work)
        try:
            return await asyncio.gather(queue(1), queue(2), return_exceptions=True)
        finally:
            queue.close()

    found = asyncio.run(asyncio.wait_for(run(), 60))
    assert [str(one) for one in found] == [f"{kind.__name__}: broken"] * 2


def test_items_that_arrive_during_a_batch_form_the_next_and_cancelled_ones_are_left_out() -> None:
    batches: list[list[int]] = []
    begun, go_on = threading.Event(), threading.Event()

    def work(items: list[int]) -> list[int]:
        batches.append(items)
        begun.set()
        assert go_on.wait(60)
        return [-item for item in items]

    async def run() -> list[Any]:
        queue = MicroBatchQueue(work, most=3)
        calls = [asyncio.create_task(queue(0))]
        await asyncio.to_thread(begun.wait, 60)
        calls += [asyncio.create_task(queue(item)) for item in range(1, 6)]
        await asyncio.sleep(0)
        calls[2].cancel()
        await asyncio.sleep(0)
        go_on.set()
        try:
            return await asyncio.gather(*calls, return_exceptions=True)
        finally:
            queue.close()

    results = asyncio.run(run())
    assert isinstance(results.pop(2), asyncio.CancelledError) and results == [0, -1, -3, -4, -5]
    assert batches == [[0], [1, 3], [4, 5]]
