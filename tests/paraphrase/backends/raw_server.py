"""A local server that sends any bytes, at a speed and for a time set by the test."""

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Handler = Callable[[bytes, Callable[[bytes], None]], None]
"""Takes a request's head and a function that sends bytes; the connection is closed after it."""


def ok(kind: str = "application/json", **headers: str) -> bytes:
    """The head of a response that ends with the connection."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines = ["HTTP/1.1 200 OK", "Connection: close", f"Content-Type: {kind}", *lines, "", ""]
    return "\r\n".join(lines).encode()


class RawServer:
    """Use `raw_server`.

    Attributes:
        url: address for `base_url`.
        heads: the heads of all requests.
        sent: bytes that were handed to clients.
        stopping: set when the test is over, which ends endless handlers.
    """

    def __init__(self, handler: Handler, tls: ssl.SSLContext | None) -> None:
        self.handler, self.tls, self.heads, self.sent = handler, tls, list[bytes](), 0
        self.stopping = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0.05)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/v1"

    def run(self) -> None:
        """Accept connections until the test is over."""
        while not self.stopping.is_set():
            try:
                connection, _ = self.listener.accept()
            except TimeoutError:
                continue
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection: socket.socket) -> None:
        """Read a request and let the handler answer it."""

        def send(content: bytes) -> None:
            if self.stopping.is_set():
                raise OSError
            connection.sendall(content)
            self.sent += len(content)

        connection.settimeout(5)
        with connection:
            try:
                if self.tls is not None:
                    connection = self.tls.wrap_socket(connection, server_side=True)
                head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
                length = re.search(rb"content-length: *(\d+)", head.lower())
                while length and len(body) < int(length[1]):
                    body += connection.recv(65536)
                self.heads.append(head)
                self.handler(head, send)
            except OSError:
                return  # the client has left, as it should


@contextmanager
def raw_server(handler: Handler, tls: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    """A server that answers with the handler until the block ends."""
    server = RawServer(handler, tls)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        thread.join()
        server.listener.close()
