"""When the next request may be sent, and to which of several servers.

The number of requests in flight at a server follows AIMD (additive increase, multiplicative
decrease; Chiu and Jain 1989), like TCP: each full round of answers adds one, an overload halves it.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime

REST = 60.0  # seconds during which a server that failed is used only if all others failed as well


class Rate:
    """Spaces requests evenly, so that no minute exceeds its share.

    Args:
        per_minute: units per minute, or None for no limit.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._spacing = 60 / per_minute if per_minute else 0.0
        self._free = 0.0  # event loop time at which the next unit may be used

    async def wait(self, units: float) -> None:
        """Wait for earlier units, then take these; callers are served in order."""
        now = asyncio.get_running_loop().time()
        turn = max(now, self._free)
        self._free = turn + units * self._spacing
        if turn > now:
            await asyncio.sleep(turn - now)

    def add(self, units: float) -> None:
        """Count units whose number was not known before."""
        self._free = max(asyncio.get_running_loop().time(), self._free) + units * self._spacing


class Limiter:
    """Limits of one server.

    Args:
        most: maximum number of requests in flight; the run starts with this number.
        per_minute: maximum numbers of requests and of tokens per minute, or None.

    Attributes:
        limit: current limit on requests in flight; falls with overload, rises with answers.
        overloads: number of times that the server was overloaded.
        in_flight: number of requests in flight.
        paused_until: event loop time until which the server requested a pause.
    """

    def __init__(self, most: int, per_minute: tuple[float, float] | None = None) -> None:
        self.most, self.limit, self.overloads, self.in_flight = most, float(most), 0, 0
        requests, tokens = per_minute or (None, None)
        self.requests, self.tokens = Rate(requests), Rate(tokens)
        self.paused_until = self.rests_until = self._lowered_at = float("-inf")

    def answered(self, tokens: float) -> None:
        """Count an answer and the tokens of its request, which raises the limit."""
        self.tokens.add(tokens)
        self.rests_until = float("-inf")
        self.limit = min(float(self.most), self.limit + 1 / self.limit)

    def overloaded(self, began: float) -> None:
        """Lower the limit after status 429 or 503, or a time-out.

        Requests that were in flight at the same time lower it only once.

        Args:
            began: event loop time at which the request was sent.
        """
        if began > self._lowered_at:
            self._lowered_at = asyncio.get_running_loop().time()
            self.limit = max(1.0, self.limit / 2)
            self.overloads += 1

    def pause(self, seconds: float) -> None:
        """Send no request for some seconds, as the server requested."""
        now = asyncio.get_running_loop().time()
        self.paused_until = max(self.paused_until, now + seconds)

    def rest(self) -> None:
        """Prefer other servers for a minute."""
        self.rests_until = asyncio.get_running_loop().time() + REST


class RequestQueue:
    """Requests wait here until a server may take one: the least busy one that is not at rest.

    Args:
        limiters: the limits of each server.
    """

    def __init__(self, limiters: Sequence[Limiter]) -> None:
        self.limiters = limiters
        self._waiting = deque[asyncio.Future[Limiter]]()
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Limiter]:
        """Acquire a place among the requests in flight, when limits, rates and pauses allow it."""
        limiter = await self._enter()
        try:
            await limiter.tokens.wait(0)
            await limiter.requests.wait(1)
            clock = asyncio.get_running_loop().time
            while (pause := limiter.paused_until - clock()) > 0:  # requested in the meantime
                await asyncio.sleep(pause)
            yield limiter
        finally:
            limiter.in_flight -= 1
            self._admit()

    async def _enter(self) -> Limiter:
        place: asyncio.Future[Limiter] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self._admit()
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # admitted and cancelled at the same time
                place.result().in_flight -= 1
                self._admit()
            raise

    def _admit(self) -> None:
        """Let requests pass, in order, while a server may take one."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            if self._waiting[0].done():  # cancelled
                self._waiting.popleft()
                continue
            now = loop.time()
            ready = [one for one in self.limiters if one.paused_until <= now]
            awake = [one for one in ready if one.rests_until <= now] or ready
            free = [one for one in awake if one.in_flight < int(one.limit)]
            if not free:
                if not ready:
                    if self._timer is not None:
                        self._timer.cancel()
                    first = min(one.paused_until for one in self.limiters)
                    self._timer = loop.call_at(first, self._admit)
                return
            limiter = min(free, key=lambda one: one.in_flight / one.limit)
            limiter.in_flight += 1
            self._waiting.popleft().set_result(limiter)


def requested_pause(headers: Mapping[str, str]) -> float | None:
    """Seconds that the headers of a response request to wait, or None; there is no upper limit.

    Reads `retry-after-ms` and `Retry-After` (seconds or a date, RFC 9110, section 10.2.3). A date
    is compared with the `Date` of the response, because the clocks may differ.
    """
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    try:
        then = parsedate_to_datetime(headers.get("retry-after", "")).timestamp()
    except (ValueError, OverflowError, TypeError):
        return None
    try:
        now = parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (ValueError, OverflowError, TypeError):
        now = time.time()
    return max(0.0, then - now)
