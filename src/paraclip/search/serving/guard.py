"""The outermost layer: hosts, sizes, rates, the token, headers, metrics and the access log.

Plain ASGI: it processes every request before anything is parsed, and every response.
"""

import hmac
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.exceptions import HTTPException

from paraclip.errors import printable
from paraclip.search.serving.metrics import Metrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOG = logging.getLogger("paraclip.serve")
COOKIE = "paraclip_token"
MOST_URL = 32_768
MOST_CLIENTS = 10_000
OPEN = ("/healthz",)
"""Routes without a token, for probes."""
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True)
class Limits:
    """Limits of a server.

    Args:
        hosts: accepted values of the Host header, without port; empty for any.
        token: token that every request must carry, or None.
        per_second: average number of requests per second from one address; 0 for no limit.
        burst: maximum burst of requests from one address.
        most_body: maximum size of a request body in bytes.
    """

    hosts: frozenset[str]
    token: str | None
    per_second: float
    burst: int
    most_body: int


class Refused(Exception):
    """A request that is refused."""

    def __init__(self, status: int, reason: str, detail: str) -> None:
        self.status, self.reason, self.detail = status, reason, detail
        super().__init__(detail)


class Buckets:
    """A token bucket for each of the last 10,000 addresses."""

    def __init__(self, per_second: float, burst: int) -> None:
        self.per_second, self.burst = per_second, burst
        self.levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str, now: float) -> bool:
        """Whether an address may send another request at this time, in seconds."""
        level, then = self.levels.pop(address, (float(self.burst), now))
        level = min(self.burst, level + (now - then) * self.per_second)
        allowed = level >= 1
        self.levels[address] = (level - allowed, now)
        if len(self.levels) > MOST_CLIENTS:
            self.levels.popitem(last=False)
        return allowed


class Guard:
    """Checks requests, and adds headers to responses.

    Args:
        app: application that receives accepted requests.
        limits: limits on requests.
        metrics: counts requests.
    """

    def __init__(self, app: App, limits: Limits, metrics: Metrics) -> None:
        self.app, self.limits, self.metrics = app, limits, metrics
        self.buckets = Buckets(limits.per_second, limits.burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *added]}
            await send(message)

        try:
            response = self.check(scope)
            if response is None:
                await self.app(scope, self.bounded(scope, receive), sending)
            else:
                await respond(sending, *response)
        except Refused as refused:
            self.metrics.refused.labels(refused.reason).inc()
            content = json.dumps({"detail": refused.detail}).encode()
            headers = [("content-type", "application/json")]
            if refused.status == 429:
                headers.append(("retry-after", "1"))
            await respond(sending, refused.status, headers, content)
        finally:
            self.record(scope, status, time.perf_counter() - began)

    def check(self, scope: Scope) -> tuple[int, list[tuple[str, str]], bytes] | None:
        """Refuse a request, answer it, or return None to pass it on."""
        headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MOST_URL:
            raise Refused(414, "url", "the address is too long")
        host = headers.get("host", b"").decode("latin-1")
        if self.limits.hosts and without_port(host) not in self.limits.hosts:
            raise Refused(400, "host", "this server has another name; see --allow-host")
        address = (scope.get("client") or ("",))[0]
        if self.limits.per_second and not self.buckets.take(address, time.monotonic()):
            raise Refused(429, "rate", "too many requests")
        if int_or(headers.get("content-length"), 0) > self.limits.most_body:
            raise Refused(413, "body", "the request is too large")
        return self.check_token(scope, headers)

    def check_token(
        self, scope: Scope, headers: dict[str, bytes]
    ) -> tuple[int, list[tuple[str, str]], bytes] | None:
        """Refuse a request without the token; store a token from the URL in a cookie."""
        if self.limits.token is None or scope["path"] in OPEN:
            return None
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        token = next((value for name, value in pairs if name == "token"), None)
        if token is not None and self.fits(token):
            rest = urlencode([pair for pair in pairs if pair[0] != "token"])
            cookie = f"{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/"
            # Relative to the requested path, which is not trusted: `//host` would leave the server.
            return 303, [("location", f"?{rest}"), ("set-cookie", cookie)], b""
        bearer = headers.get("authorization", b"").decode("latin-1").removeprefix("Bearer ")
        if not (self.fits(bearer) or self.fits(cookie_of(headers.get("cookie", b"")))):
            raise Refused(401, "token", "this server needs a token")
        return None

    def fits(self, given: str) -> bool:
        """Whether the given token is correct, compared in constant time."""
        return hmac.compare_digest(given.encode(), str(self.limits.token).encode())

    def bounded(self, scope: Scope, receive: Receive) -> Receive:
        """Receive the body, and refuse it above the limit regardless of its header."""
        read = 0

        async def receiving() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.limits.most_body:
                self.metrics.refused.labels("body").inc()
                # The application turns this one into a response, wherever it reads the body.
                raise HTTPException(413, "the request is too large")
            return message

        return receiving

    def record(self, scope: Scope, status: int, seconds: float) -> None:
        """Count and log a request; the query string is not logged."""
        route = getattr(scope.get("route"), "path", "other")
        self.metrics.observe(route, status, seconds)
        fields = {
            "method": scope["method"], "path": printable(scope["path"])[:200], "status": status,
            "ms": round(1000 * seconds, 1), "client": (scope.get("client") or ("",))[0],
        }  # fmt: skip
        level = logging.WARNING if status >= 500 else logging.INFO
        if LOG.isEnabledFor(level):
            LOG.log(level, "request", extra={"fields": fields})


async def respond(send: Send, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
    """Send a complete response."""
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    encoded.append((b"content-length", str(len(content)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": content})


def without_port(host: str) -> str:
    """The host in a Host header: `localhost`, `127.0.0.1`, `[::1]`."""
    head, bracket, _ = host.partition("]")
    return (head + bracket if bracket else host.partition(":")[0]).lower()


def int_or(value: bytes | None, otherwise: int) -> int:
    """A header as a number."""
    try:
        return int(value or otherwise)
    except ValueError:
        return otherwise


def cookie_of(header: bytes) -> str:
    """The token in a Cookie header; "" without one."""
    try:
        cookie = SimpleCookie(header.decode("latin-1")).get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""
