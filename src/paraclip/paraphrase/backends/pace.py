"""Request rate of a server: requests in flight, rate limits, and pauses that the server requests.

The number of requests in flight follows AIMD (additive increase, multiplicative decrease; Chiu and
Jain 1989), like TCP: each full round of answers adds one, an overload halves it.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime

FIRST_PAUSE = 0.5  # seconds before the first repetition; doubles with each further one
LONGEST_PAUSE = 60.0  # seconds; a server's own Retry-After may be longer
LETTERS_PER_TOKEN = 4  # rough figure for English, until the server reports the number


class Rate:
    """Spaces requests evenly, so that no minute exceeds its share.

    Args:
        per_minute: units per minute, or None for no limit.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._spacing = 60 / per_minute if per_minute else 0.0
        self._free = 0.0  # event loop time at which the next unit may be used

    async def take(self, units: float = 1) -> None:
        """Wait until the units may be used; callers are served in order."""
        if not self._spacing:
            return
        now = asyncio.get_running_loop().time()
        turn = max(now, self._free)
        self._free = turn + units * self._spacing
        if turn > now:
            await asyncio.sleep(turn - now)

    def correct(self, units: float) -> None:
        """Account for units used in addition to those taken; negative ones are given back."""
        self._free += units * self._spacing


class Pace:
    """Decides when the next request may be sent.

    Args:
        most: maximum number of requests in flight; the run starts with this number.
        requests_per_minute: limit, or None for none.
        tokens_per_minute: limit on prompt and answer tokens together, or None for none.

    Attributes:
        limit: current limit on requests in flight; falls with overload, rises with answers.
        overloads: number of times that the server was overloaded.
    """

    def __init__(
        self,
        most: int,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
    ) -> None:
        self.most, self.limit, self.overloads = most, float(most), 0
        self._requests, self._tokens = Rate(requests_per_minute), Rate(tokens_per_minute)
        self._in_flight, self._waiting = 0, deque[asyncio.Future[None]]()
        self._resume_at = 0.0  # event loop time until which the server requested a pause
        self._lowered_at = float("-inf")

    @asynccontextmanager
    async def turn(self, tokens: float) -> AsyncIterator[float]:
        """Acquire a slot among the requests in flight, when rates and pauses allow it.

        Args:
            tokens: estimated number of prompt and answer tokens.

        Yields:
            The start time of the request, for `overloaded`.
        """
        await self._enter()
        try:
            await self._tokens.take(tokens)
            await self._requests.take()
            clock = asyncio.get_running_loop().time
            while (silence := self._resume_at - clock()) > 0:
                await asyncio.sleep(silence)
            yield clock()
        finally:
            self._in_flight -= 1
            self._admit()

    async def _enter(self) -> None:
        if self._in_flight < int(self.limit) and not self._waiting:
            self._in_flight += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # admitted and cancelled at the same time
                self._in_flight -= 1
                self._admit()
            raise

    def _admit(self) -> None:
        while self._waiting and self._in_flight < int(self.limit):
            place = self._waiting.popleft()
            if not place.done():
                self._in_flight += 1
                place.set_result(None)

    def answered(self, tokens: float = 0) -> None:
        """Count an answer, which raises the limit.

        Args:
            tokens: number of tokens above the estimate.
        """
        self._tokens.correct(tokens)
        self.limit = min(float(self.most), self.limit + 1 / self.limit)
        self._admit()

    def pause(self, seconds: float | None) -> None:
        """Send no request for the seconds that the server requested; None has no effect."""
        if seconds is not None:
            now = asyncio.get_running_loop().time()
            self._resume_at = max(self._resume_at, now + seconds)

    def overloaded(self, began: float) -> None:
        """Lower the limit after status 429 or 503, or a time-out.

        Requests that were in flight at the same time lower it only once.

        Args:
            began: start time of the request, as yielded by `turn`.
        """
        now = asyncio.get_running_loop().time()
        if began > self._lowered_at:
            self.limit, self._lowered_at = max(1.0, self.limit / 2), now
            self.overloads += 1


def pause_before(attempt: int) -> float:
    """Seconds before retry `attempt` (from 1): random, up to a bound that doubles each time."""
    bound = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempt - 1, 30))
    return random.uniform(bound / 2, bound)


def asked_pause(headers: Mapping[str, str]) -> float | None:
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


def tokens_of(letters: int, answers: int, most: int) -> float:
    """Estimated tokens of a request: its letters, plus `answers` answers of `most` tokens."""
    return letters / LETTERS_PER_TOKEN + answers * most
