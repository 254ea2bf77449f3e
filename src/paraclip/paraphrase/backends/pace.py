"""How fast a server is asked: requests in flight, rates, and pauses that the server asks for.

The number of requests in flight follows AIMD (additive increase, multiplicative decrease; Chiu and
Jain 1989), as TCP does: each full round of answers adds one, an overload halves it.
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
LETTERS_PER_TOKEN = 4  # of English, roughly; only until the server reports the number


class Rate:
    """Spaces requests evenly, so that no minute has more than its share.

    Args:
        per_minute: units a minute, or None for no limit.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._spacing = 60 / per_minute if per_minute else 0.0
        self._free = 0.0  # time of the event loop at which the next unit may be used

    async def take(self, units: float = 1) -> None:
        """Wait for the units' turn; callers are served in order."""
        if not self._spacing:
            return
        now = asyncio.get_running_loop().time()
        turn = max(now, self._free)
        self._free = turn + units * self._spacing
        if turn > now:
            await asyncio.sleep(turn - now)

    def correct(self, units: float) -> None:
        """Add units that were used beyond those taken; negative ones give some back."""
        self._free += units * self._spacing


class Pace:
    """Decides when the next request may be sent.

    Args:
        most: requests in flight at most; the run starts with this number.
        requests_per_minute: None for no limit.
        tokens_per_minute: tokens per minute of prompts and answers together; None for no limit.

    Attributes:
        limit: requests in flight at present; falls with overload, rises with answers.
        overloads: how often the server was overloaded.
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
        self._resume_at = 0.0  # time of the event loop until which the server asked for silence
        self._lowered_at = float("-inf")

    @asynccontextmanager
    async def turn(self, tokens: float) -> AsyncIterator[float]:
        """A place among the requests in flight, when rates and pauses allow it.

        Args:
            tokens: estimate for prompt and answer.

        Yields:
            The time at which the request begins, for `overloaded`.
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
            if place.done() and not place.cancelled():  # admitted and cancelled at once
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
            tokens: tokens used beyond the estimate.
        """
        self._tokens.correct(tokens)
        self.limit = min(float(self.most), self.limit + 1 / self.limit)
        self._admit()

    def overloaded(self, began: float, pause: float | None) -> None:
        """Lower the limit after 429, 503 or a time-out.

        Requests that were in flight together lower it once.

        Args:
            began: what `turn` yielded for the request.
            pause: seconds that the server asked for, during which nothing is sent to it.
        """
        now = asyncio.get_running_loop().time()
        if pause is not None:
            self._resume_at = max(self._resume_at, now + pause)
        if began > self._lowered_at:
            self.limit, self._lowered_at = max(1.0, self.limit / 2), now
            self.overloads += 1


def pause_before(attempt: int) -> float:
    """Seconds before repetition `attempt` (from 1): random up to a bound that doubles."""
    bound = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempt - 1, 30))
    return random.uniform(bound / 2, bound)


def asked_pause(headers: Mapping[str, str]) -> float | None:
    """Seconds that a response's headers ask to wait, or None; there is no upper limit.

    Reads `retry-after-ms` and `Retry-After` (seconds or a date, RFC 9110, section 10.2.3). A date
    is compared with the response's own `Date`, since the clocks may differ.
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
    """Estimated tokens of a request: its letters, and `answers` answers of `most` tokens."""
    return letters / LETTERS_PER_TOKEN + answers * most
