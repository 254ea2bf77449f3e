"""uvicorn with connections that cannot be held open indefinitely or send without limit.

uvicorn limits the time between two requests, but not the time for receiving a request or for
sending a response, nor the number of connections.
"""

import asyncio
import json
import logging
import resource
import socket
import sys
from datetime import UTC, datetime
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from paraclip.errors import UserError
from paraclip.image_search.serving.app import make_app
from paraclip.image_search.serving.guard import Limits
from paraclip.image_search.serving.rewording import Reworder
from paraclip.image_search.serving.service import Service

_MOST_CONNECTIONS = 2000
_OTHER_FILES = 256  # files of the index, and connections that are being accepted
_BACKLOG = 128
_STOP_SECONDS = 10
_REQUEST_SECONDS = 10.0  # for receiving a request
_WRITE_SECONDS = 10.0  # for reading 64 KiB of a response
_MOST_HEAD = 65_536  # maximum size of the request line and the headers in bytes
_TOO_LARGE = b"431 Request Header Fields Too Large"


class _BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request does not arrive or whose response is not read in time.

    Connections above uvicorn's `limit_concurrency` and heads that are too large are refused.
    """

    _receiving: asyncio.TimerHandle | None = None
    _sending: asyncio.TimerHandle | None = None
    _answered: Any = None  # request that is processed; later ones of the connection are queued
    _head: int | None = 0  # bytes of the head so far; None while the body is received

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request, unless there are too many connections."""
        super().connection_made(transport)
        # uvicorn itself would refuse the requests of all connections.
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            self._refuse(b"503 Service Unavailable")
        else:
            self._expect_request()

    def data_received(self, data: bytes) -> None:
        """Count the bytes of a head."""
        if self.transport.is_closing():
            return
        if self._head is not None:
            self._head += len(data)
            # Counted before parsing, so that a request line of megabytes is never stored. A short
            # head may arrive together with a large part of the body.
            if len(data) > _MOST_HEAD and b"\r\n\r\n" not in data[:_MOST_HEAD]:
                self._refuse(_TOO_LARGE)
                return
        super().data_received(data)
        if self._head is not None and self._head > _MOST_HEAD:
            self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Called when a request starts to arrive."""
        super().on_message_begin()
        if self._receiving is None:
            self._expect_request()

    def on_headers_complete(self) -> None:
        """Called when the head is complete; the body has its own limit."""
        self._head, queued = None, len(self.pipeline)
        super().on_headers_complete()
        if len(self.pipeline) == queued:
            self._answered = self.cycle

    def on_message_complete(self) -> None:
        """Called when the request is complete."""
        super().on_message_complete()
        self._head = 0
        self._receiving = _cancelled(self._receiving)

    def pause_writing(self) -> None:
        """Called when the client does not read as fast as the response is sent."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """Called when the client has read most of what was sent."""
        super().resume_writing()
        self._sending = _cancelled(self._sending)

    def on_response_complete(self) -> None:
        """Called when a response was handed to the transport, which may still hold its end."""
        self._answered = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()
        self._expect_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers, and let the response that is being sent end."""
        self._receiving, self._sending = _cancelled(self._receiving), _cancelled(self._sending)
        if self._answered is not None:  # uvicorn tells only the last request that was received
            self._answered.disconnected = True
            self._answered.message_event.set()
        super().connection_lost(exc)

    def _expect_request(self) -> None:
        """Close the connection if the request is not complete in time."""

        def close() -> None:
            self._receiving = None
            self.transport.close()
            self._expect_reading()

        self._receiving = self.loop.call_later(_REQUEST_SECONDS, close)

    def _expect_reading(self) -> None:
        """Drop the connection if the client has not read what was sent by then."""

        def drop() -> None:
            if self.transport.get_write_buffer_size():
                self.transport.abort()  # close() would wait for the client

        _cancelled(self._sending)
        self._sending = self.loop.call_later(_WRITE_SECONDS, drop)

    def _refuse(self, status: bytes) -> None:
        """Respond with a status only, and close."""
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            self.transport.close()
            self._expect_reading()


def _cancelled(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """Cancel a timer, if there is one; returns None in its place."""
    if timer is not None:
        timer.cancel()
    return None


class _StoppableServer(uvicorn.Server):
    """A server that does not wait for the language model when it is stopped."""

    def __init__(self, settings: uvicorn.Config, reworder: Reworder | None) -> None:
        super().__init__(settings)
        self.reworder = reworder

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop the language model, then answer what was accepted."""
        if self.reworder is not None:
            self.reworder.stop()
        await super().shutdown(sockets)


def make_server(
    service: Service, limits: Limits, reworder: Reworder | None = None
) -> _StoppableServer:
    """uvicorn's server with all limits."""
    settings = uvicorn.Config(
        make_app(service, limits, reworder), http=_BoundedProtocol, log_config=None,
        access_log=False, proxy_headers=False, server_header=False, backlog=_BACKLOG,
        limit_concurrency=_most_connections(), timeout_graceful_shutdown=_STOP_SECONDS,
        lifespan="on",
    )  # fmt: skip
    return _StoppableServer(settings, reworder)


def _most_connections() -> int:
    """Raise the soft limit of open files if needed; returns how many connections it allows.

    A connection may need two files: itself, and the picture that it sends.
    """
    wanted = 2 * _MOST_CONNECTIONS + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    allowed = wanted if soft == resource.RLIM_INFINITY else soft
    return max(min(_MOST_CONNECTIONS, (allowed - _OTHER_FILES) // 2), 8)


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


def log_as_json() -> None:
    """Write the logs of the server, and of uvicorn, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    for name in ("paraclip.serve", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
