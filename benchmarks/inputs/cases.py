"""What all bad inputs share: the class of a case, general damage, and servers that answer badly."""

import json
import os
import random
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from paraclip.cli import main as command_line

LOST, WRONG = 3, 4
"""Exit codes of an action that has found a lost file, or a broken promise."""
DEEP, HUGE = 100_000, 1 << 40
CAPTIONS = ["A red disc.", "A blue square.", "A green disc on paper.", "A small red square."]
DEAD = "http://127.0.0.1:9/v1"  # a server that refuses connections
Action = Callable[[], Any] | list[Any]
"""A function that returns an exit code or None, or the words of a command line."""
Change = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Case:
    """One bad input.

    Args:
        area: row of the table.
        name: description of the input.
        make: writes the user's files to a separate folder, and returns what uses them.
        may_change: patterns of the files that the command may replace, because it wrote them.
        refused: whether accepting the input is wrong.
        seconds: time limit, if it needs more than the usual one.
    """

    area: str
    name: str
    make: Callable[[Path], Action]
    may_change: tuple[str, ...] = ()
    refused: bool = False
    seconds: float = 0.0


def paraclip(*words: object) -> int:
    """Run a command line and return the exit code."""
    return command_line([str(word) for word in words])


# What is wrong with a file -----------------------------------------------------------------------

LISTED: dict[str, bytes] = {
    "empty": b"", "NUL bytes": b"\0" * 1000, "not UTF-8": b"\xff\xfe\x80\x81" * 50,
    "deep arrays": b"[" * DEEP, "deep objects": b'{"a":' * DEEP,
    "closed deep arrays": b"[" * DEEP + b"]" * DEEP, "one long line": b"x" * 3_000_000,
    "number of 5,000 digits": b'{"caption": ' + b"9" * 5000 + b"}\n",
    "lone surrogate": b'{"caption": "\\ud800", "image": "\\udfff"}\n',
    "HTML": b"<!DOCTYPE html><html><body>404</body></html>",
}  # fmt: skip
PLACES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None, "a folder": lambda path: path.mkdir(),
    "a FIFO": lambda path: os.mkfifo(path),
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a loop of links": lambda path: path.symlink_to(path),
}  # fmt: skip


def flipped(content: bytes, drawn: random.Random) -> bytes:
    """Replace some bytes."""
    changed = bytearray(content)
    for _ in range(max(1, len(content) // 50)):
        changed[drawn.randrange(len(changed))] = drawn.randrange(256)
    return bytes(changed)


def inserted(content: bytes, drawn: random.Random) -> bytes:
    """Insert random bytes in the middle."""
    at = drawn.randrange(len(content))
    return content[:at] + drawn.randbytes(40) + content[at:]


def retyped(content: bytes, drawn: random.Random) -> bytes:
    """Replace words and numbers by values of other types."""
    values = [b"null", b"-1", b"1e999", b"[]", b"{}", b'""', b"NaN", b"true"]
    words = content.split(b" ")
    for _ in range(max(1, len(words) // 8)):
        words[drawn.randrange(len(words))] = drawn.choice(values)
    return b" ".join(words)


DAMAGE: dict[str, Change] = {
    "flipped 0": flipped, "flipped 1": flipped, "inserted": inserted, "retyped 0": retyped,
    "retyped 1": retyped, "twice": lambda content, _: content + content,
    "cut": lambda content, drawn: content[: drawn.randrange(1, len(content))],
}  # fmt: skip
Write = Callable[[Path], object]
"""Writes a bad file."""


def bad_files(sound: Path | None, listed: Mapping[str, bytes] = LISTED) -> dict[str, Write]:
    """What is written in place of a sound file, by description."""
    written: dict[str, Write] = {
        what: lambda path, content=content: path.write_bytes(content)
        for what, content in listed.items()
    }

    def damage(change: Change, what: str, path: Path) -> None:
        assert sound is not None
        drawn = random.Random(f"{sound.name} {what}")
        path.write_bytes(change(sound.read_bytes(), drawn))

    if sound is not None:
        written |= {what: partial(damage, change, what) for what, change in DAMAGE.items()}
    return written | PLACES


# Commands and servers ---------------------------------------------------------------------------


def dry_run(path: Path | str) -> list[Any]:
    """Show what is read from captions."""
    server = ("--backend", "openai", "--model", "fake", "--base-url", DEAD)
    return ["generate", path, "--out", "out", "--dry-run", *server]


def compared(*paths: Path) -> list[Any]:
    """Compare the models of reports."""
    return ["evaluate", "--compare", *paths]


Send = Callable[[socket.socket], None]
"""Answers one request on a connection."""


def raw(content: bytes) -> Send:
    """Send bytes without any check."""
    return lambda connection: connection.sendall(content)


def body(content: bytes, status: str = "200 OK", *headers: str) -> Send:
    """An answer with a body."""
    head = [f"HTTP/1.1 {status}", "Content-Type: application/json", "Connection: close", *headers]
    return raw("\r\n".join([*head, f"Content-Length: {len(content)}", "", ""]).encode() + content)


def endless(head: bytes, more: bytes, pause: float = 0.2) -> Send:
    """Send something again and again, without end."""

    def send(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(more)
            threading.Event().wait(pause)

    return send


def chat(text: object, **more: object) -> dict[str, object]:
    """An answer of a language model."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return {"id": "1", "model": "fake", "choices": [choice | more]}


def served(sends: Mapping[str, Send], seen: list[bytes] | None = None) -> str:
    """The address of a server in a thread that answers GET by `models` and POST by `answer`.

    Args:
        sends: an answer for each of both.
        seen: gets the first line of each request.
    """

    def answer(connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rb") as stream:
            first, length = stream.readline(), 0
            while line := stream.readline().strip().lower():
                if line.startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            stream.read(length)
            if seen is not None:
                seen.append(first)
            sends["models" if first.startswith(b"GET") else "answer"](connection)

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def generate(sound: Path, address: str, out: Path) -> list[Any]:
    """Paraphrase one caption with the server at an address."""
    return [
        "generate", sound / "csv" / "a.csv", "--out", out, "--first", 1, "--backend", "openai",
        "--model", "fake", "--base-url", address,
    ]  # fmt: skip


def be_patient(seconds: float, retries: int) -> None:
    """How long clients of language models wait, and how often they ask again, from now on."""
    from paraclip.paraphrase import backends

    kind = backends.BACKENDS["openai"]
    options = replace(kind.options, timeout=seconds, max_retries=retries)
    backends.BACKENDS["openai"] = replace(kind, options=options)


MODELS: dict[str, Send] = {
    "models": body(b'{"object": "list", "data": [{"id": "fake"}]}'),
    "answer": body(json.dumps(chat("There is a red disc.")).encode()),
}
