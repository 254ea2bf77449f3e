"""HTTP connections that cannot be held open indefinitely or send without limit.

uvicorn limits the time between two requests, but not the time for receiving a request.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_SECONDS = 10.0
MOST_HEAD = 65_536  # maximum size of the request line and the headers in bytes
HEAD_END = b"\r\n\r\n"


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request is not received in time, or whose head is too large."""

    timer: asyncio.TimerHandle | None = None
    head: int | None = 0  # bytes of the head so far; None while the body is received

    def connection_made(self, transport: Any) -> None:
        """Start to wait for the first request."""
        super().connection_made(transport)
        self.wait()

    def data_received(self, data: bytes) -> None:
        """Count the bytes of a head."""
        if self.head is not None:
            self.head += len(data)
            # Counted before parsing, so that a request line of megabytes is never stored. A short
            # head may arrive together with a large part of the body.
            if len(data) > MOST_HEAD and HEAD_END not in data[:MOST_HEAD]:
                self.refuse()
                return
        super().data_received(data)
        if self.head is not None and self.head > MOST_HEAD:
            self.refuse()

    def on_message_begin(self) -> None:
        """Called when a request starts to arrive."""
        super().on_message_begin()
        if self.timer is None:
            self.wait()

    def on_headers_complete(self) -> None:
        """Called when the head is complete; the body has its own limit."""
        self.head = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Called when the request is complete."""
        super().on_message_complete()
        self.head = 0
        self.forget()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timer."""
        self.forget()
        super().connection_lost(exc)

    def wait(self) -> None:
        """Close the connection if the request is not complete in time."""
        self.timer = self.loop.call_later(REQUEST_SECONDS, self.late)

    def late(self) -> None:
        """Called when the request did not arrive in time."""
        self.timer = None
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()

    def refuse(self) -> None:
        """Respond that the head is too large, and close."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
                b"content-length: 0\r\nconnection: close\r\n\r\n"
            )
            self.transport.close()

    def forget(self) -> None:
        """Cancel the timer."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
