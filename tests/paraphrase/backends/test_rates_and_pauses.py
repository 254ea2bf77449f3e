"""When requests are sent, on a simulated clock, so that no test waits."""

import asyncio
import json
import selectors
from collections.abc import Coroutine
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paraclip.paraphrase.backends import LLMOptions
from paraclip.paraphrase.backends.openai_server import OpenAIBackend, http
from paraclip.paraphrase.prompts import Prompt


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


class Servers:
    """A backend over servers that answer on the loop's clock, without a network."""

    def __init__(self, count: int = 1, seconds: float = 0.0, **options: Any) -> None:
        self.began: list[tuple[float, int]] = []  # time and server of each request
        self.in_flight, self.most = [0] * count, [0] * count
        self.pauses: dict[int, dict[str, str]] = {}  # headers that request one, of each server
        urls = tuple(f"http://{number}" for number in range(count))
        self.backend = OpenAIBackend(LLMOptions(model="m", base_url=urls, **options), key="")
        for number, server in enumerate(self.backend.servers):
            server._bounded = partial(self.answer, number, seconds)  # type: ignore[method-assign]
            server.api._platform = "Linux"  # which a thread would find out while the clock jumps

    async def answer(self, number: int, pause: float, request: Any, *_: Any, **__: Any) -> Any:
        """An answer of 50 tokens; at the beginning, a request for a pause."""
        began = now()
        self.began.append((began, number))
        self.in_flight[number] += 1
        self.most[number] = max(self.most[number], self.in_flight[number])
        try:
            await asyncio.sleep(pause)
        finally:
            self.in_flight[number] -= 1
        if number in self.pauses and began == 0:
            return http.Response(429, headers=self.pauses[number], content=b"{}", request=request)
        usage = {"prompt_tokens": 20, "completion_tokens": 30}
        content = json.dumps({"choices": [{"text": "fine"}], "usage": usage}).encode()
        return http.Response(200, content=content, request=request)

    async def ask(self, count: int) -> list[float]:
        """The times at which the requests for so many questions were sent."""
        before = len(self.began)
        prompt = Prompt(text="a dog runs")
        await asyncio.gather(*(self.backend.answer(prompt, 1) for _ in range(count)))
        return [began for began, _ in self.began[before:]]


def test_requests_are_spaced_evenly() -> None:
    servers = Servers(per_minute=(30, 1e12))
    assert on_jumping_clock(servers.ask(10)) == pytest.approx([2 * place for place in range(10)])


def test_tokens_of_an_answer_delay_the_next_request() -> None:
    servers = Servers(per_minute=(1e9, 600))

    async def one_by_one() -> list[float]:
        return [(await servers.ask(1))[0] for _ in range(4)]

    assert on_jumping_clock(one_by_one()) == pytest.approx([0, 5, 10, 15], abs=0.01)


def test_no_limit_gives_no_pause() -> None:
    assert on_jumping_clock(Servers().ask(50)) == [0.0] * 50


def test_rates_are_divided_among_servers() -> None:
    servers = Servers(2, per_minute=(60, 1e12))
    assert sorted(on_jumping_clock(servers.ask(6))) == pytest.approx([0, 0, 2, 2, 4, 4])


@settings(max_examples=20)
@given(st.integers(1, 40), st.integers(1, 3))
def test_a_question_goes_to_the_least_busy_server(count: int, number: int) -> None:
    servers = Servers(number, seconds=1.0)
    on_jumping_clock(servers.ask(count))
    assert sum(servers.most) == count and max(servers.most) == -(-count // number)
    assert not any(server.in_flight for server in servers.backend.servers)


def test_each_question_waits_for_a_long_pause_which_is_announced_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARACLIP_QUIET", "0")
    servers = Servers(seconds=0.5, max_retries=1)
    servers.pauses[0] = {"retry-after": "600"}
    times = on_jumping_clock(servers.ask(6))
    assert times[:6] == [0] * 6 and len(times) == 12 and all(600 < one < 602 for one in times[6:])
    assert capsys.readouterr().err.count("//0 requests a pause of 10 minutes") == 1


def test_new_questions_do_not_wait_for_a_server_that_pauses() -> None:
    servers = Servers(2, max_retries=1)
    servers.pauses[0] = {"retry-after": "1000"}

    async def work() -> None:
        first = asyncio.create_task(servers.ask(2))
        await asyncio.sleep(1)
        assert await servers.ask(4) == [1] * 4
        await first

    on_jumping_clock(work())
    assert [number for _, number in servers.began] == [0, 1, 1, 1, 1, 1, 0]
    assert 1000 < servers.began[-1][0] < 1001


def test_a_pause_of_hours_sends_the_question_to_another_server() -> None:
    servers = Servers(2, max_retries=1)
    servers.pauses[0] = {"retry-after": "7200"}
    assert on_jumping_clock(servers.ask(1)) == [0, 0]


def test_a_server_at_rest_is_asked_only_if_all_others_rest() -> None:
    servers = Servers(3, seconds=30.0)

    async def work() -> None:
        for resting in servers.backend.servers[1:]:
            resting.rest(1000)
        await servers.ask(4)
        assert servers.most == [4, 0, 0]
        servers.backend.servers[0].rest(1000)
        await servers.ask(3)

    on_jumping_clock(work())
    assert servers.most == [4, 1, 1]


def test_a_cancelled_question_is_no_longer_in_flight() -> None:
    servers = Servers(seconds=5.0)

    async def work() -> None:
        task = asyncio.create_task(servers.ask(1))
        await asyncio.sleep(1)
        assert servers.backend.servers[0].in_flight == 1
        task.cancel()
        await asyncio.wait([task])

    on_jumping_clock(work())
    assert servers.backend.servers[0].in_flight == 0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "2500", "retry-after": "9"}, 2.5),
        ({"retry-after": "60"}, 60),
        ({"retry-after": "61"}, 61),
        ({"retry-after": "3600"}, 3600),
        *(({"retry-after": no_pause}, 0) for no_pause in (
            "", "-3", "inf", "nan", "soon", "Wed, 21 Oct 2015 07:28:00 GMT")),
    ],
)  # fmt: skip
def test_the_pause_that_a_server_asks_for(headers: dict[str, str], seconds: float) -> None:
    servers = Servers(max_retries=1)
    servers.pauses[0] = headers
    first, second = on_jumping_clock(servers.ask(1))
    own = 0.5  # the longest pause before the first repetition by `openai` itself
    assert first == 0 and seconds <= second <= seconds + own
