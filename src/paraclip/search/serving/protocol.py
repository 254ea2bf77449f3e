"""HTTP connections that cannot be held open indefinitely or send without limit.

uvicorn limits the time between two requests, but not the time for receiving a request or for
sending a response, nor the number of connections.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_SECONDS = 10.0  # for receiving a request
WRITE_SECONDS = 10.0  # for reading 64 KiB of a response
MOST_HEAD = 65_536  # maximum size of the request line and the headers in bytes
HEAD_END = b"\r\n\r\n"
TOO_LARGE = b"431 Request Header Fields Too Large"
TOO_MANY = b"503 Service Unavailable"


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request does not arrive or whose response is not read in time.

    Connections above uvicorn's `limit_concurrency` and heads that are too large are refused.
    """

    _receiving: asyncio.TimerHandle | None = None
    _sending: asyncio.TimerHandle | None = None
    _head: int | None = 0  # bytes of the head so far; None while the body is received

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request, unless there are too many connections."""
        super().connection_made(transport)
        # uvicorn itself would refuse the requests of all connections.
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            self._refuse(TOO_MANY)
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
            if len(data) > MOST_HEAD and HEAD_END not in data[:MOST_HEAD]:
                self._refuse(TOO_LARGE)
                return
        super().data_received(data)
        if self._head is not None and self._head > MOST_HEAD:
            self._refuse(TOO_LARGE)

    def on_message_begin(self) -> None:
        """Called when a request starts to arrive."""
        super().on_message_begin()
        if self._receiving is None:
            self._expect_request()

    def on_headers_complete(self) -> None:
        """Called when the head is complete; the body has its own limit."""
        self._head = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Called when the request is complete."""
        super().on_message_complete()
        self._head = 0
        self._receiving = cancelled(self._receiving)

    def pause_writing(self) -> None:
        """Called when the client does not read as fast as the response is sent."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """Called when the client has read most of what was sent."""
        super().resume_writing()
        self._sending = cancelled(self._sending)

    def on_response_complete(self) -> None:
        """Called when a response was handed to the transport, which may still hold its end."""
        super().on_response_complete()
        self._expect_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        self._receiving, self._sending = cancelled(self._receiving), cancelled(self._sending)
        super().connection_lost(exc)

    def _expect_request(self) -> None:
        """Close the connection if the request is not complete in time."""

        def close() -> None:
            self._receiving = None
            self.transport.close()
            self._expect_reading()

        self._receiving = self.loop.call_later(REQUEST_SECONDS, close)

    def _expect_reading(self) -> None:
        """Drop the connection if the client has not read what was sent by then."""

        def drop() -> None:
            if self.transport.get_write_buffer_size():
                self.transport.abort()  # close() would wait for the client

        cancelled(self._sending)
        self._sending = self.loop.call_later(WRITE_SECONDS, drop)

    def _refuse(self, status: bytes) -> None:
        """Respond with a status only, and close."""
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            self.transport.close()
            self._expect_reading()


def cancelled(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """Cancel a timer, if there is one; returns None in its place."""
    if timer is not None:
        timer.cancel()
    return None
