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
        """An answer of 50 tokens, or a request for a pause, which is made once."""
        self.began.append((now(), number))
        self.in_flight[number] += 1
        self.most[number] = max(self.most[number], self.in_flight[number])
        try:
            await asyncio.sleep(pause)
        finally:
            self.in_flight[number] -= 1
        if number in self.pauses:
            headers = self.pauses.pop(number)
            return http.Response(429, headers=headers, content=b"{}", request=request)
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
    servers = Servers(concurrency=100, per_minute=(30, 1e12))
    assert on_jumping_clock(servers.ask(10)) == pytest.approx([2 * place for place in range(10)])


def test_tokens_of_an_answer_delay_the_next_request() -> None:
    servers = Servers(concurrency=1, per_minute=(1e9, 600))
    assert on_jumping_clock(servers.ask(4)) == pytest.approx([0, 5, 10, 15], abs=0.01)


def test_no_limit_gives_no_pause() -> None:
    assert on_jumping_clock(Servers(concurrency=100).ask(50)) == [0.0] * 50


def test_rates_are_divided_among_servers() -> None:
    servers = Servers(2, concurrency=100, per_minute=(60, 1e12))
    assert sorted(on_jumping_clock(servers.ask(6))) == pytest.approx([0, 0, 2, 2, 4, 4])


@settings(max_examples=20)
@given(st.integers(1, 20), st.integers(1, 40), st.integers(1, 3))
def test_questions_in_flight_never_exceed_the_limit(most: int, count: int, number: int) -> None:
    servers = Servers(number, seconds=1.0, concurrency=most)
    on_jumping_clock(servers.ask(count))
    at_once = min(most, count)
    assert sum(servers.most) == at_once and max(servers.most) == -(-at_once // number)
    assert not any(server.in_flight for server in servers.backend.servers)


def test_a_pause_holds_every_request_also_those_whose_turn_it_was_and_is_announced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARACLIP_QUIET", "0")
    servers = Servers(seconds=0.5, concurrency=4, per_minute=(30, 1e12), max_retries=1)
    servers.pauses[0] = {"retry-after": "600"}
    first, *others = on_jumping_clock(servers.ask(6))
    assert first == 0 and all(600 <= one < 640 for one in others) and len(others) == 6
    assert "//0 requests a pause of 10 minutes" in capsys.readouterr().err


def test_a_long_pause_of_one_server_leaves_its_questions_to_the_others() -> None:
    servers = Servers(2, concurrency=4, max_retries=1)
    servers.pauses[0] = {"retry-after": "1000"}
    assert max(on_jumping_clock(servers.ask(8))) < 10
    servers.backend.servers[1].paused_until = 500
    assert on_jumping_clock(servers.ask(1)) == [pytest.approx(500, abs=1)]


def test_the_least_busy_server_that_is_not_paused_or_at_rest_is_chosen() -> None:
    servers = Servers(3, seconds=30.0, concurrency=4)
    servers.backend.servers[1].rests_until = servers.backend.servers[2].paused_until = 1000.0
    on_jumping_clock(servers.ask(6))
    assert servers.most == [4, 0, 0]
    servers.backend.servers[0].paused_until = 1000.0
    on_jumping_clock(servers.ask(1))
    assert servers.most == [4, 1, 0], "a server at rest, if no other is left"


def test_a_cancelled_question_gives_its_place_back() -> None:
    servers = Servers(seconds=5.0, concurrency=1)

    async def work() -> int:
        tasks = [asyncio.create_task(servers.ask(1)) for _ in range(4)]
        await asyncio.sleep(1)
        for task in tasks[:3]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not tasks[3].cancelled() and servers.backend.servers[0].in_flight == 0
        return len(await servers.ask(2))

    assert on_jumping_clock(work()) == 2


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "2500", "retry-after": "9"}, 2.5),
        ({"retry-after-ms": "x", "retry-after": "2"}, 2),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": "Wed, 21 Oct 2015 06:58:00 GMT"},
         1800),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        *(({"retry-after": no_pause}, 0) for no_pause in (
            "", "-3", "inf", "nan", "soon", "Wed, 99 Oct 2015 07:28:00 GMT",
            f"Wed, {10**20} Oct 2015 07:28:00 GMT")),
    ],
)  # fmt: skip
def test_the_pause_that_a_server_asks_for(headers: dict[str, str], seconds: float) -> None:
    servers = Servers(max_retries=1)
    servers.pauses[0] = headers
    on_jumping_clock(servers.ask(1))
    [first, second] = [began for began, _ in servers.began]
    own = 0.5  # the longest pause before the first repetition by `openai` itself
    assert first == 0 and (second == pytest.approx(seconds) if seconds else second <= own)
