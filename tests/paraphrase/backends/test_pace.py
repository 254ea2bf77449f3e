"""The pace of requests, on a simulated clock, so that no test waits."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip.paraphrase.backends.pace import (
    LONGEST_PAUSE,
    Pace,
    Rate,
    asked_pause,
    pause_before,
)


class JumpingSelector(selectors.DefaultSelector):
    """Advances the loop's clock instead of waiting."""

    moved = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.moved += max(timeout or 0.0, 0.0)
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop without waiting."""

    def __init__(self) -> None:
        self.jumping = JumpingSelector()
        super().__init__(self.jumping)

    def time(self) -> float:
        return super().time() * 0 + self.jumping.moved


def on_jumping_clock(work: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(work)


def now() -> float:
    return asyncio.get_running_loop().time()


async def times_of(pace: Pace, count: int, tokens: float = 1, seconds: float = 0.0) -> list[float]:
    """The start time of each of many requests."""
    began: list[float] = []

    async def one() -> None:
        async with pace.turn(tokens) as start:
            began.append(start)
            await asyncio.sleep(seconds)
        pace.answered()

    await asyncio.gather(*(one() for _ in range(count)))
    return began


def test_requests_are_spaced_evenly() -> None:
    began = on_jumping_clock(times_of(Pace(100, requests_per_minute=30), 10))
    assert began == pytest.approx([2 * place for place in range(10)])


def test_tokens_are_spaced_and_corrected() -> None:
    async def work() -> list[float]:
        rate = Rate(600)
        times = []
        for used in (0, 50, -10):
            await rate.take(20)
            times.append(now())
            rate.correct(used)
        await rate.take(1)
        return [*times, now()]

    assert on_jumping_clock(work()) == pytest.approx([0, 2, 9, 10])


def test_no_limit_gives_no_pause() -> None:
    assert on_jumping_clock(times_of(Pace(100), 50)) == [0.0] * 50


@given(st.integers(1, 20), st.integers(1, 60))
def test_requests_in_flight_never_exceed_the_limit(most: int, count: int) -> None:
    async def work() -> int:
        pace, highest, inside = Pace(most), 0, 0

        async def one(number: int) -> None:
            nonlocal highest, inside
            async with pace.turn(1) as began:
                inside += 1
                assert inside <= most
                highest = max(highest, inside)
                await asyncio.sleep(number % 3)
                inside -= 1
                if number % 5 == 0:
                    pace.overloaded(began)
            if number % 5:
                pace.answered()

        await asyncio.gather(*(one(number) for number in range(count)))
        assert pace._in_flight == 0 and not pace._waiting
        return highest

    assert on_jumping_clock(work()) == min(most, count)


def test_an_overload_halves_the_limit_once_a_round_and_answers_raise_it() -> None:
    async def work() -> None:
        pace = Pace(64)
        for _ in range(64):  # all were in flight together
            pace.overloaded(0.0)
        assert pace.limit == 32 and pace.overloads == 1
        await asyncio.sleep(1)
        pace.overloaded(now())
        assert pace.limit == 16
        for _ in range(17):
            pace.answered()
        assert 16.9 < pace.limit < 17.1  # a round of answers adds one
        for _ in range(10_000):
            pace.answered()
        assert pace.limit == 64
        for _ in range(20):
            await asyncio.sleep(1)
            pace.overloaded(now())
        assert pace.limit == 1

    on_jumping_clock(work())


def test_a_pause_of_hours_holds_every_request() -> None:
    async def work() -> list[float]:
        pace = Pace(4)
        pace.pause(7200.0)
        return await times_of(pace, 3)

    assert all(7200 <= began < 7201 for began in on_jumping_clock(work()))


def test_a_cancelled_request_gives_its_place_back() -> None:
    async def work() -> int:
        pace = Pace(1)
        tasks = [asyncio.create_task(times_of(pace, 1, seconds=5)) for _ in range(4)]
        await asyncio.sleep(1)
        for task in tasks[:3]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not tasks[3].cancelled() and pace._in_flight == 0
        return len(await times_of(pace, 2))

    assert on_jumping_clock(work()) == 2


@given(st.integers(1, 1000))
def test_back_off_grows_and_is_random(attempt: int) -> None:
    bound = min(LONGEST_PAUSE, 0.5 * 2 ** min(attempt - 1, 30))
    assert bound / 2 <= pause_before(attempt) <= bound
    assert len({pause_before(attempt) for _ in range(5)}) > 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "86400"}, 86400),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": "Wed, 21 Oct 2015 04:28:00 GMT"},
         10_800),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "-3"}, None), ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None), ({"retry-after": "soon"}, None), ({}, None),
        ({"retry-after-ms": "x", "retry-after": "2"}, 2),
    ],
)  # fmt: skip
def test_the_pause_that_a_server_asks_for(headers: dict[str, str], seconds: float | None) -> None:
    assert asked_pause(headers) == seconds


@given(st.text(max_size=40))
def test_any_header_is_read(value: str) -> None:
    pause = asked_pause({"retry-after": value})
    assert pause is None or 0 <= pause < float("inf")
