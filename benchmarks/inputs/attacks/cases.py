"""Shared by all bad inputs: the class of a case, generally bad contents, and random damage."""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from paraclip.cli import main as paraclip

DEEP = 100_000


@dataclass(frozen=True)
class Case:
    """One bad input.

    Args:
        area: row of the table.
        name: description of the input.
        action: uses the input in a separate folder; returns an exit code or None.
    """

    area: str
    name: str
    action: Callable[[Path], int | None]


def command(*words: object) -> int:
    """Run a command line and return the exit code."""
    return paraclip([str(word) for word in words])


LISTED = {
    "empty": b"",
    "NUL bytes": b"\0" * 1000,
    "not UTF-8": b"\xff\xfe\x80\x81" * 50,
    "deep arrays": b"[" * DEEP,
    "deep objects": b'{"a":' * DEEP,
    "closed deep arrays": b"[" * DEEP + b"]" * DEEP,
    "one long line": b"x" * 3_000_000,
    "number of 5,000 digits": b'{"caption": ' + b"9" * 5000 + b"}\n",
    "lone surrogate": b'{"caption": "\\ud800", "image": "\\udfff"}\n',
    "HTML": b"<!DOCTYPE html><html><body>404</body></html>",
}
PLACES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "a FIFO": lambda path: os.mkfifo(path),
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a loop of links": lambda path: path.symlink_to(path),
}


def flipped(content: bytes, drawn: random.Random) -> bytes:
    """Replace some bytes."""
    changed = bytearray(content)
    for _ in range(max(1, len(content) // 50)):
        changed[drawn.randrange(len(changed))] = drawn.randrange(256)
    return bytes(changed)


def cut(content: bytes, drawn: random.Random) -> bytes:
    """Cut off the end."""
    return content[: drawn.randrange(1, len(content))]


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


DAMAGE: dict[str, Callable[[bytes, random.Random], bytes]] = {
    **{f"flipped {n}": flipped for n in range(2)},
    "cut": cut,
    "inserted": inserted,
    **{f"retyped {n}": retyped for n in range(2)},
    "twice": lambda content, _: content + content,
}
