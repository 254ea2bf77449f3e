"""The server: uvicorn with its own limits behind one middleware, the socket and the log.

The middleware checks host, origin, token, size and time of each request, and adds headers. It is
plain ASGI: it sees a request before its body is read. What comes before, such as connections
without a request, is for uvicorn's limits, or for a reverse proxy.
"""

import asyncio
import hmac
import ipaddress
import json
import logging
import re
import resource
import socket
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import uvicorn
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paraclip.errors import UserError, printable
from paraclip.image_search.serving.app import make_app, refusal
from paraclip.image_search.serving.service import MOST_BYTES, Service

if TYPE_CHECKING:  # it brings what only `--llm` needs
    from paraclip.image_search.serving.rewording import Reworder

_LOG = logging.getLogger("paraclip.serve")
_COOKIE = "paraclip_token"
_MOST_URL = 32_768
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_HOST = re.compile(r"(?:[\w.-]*|\[[0-9A-Fa-f:.]+\])(?::\d*)?", re.ASCII)
"""A Host header: a name or an address, and a port; none in HTTP/1.0."""
_SHORTEST_TOKEN = 16
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
"""Characters of a bearer token (RFC 6750), which a cookie can carry as well."""
MOST_HELD = 128 * 2**20  # bytes of all request bodies that are being received or processed
BODY_SECONDS = 10.0  # for receiving a request's body
SEND_SECONDS = 10.0  # for reading 64 KiB of a response
_CLOSE = {"connection": "close"}
MOST_CONNECTIONS = 2000
_OTHER_FILES = 256  # files of the index, and connections that are being accepted
_BACKLOG = 128  # connections that wait to be accepted
STOP_SECONDS = 10  # for requests in progress when the server stops
_MOST_HEAD = 65_536  # maximum size of the request line and the headers in bytes
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
class ServerLimits:
    """Limits of a server.

    Args:
        hosts: accepted values of the Host header, without port; empty for any.
        token: token that every request must carry, or None.
        local: whether only this machine reaches the server, under its own name.
    """

    hosts: frozenset[str] = frozenset()
    token: str | None = None
    local: bool = False


def make_limits(host: str, token: str | None, allow_host: tuple[str, ...]) -> ServerLimits:
    """The limits of a server that listens on an address; see `ServeConfig` for the arguments.

    Raises:
        UserError: the address is not loopback and there is no token, or the token is short, or has
            characters that a header or a cookie cannot carry.
    """
    hint = "Make one: openssl rand -hex 16"
    if token is not None and len(token) < _SHORTEST_TOKEN:
        raise UserError("PARACLIP_TOKEN", f"has fewer than {_SHORTEST_TOKEN} characters", hint)
    if token is not None and not _TOKEN.fullmatch(token):
        what = "has characters other than ASCII letters, digits and -._~+/="
        raise UserError("PARACLIP_TOKEN", what, hint)
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if loopback:
        names = [f"[{one}]" if one.count(":") > 1 and "[" not in one else one for one in allow_host]
        hosts = frozenset({*_LOOPBACK, host, *map(_without_port, names)})
        return ServerLimits(hosts, token, local=not allow_host)
    if token is None:
        what = "is not a loopback address, and the server would be open to everyone there"
        hint = "Set PARACLIP_TOKEN, or omit --host."
        raise UserError(f"--host {host}", what, hint)
    return ServerLimits(frozenset(), token)


class _NotRead(Exception):
    """The client does not read the response."""


