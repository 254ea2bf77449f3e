"""When requests are sent, on a simulated clock, so that no test waits."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip.paraphrase.backends.openai_server import _requested_pause, _RequestQueue, _Server

ADDRESS = "http://a"


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


async def times_of(
    queue: _RequestQueue, count: int, seconds: float = 0.0, tokens: float = 1
) -> list[float]:
    """The start time of each of many requests."""
    began: list[float] = []

    async def one() -> None:
        async with queue.turn() as server:
            began.append(now())
            await asyncio.sleep(seconds)
            server.answered(tokens)

    await asyncio.gather(*(one() for _ in range(count)))
    return began


def one_server(most: int, requests: float = 1e9, tokens: float = 1e12) -> _RequestQueue:
    return _RequestQueue([_Server(ADDRESS, most, (requests, tokens))])


def test_requests_are_spaced_evenly() -> None:
    began = on_jumping_clock(times_of(one_server(100, requests=30), 10))
    assert began == pytest.approx([2 * place for place in range(10)])


def test_tokens_of_an_answer_delay_the_next_request() -> None:
    began = on_jumping_clock(times_of(one_server(1, tokens=600), 4, tokens=50))
    assert began == pytest.approx([0, 5, 10, 15], abs=0.01)


def test_no_limit_gives_no_pause() -> None:
    assert on_jumping_clock(times_of(_RequestQueue([_Server(ADDRESS, 100)]), 50)) == [0.0] * 50


@given(st.integers(1, 20), st.integers(1, 60), st.integers(1, 3))
def test_requests_in_flight_never_exceed_the_limit(most: int, count: int, servers: int) -> None:
    async def work() -> int:
        queue, highest, inside = (
            _RequestQueue([_Server(ADDRESS, most) for _ in range(servers)]),
            0,
            0,
        )

        async def one(number: int) -> None:
            nonlocal highest, inside
            async with queue.turn() as server:
                began, inside = now(), inside + 1
                assert inside <= most * servers and server.in_flight <= most
                highest = max(highest, inside)
                await asyncio.sleep(number % 3)
                inside -= 1
                if number % 5 == 0:
                    server.overloaded(began)
                else:
                    server.answered(1)

        await asyncio.gather(*(one(number) for number in range(count)))
        assert not any(server.in_flight for server in queue.servers)
        return highest

    assert on_jumping_clock(work()) == min(most * servers, count)


def test_an_overload_halves_the_limit_once_a_round_and_answers_raise_it() -> None:
    async def work() -> None:
        server = _Server(ADDRESS, 64)
        for _ in range(64):  # all were in flight together
            server.overloaded(0.0)
        assert server.limit == 32
        await asyncio.sleep(1)
        server.overloaded(now())
        assert server.limit == 16
        for _ in range(17):
            server.answered(1)
        assert 16.9 < server.limit < 17.1  # a round of answers adds one
        for _ in range(10_000):
            server.answered(1)
        assert server.limit == 64
        for _ in range(20):
            await asyncio.sleep(1)
            server.overloaded(now())
        assert server.limit == 1

    on_jumping_clock(work())


def test_a_pause_holds_every_request_also_those_whose_turn_it_was() -> None:
    async def work() -> list[float]:
        queue = one_server(4, requests=30)
        asking = asyncio.create_task(times_of(queue, 6, seconds=0.5))
        await asyncio.sleep(1)
        queue.servers[0].pause(600.0)
        return await asking

    began = on_jumping_clock(work())
    assert began[0] == 0 and all(601 <= one < 640 for one in began[1:])


def test_the_least_busy_server_that_is_not_paused_or_at_rest_is_chosen() -> None:
    async def work() -> None:
        servers = one, other, third = [_Server(ADDRESS, 4) for _ in range(3)]
        queue = _RequestQueue(servers)
        third.pause(1000)
        other.rest()
        asking = [asyncio.create_task(times_of(queue, 1, seconds=30)) for _ in range(6)]
        await asyncio.sleep(1)
        assert [server.in_flight for server in servers] == [4, 0, 0]  # two wait
        await asyncio.gather(*asking)
        one.pause(1000)
        assert await times_of(queue, 1) == [
            pytest.approx(60)
        ]  # a server at rest, if no other is left
        other.pause(100)
        assert await times_of(queue, 1) == [pytest.approx(160, abs=0.1)]

    on_jumping_clock(work())


def test_a_cancelled_request_gives_its_place_back() -> None:
    async def work() -> int:
        queue = one_server(1)
        tasks = [asyncio.create_task(times_of(queue, 1, seconds=5)) for _ in range(4)]
        await asyncio.sleep(1)
        for task in tasks[:3]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not tasks[3].cancelled() and queue.servers[0].in_flight == 0
        return len(await times_of(queue, 2))

    assert on_jumping_clock(work()) == 2


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
    assert _requested_pause(headers) == seconds


@given(st.text(max_size=40))
def test_any_header_is_read(value: str) -> None:
    pause = _requested_pause({"retry-after": value})
    assert pause is None or 0 <= pause < float("inf")
