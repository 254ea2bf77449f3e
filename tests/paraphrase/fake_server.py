"""A local OpenAI-compatible server that can answer, stall, fail, rate-limit or misreport."""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = str | list[str | None] | int | bytes | None
"""A text; several texts; an HTTP status; a raw body; None drops the connection."""


def rotate(text: str) -> str:
    """A rewording that keeps every word and moves the last two to the front."""
    words = text.rstrip(".").split()
    return " ".join(words[-2:] + words[:-2])


class _Server(ThreadingHTTPServer):
    """Knows which of its connections are open."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self.open: set[Any] = set()
        super().__init__(("127.0.0.1", 0), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.open.discard(request)


class FakeServer:
    """Use as a context manager. Each test scripts it by replacing `behave`.

    Attributes:
        url: address for `base_url`.
        asked: the number of requests per prompt, including failures.
        answered: the number of complete answers per prompt.
        bodies: those of all requests.
        behave: the reply to a prompt that came for the n-th time (from 1).
        key: if set, requests with another key are refused.
        delay: seconds before each answer.
        choices: most choices in one response, whatever `n` says.
        limit: the only name by which it takes the most tokens of an answer, if set.
    """

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.behave: Callable[[str, int], Reply] = lambda prompt, time: rotate(prompt)
        self.key: str | None = None
        self.models_status = 200
        self.delay = 0.0
        self.choices = 99
        self.limit: str | None = None
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._server = _Server(self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> "FakeServer":
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def finish_requests(self) -> None:
        """Wait until the requests of clients that are gone have been read and counted."""
        with socket.create_connection(self._server.server_address[:2]) as last:
            last.shutdown(socket.SHUT_WR)
            last.recv(1)  # closed by the server, which accepts connections in their order
        while self._server.open:
            time.sleep(0.005)

    def reply(self, body: dict[str, Any]) -> tuple[Reply, str, int]:
        """What to send for a request's body, its prompt, and how many choices."""
        prompt = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
        with self._lock:
            self.asked[prompt] += 1
            self.bodies.append(body)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            count = self.asked[prompt]
        time.sleep(self.delay)
        with self._lock:
            self._at_once -= 1
        return self.behave(prompt, count), prompt, min(body.get("n", 1), self.choices)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet: a second one waits 40 ms for the first

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

            def refused(self) -> bool:
                given = self.headers.get("Authorization", "")
                if fake.key is None or given == f"Bearer {fake.key}":
                    return False
                self.send(401, b'{"error": {"message": "Incorrect API key: %s"}}' % given.encode())
                return True

            def do_GET(self) -> None:
                if not self.refused():
                    self.send(fake.models_status, b'{"object": "list", "data": []}')

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.refused():
                    return
                if fake.limit is not None and fake.limit not in body:
                    message = b"Unsupported parameter. Use 'max_completion_tokens' instead."
                    self.send(400, b'{"error": {"message": "%s"}}' % message)
                    return
                reply, prompt, count = fake.reply(body)
                if reply is None:
                    self.close_connection = True
                elif isinstance(reply, int):
                    self.send(reply, b'{"error": {"message": "told to fail"}}')
                elif isinstance(reply, bytes):
                    self.send(200, reply)
                else:
                    texts = [reply] * count if isinstance(reply, str) else reply
                    self.send(200, response(texts, "prompt" in body))
                    fake.answered[prompt] += 1

            def send(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Retry-After-Ms", "10")
                self.end_headers()
                self.wfile.write(body)

        return Handler


def response(texts: list[str | None], plain: bool) -> bytes:
    """A response body of the completions or the chat endpoint."""
    said: list[dict[str, Any]] = []
    for place, text in enumerate(texts):
        answer = {"text": text} if plain else {"message": {"role": "assistant", "content": text}}
        said.append({"index": place, "finish_reason": "stop", **answer})
    return json.dumps({"id": "1", "created": 0, "model": "fake", "choices": said}).encode()
