"""HTTP connections that cannot be held open for ever, nor filled without end.

uvicorn limits the time between two requests, but not the time that a request takes to arrive.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_SECONDS = 10.0
MOST_HEAD = 65_536  # bytes of the request line and the headers


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request does not arrive in time, or has an endless head."""

    timer: asyncio.TimerHandle | None = None
    head: int | None = 0  # bytes of the head so far; None while a body arrives

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self.wait()

    def data_received(self, data: bytes) -> None:
        """Count the bytes of a head."""
        if self.head is not None:
            self.head += len(data)
            # Counted before parsing: a request line of megabytes is never kept.
            if self.head > MOST_HEAD and len(data) > MOST_HEAD:
                self.refuse()
                return
        super().data_received(data)
        if self.head is not None and self.head > MOST_HEAD:
            self.refuse()

    def on_message_begin(self) -> None:
        """A request begins to arrive."""
        super().on_message_begin()
        if self.timer is None:
            self.wait()

    def on_headers_complete(self) -> None:
        """The head is whole; the body has its own limit."""
        self.head = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole."""
        super().on_message_complete()
        self.head = 0
        self.forget()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self.forget()
        super().connection_lost(exc)

    def wait(self) -> None:
        """Close the connection if the request is not whole in time."""
        self.timer = self.loop.call_later(REQUEST_SECONDS, self.late)

    def late(self) -> None:
        """The request did not arrive in time."""
        self.timer = None
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()

    def refuse(self) -> None:
        """Answer that the head is too large, and close."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
                b"content-length: 0\r\nconnection: close\r\n\r\n"
            )
            self.transport.close()

    def forget(self) -> None:
        """Stop the timer."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
