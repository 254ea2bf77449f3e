"""Bad servers for `paraclip generate`: a loopback server with bad answers, and bad addresses."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.inputs.attacks.cases import DEEP, Case, command

Send = Callable[[socket.socket], None]
"""Answers one request on a connection."""


def cases(sound: Path) -> Iterator[Case]:
    """Answers to the list of models, answers to prompts, and addresses."""
    for what, send in ANSWERS.items():
        yield Case("server: models", what, partial(ask, sound, MODELS | {"models": send}))
        yield Case("server: answers", what, partial(ask, sound, MODELS | {"answer": send}))
    for what, choices in CHOICES.items():
        content = json.dumps({"id": "1", "model": "fake", **choices}).encode()
        yield Case("server: answers", what, partial(ask, sound, MODELS | {"answer": body(content)}))
    for address in ADDRESSES:
        yield Case("server: addresses", repr(address[:60]), partial(generate, sound, address))


def ask(sound: Path, sends: dict[str, Send], folder: Path) -> int:
    """Start a server and send a question to it."""
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(listener, sends), daemon=True).start()
    return generate(sound, f"http://127.0.0.1:{listener.getsockname()[1]}/v1", folder)


def generate(sound: Path, address: str, folder: Path) -> int:
    """Paraphrase one caption with the server at an address."""
    return command(
        "generate", sound / "csv" / "a.csv", "--out", folder / "out", "--first", 1,
        "--backend", "openai", "--model", "fake", "--base-url", address, "--timeout", 2,
        "--max-retries", 0,
    )  # fmt: skip


def route(first: bytes) -> str:
    """The kind of request that a request line begins."""
    return "models" if first.startswith(b"GET") else "answer"


def serve(
    listener: socket.socket, sends: dict[str, Send], kind: Callable[[bytes], str] = route
) -> None:
    """Answer every connection in a separate thread."""
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection, sends, kind), daemon=True).start()


def answer(connection: socket.socket, sends: dict[str, Send], kind: Callable[[bytes], str]) -> None:
    """Read one request and answer it."""
    try:
        with connection, connection.makefile("rb") as stream:
            first, length = stream.readline(), 0
            while line := stream.readline().strip().lower():
                if line.startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            stream.read(length)
            sends[kind(first)](connection)
    except OSError:
        return  # the client has left


def raw(content: bytes) -> Send:
    """Send bytes without any check."""
    return lambda connection: connection.sendall(content)


def body(content: bytes, status: str = "200 OK", *headers: str) -> Send:
    """An answer with a body."""
    head = [f"HTTP/1.1 {status}", "Content-Type: application/json", "Connection: close", *headers]
    return raw("\r\n".join([*head, f"Content-Length: {len(content)}", "", ""]).encode() + content)


def chat(text: object) -> dict[str, object]:
    """A choice with a text."""
    return {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}


def drip(connection: socket.socket) -> None:
    """Send a byte now and then, without end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.2)


def drip_head(connection: socket.socket) -> None:
    """Send a header now and then, without end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-More: 1\r\n")
        time.sleep(0.2)


def flood(connection: socket.socket) -> None:
    """Send a body without end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        connection.sendall(b" " * (1 << 20))


def bomb() -> bytes:
    """Two gigabytes of spaces, compressed."""
    return gzip.compress(gzip.compress(b" " * (1 << 24))[:0] + b" " * (1 << 24)) * 128


