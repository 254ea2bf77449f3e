"""The outermost layer: hosts, origins, sizes, rates, the token, headers and the log.

Plain ASGI: it processes every request before anything is parsed, and every response. Starlette's
own middleware has no limits of rate and size, and its check of hosts knows no IPv6 addresses.
"""

import asyncio
import hmac
import ipaddress
import logging
import re
import time
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paraclip.errors import UserError, printable
from paraclip.image_search.serving.service import MOST_BYTES, Recent

_LOG = logging.getLogger("paraclip.serve")
_COOKIE = "paraclip_token"
_MOST_URL = 32_768
_MOST_CLIENTS = 10_000
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_SHORTEST_TOKEN = 16
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
"""Characters of a bearer token (RFC 6750), which a cookie can carry as well."""
_MOST_HELD = 128 * 2**20  # bytes of all request bodies that are being received or processed
_HEADERS = {
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
        local: whether only this machine reaches the server, under its own name.
    """

    hosts: frozenset[str] = frozenset()
    token: str | None = None
    per_second: float = 0.0
    burst: int = 400
    local: bool = False


def make_limits(
    host: str, token: str | None, allow_host: tuple[str, ...], per_second: float, burst: int
) -> Limits:
    """The limits of a server that listens on an address; see `ServeConfig` for the arguments.

    Raises:
        UserError: the address is not loopback and there is no token, or the token is short, or has
            characters that a header or a cookie cannot carry.
    """
    hint = "Make one: openssl rand -hex 16"
    if token is not None and len(token) < _SHORTEST_TOKEN:
        raise UserError("--token", f"has fewer than {_SHORTEST_TOKEN} characters", hint)
    if token is not None and not _TOKEN.fullmatch(token):
        what = "has characters other than ASCII letters, digits and -._~+/="
        raise UserError("--token", what, hint)
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if loopback:
        names = [f"[{one}]" if one.count(":") > 1 and "[" not in one else one for one in allow_host]
        hosts = frozenset({*_LOOPBACK, host, *map(_without_port, names)})
        return Limits(hosts, token, per_second, burst, local=not allow_host)
    if token is None:
        what = "is not a loopback address, and the server would be open to everyone there"
        hint = "Set PARACLIP_TOKEN or --token, or omit --host."
        raise UserError(f"--host {host}", what, hint)
    return Limits(frozenset(), token, per_second, burst)


class Buckets:
    """A token bucket for each of the last 10,000 addresses."""

    def __init__(self, per_second: float, burst: int) -> None:
        self.per_second, self.burst = per_second, burst
        self.levels: Recent[str, tuple[float, float]] = Recent(_MOST_CLIENTS)

    def take(self, address: str, now: float) -> bool:
        """Whether an address may send another request at this time, in seconds."""
        level, then = self.levels.get(address) or (self.burst, now)
        level = min(self.burst, level + (now - then) * self.per_second)
        self.levels.put(address, (level - (level >= 1), now))
        return level >= 1


class Guard:
    """Checks requests, passes accepted ones to the application, and adds headers to responses."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self.limits = app, limits
        self.buckets = Buckets(limits.per_second, limits.burst)
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        began, status, read = time.perf_counter(), 500, 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        async def receiving() -> Message:
            """Receive the body, and refuse it above the limits regardless of its header."""
            nonlocal read
            message = await receive()
            size = len(message.get("body", b""))
            read, self._held = read + size, self._held + size
            # The application turns these into a response, wherever it reads the body.
            if read > MOST_BYTES:
                raise HTTPException(413, "the request is too large")
            if self._held > _MOST_HELD:
                raise HTTPException(503, "too many requests are waiting", {"retry-after": "1"})
            return message

        try:
            response = self._check(Request(scope)) or self.app
            await response(scope, receiving, sending)
        except asyncio.CancelledError:  # uvicorn stops, and would log it as an error
            _LOG.warning("cancelled")
        finally:
            self._held -= read
            _log_request(scope, status, time.perf_counter() - began)

    def _check(self, request: Request) -> Response | None:
        """The response to a request that is refused or redirected; None to pass it on."""
        headers, limits = request.headers, self.limits
        address = request.client.host if request.client else ""
        if len(request.scope["raw_path"]) + len(request.scope["query_string"]) > _MOST_URL:
            return refusal(414, "the address is too long")
        if limits.hosts and _without_port(headers.get("host", "")) not in limits.hosts:
            return refusal(400, "this server has another name; see --allow-host")
        if limits.per_second and not self.buckets.take(address, time.monotonic()):
            return refusal(429, "too many requests", {"retry-after": "1"})
        if request.method not in ("GET", "HEAD") and not _is_same_origin(headers):
            return refusal(403, "the request comes from the page of another server")
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > MOST_BYTES:
            return refusal(413, "the request is too large")
        if limits.token is None or request.url.path == "/healthz":  # open to probes
            return None
        pairs = request.query_params.multi_items()
        given = next((value for name, value in pairs if name == "token"), None)
        if given is not None and self.fits(given):
            rest = urlencode([pair for pair in pairs if pair[0] != "token"])
            cookie = f"{_COOKIE}={given}; HttpOnly; SameSite=Strict; Path=/"
            # Relative to the requested path, which is not trusted: `//host` would leave the server.
            return Response(None, 303, {"location": f"?{rest}", "set-cookie": cookie})
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if self.fits(bearer) or self.fits(request.cookies.get(_COOKIE, "")):
            return None
        return refusal(401, "this server needs a token")

    def fits(self, given: str) -> bool:
        """Whether the given token is correct, compared in constant time."""
        return hmac.compare_digest(given.encode(), str(self.limits.token).encode())


def refusal(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error as JSON."""
    return JSONResponse({"detail": detail}, status, headers)


def _log_request(scope: Scope, status: int, seconds: float) -> None:
    """Log a request, without its query string."""
    fields = {
        "method": scope["method"], "path": printable(scope["path"])[:200], "status": status,
        "ms": round(1000 * seconds, 1), "client": (scope.get("client") or ("",))[0],
    }  # fmt: skip
    level = logging.WARNING if status >= 500 else logging.INFO
    _LOG.log(level, "request", extra={"fields": fields})


def _is_same_origin(headers: Headers) -> bool:
    """Whether a request comes from a page of this server, or from a program that is no browser."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site in ("same-origin", "none")
    return origin is None or origin.partition("://")[2] == headers.get("host")


def _without_port(host: str) -> str:
    """The host in a Host header: `localhost`, `127.0.0.1`, `[::1]`."""
    head, bracket, _ = host.partition("]")
    return (head + bracket if bracket else host.partition(":")[0]).lower()