class Guard:
    """Checks requests, passes accepted ones to the application, and adds headers to responses."""

    def __init__(self, app: ASGIApp, limits: ServerLimits) -> None:
        self.app, self.limits = app, limits
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        began, status, read = time.perf_counter(), 0, 0
        end: float | None = asyncio.get_running_loop().time() + BODY_SECONDS

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(_HEADERS)
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    await send(message)
            except TimeoutError as error:
                raise _NotRead from error

        async def receiving() -> Message:
            """Receive the body, and refuse it above the limits regardless of its header."""
            nonlocal read, end
            # The application turns these exceptions into a response, wherever it reads the body.
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError as error:
                raise HTTPException(408, "the request takes too long", _CLOSE) from error
            if not message.get("more_body"):
                end = None  # what comes next is the client's leaving
            size = len(message.get("body", b""))
            read, self._held = read + size, self._held + size
            if read > MOST_BYTES:
                raise HTTPException(413, "the request is too large")
            if self._held > MOST_HELD:
                raise HTTPException(503, "too many requests are waiting", {"retry-after": "1"})
            return message

        try:
            response = self._check(Request(scope)) or self.app
            await response(scope, receiving, sending)
        except _NotRead:
            _LOG.warning("not read")
        except asyncio.CancelledError:  # uvicorn stops, and would log it as an error
            if not status:
                await refusal(503, "the server is being stopped")(scope, receive, sending)
        finally:
            self._held -= read
            _log_request(scope, status or 500, time.perf_counter() - began)

    def _check(self, request: Request) -> Response | None:
        """The response to a request that is refused or redirected; None to pass it on."""
        headers, limits = request.headers, self.limits
        if len(request.scope["raw_path"]) + len(request.scope["query_string"]) > _MOST_URL:
            return refusal(414, "the address is too long")
        host = headers.get("host", "")
        if not _HOST.fullmatch(host):
            return refusal(400, "the Host header is not a name and a port")
        if limits.hosts and _without_port(host) not in limits.hosts:
            return refusal(400, "this server has another name; see --allow-host")
        if request.method not in ("GET", "HEAD") and not _is_same_origin(headers):
            return refusal(403, "the request comes from the page of another server")
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > MOST_BYTES:  # Python refuses 5,000 digits
            return refusal(413, "the request is too large")
        if limits.token is None or request.scope["path"] == "/healthz":  # open to probes
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
        # As bytes: of texts, it takes only ASCII.
        return hmac.compare_digest(given.encode(), str(self.limits.token).encode())


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
        return site in ("same-origin", "none")  # none: the user, such as by the address bar
    return origin is None or origin.partition("://")[2] == headers.get("host")


def _without_port(host: str) -> str:
    """The host in a Host header: `localhost`, `127.0.0.1`, `[::1]`."""
    head, bracket, _ = host.partition("]")
    return (head + bracket if bracket else host.partition(":")[0]).lower()


def make_server(
    service: Service, limits: ServerLimits, reworder: "Reworder | None" = None
) -> uvicorn.Server:
    """uvicorn's server with all limits."""
    settings = uvicorn.Config(
        Guard(make_app(service, limits.local, reworder), limits), lifespan="on", ws="none",
        log_config=None, access_log=False, proxy_headers=False, server_header=False,
        http="h11",  # httptools has no limit for heads
        h11_max_incomplete_event_size=_MOST_HEAD, backlog=_BACKLOG,
        limit_concurrency=_most_connections(), timeout_graceful_shutdown=STOP_SECONDS,
    )  # fmt: skip
    return uvicorn.Server(settings)


def _most_connections() -> int:
    """Raise the soft limit of open files if needed; returns how many connections it allows.

    A connection may need two files: itself, and the picture that it sends.
    """
    wanted = 2 * MOST_CONNECTIONS + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    allowed = wanted if soft == resource.RLIM_INFINITY else soft
    return max(min(MOST_CONNECTIONS, (allowed - _OTHER_FILES) // 2), 8)


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket; raises UserError if the port is taken or the address unknown."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except (OSError, UnicodeError) as error:  # UnicodeError: an empty or a very long part
        hint = "Check the name, or omit --host."
        raise UserError(f"--host {host}", "is not the address of a machine", hint) from error
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        hint = "Choose another --port; 0 selects a free one."
        raise UserError(f"{host}:{port}", f"cannot be opened ({error.strerror})", hint) from error


class _JsonLines(logging.Formatter):
    """Time, level, event, and the fields of the record."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line of JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _Words(logging.Formatter):
    """The event and the fields of the record, for people."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The record as a line of words."""
        fields = getattr(record, "fields", {})
        return " ".join([f"paraclip: {record.message}", *map(str, fields.values())])


def log_to_stderr() -> None:
    """Write the logs of the server, and of uvicorn, to standard error: JSON lines, or on a terminal
    what went wrong, in words."""
    terminal = sys.stderr.isatty()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Words() if terminal else _JsonLines())
    for name in ("paraclip.serve", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.WARNING if terminal else logging.INFO)