GOOD = json.dumps({"id": "1", "model": "fake", "choices": [chat("There is a red disc.")]}).encode()
MODELS: dict[str, Send] = {
    "models": body(b'{"object": "list", "data": [{"id": "fake"}]}'), "answer": body(GOOD),
}  # fmt: skip
ANSWERS: dict[str, Send] = {
    "HTML": body(b"<html><body>Welcome</body></html>"),
    "HTML by its type": body(b"<html></html>", "200 OK", "Content-Type: text/html"),
    "nothing": body(b""), "null": body(b"null"), "a list": body(b"[]"), "a text": body(b'"x"'),
    "a number": body(b"3"), "half of JSON": body(b'{"data": [{"id": "fa'),
    "NaN": body(b'{"data": NaN, "choices": NaN}'), "not UTF-8": body(b"\xff\xfe" * 50),
    "deep arrays": body(b"[" * DEEP), "deep objects": body(b'{"a":' * DEEP),
    "closed deep arrays": body(b"[" * DEEP + b"]" * DEEP),
    "wrong types": body(b'{"data": 3, "choices": 3}'), "nulls": body(b'{"data": null}'),
    "a number of 5,000 digits": body(b'{"data": [' + b"9" * 5000 + b"]}"),
    "control characters": body(b'{"error": {"message": "\\u001b[31m"}}', "400 Bad"),
    "lone surrogate": body(b'{"data": [{"id": "\\ud800"}]}'),
    **{f"status {status}": body(b"{}", f"{status} X") for status in
       (100, 204, 301, 304, 400, 401, 403, 404, 408, 409, 413, 418, 422, 429, 500, 502, 503, 999)},
    "an error that is a list": body(b'{"error": [3]}', "500 X"),
    "an error of 5 MB": body(b'{"error": "' + b"x" * 5_000_000 + b'"}', "400 X"),
    "a redirect to itself": body(b"", "302 Found", "Location: /v1/models"),
    "a redirect to nowhere": body(b"", "307 X", "Location: http://[::1"),
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.0\r\n"), "closed at once": raw(b""),
    "a status that is no number": raw(b"HTTP/1.1 OK\r\n\r\n"),
    "less than it says": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{}"),
    "a negative length": raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}"),
    "a broken chunk": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "gzip that is none": body(b"{}", "200 OK", "Content-Encoding: gzip"),
    "an unknown encoding": body(b"{}", "200 OK", "Content-Encoding: rot13"),
    "an unknown charset": body(b"{}", "200 OK", "Content-Type: application/json; charset=x"),
    "a wait of a year": body(b"{}", "429 X", "Retry-After: 31536000"),
    "a wait that is no number": body(b"{}", "429 X", "Retry-After: soon"),
    "a header of 1 MB": raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20) + b"\r\n\r\n{}"),
    "silence": lambda connection: time.sleep(3600), "a drip": drip, "a drip of headers": drip_head,
    "a flood": flood,
    "a gzip bomb": lambda connection: body(bomb(), "200 OK", "Content-Encoding: gzip")(connection),
}  # fmt: skip
CHOICES: dict[str, dict[str, object]] = {
    f"choices {shown!r}": {"choices": shown}
    for shown in (
        [], None, 3, [None], [3], ["x"], [{}], [[]], [{"message": None}], [{"message": "x"}],
        [{"message": 3}], [{"message": {}}], [chat(None)], [chat(3)], [chat([])], [chat({})],
        [chat("")], [chat("\ud800")], [chat("\0")], [chat("\x1b[31mred")], [chat("x" * 100_000)],
        [{**chat("A disc."), "finish_reason": 3}], [{**chat("A disc."), "index": "x"}],
        [chat("A red disc.")] * 1000, [{"text": "A disc."}], {"a": 1},
    )
}  # fmt: skip
ADDRESSES = [
    "",
    " ",
    "x",
    "/",
    "http:",
    "http://",
    "http:///v1",
    "http://:80",
    "http://[::1",
    "http://[x]/",
    "http://127.0.0.1:99999/v1",
    "http://127.0.0.1:x/v1",
    "http://127.0.0.1:-1/v1",
    "127.0.0.1:1",
    "http://127.0.0.1:1/v1",
    "https://127.0.0.1:1/v1",
    "ftp://127.0.0.1/v1",
    "file:///etc/passwd",
    "http://user:p@ss@127.0.0.1:1/v1",
    "http://a b/v1",
    "http://\x00/v1",
    "http://\u2192/v1",
    "http://" + "a" * 300 + "/v1",
    "http://127.0.0.1:1/v1?x=\n",
    "http://..:1/v1",
    "http://-/v1",
    "http://%zz/v1",
    "http://xn--/v1",
    "HTTP://127.0.0.1:1",
    "javascript:alert(1)",
    "\udcff",
]
