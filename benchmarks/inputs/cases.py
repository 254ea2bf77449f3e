"""What all bad inputs share: the class of a case, and general damage."""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from paraclip.cli import main as command_line

DEEP = 100_000
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
    """

    area: str
    name: str
    make: Callable[[Path], Action]
    may_change: tuple[str, ...] = ()


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


def bad_files(sound: Path) -> dict[str, Write]:
    """What is written in place of a sound file, by description."""
    written: dict[str, Write] = {
        what: lambda path, content=content: path.write_bytes(content)
        for what, content in LISTED.items()
    }

    def damage(change: Change, what: str, path: Path) -> None:
        drawn = random.Random(f"{sound.name} {what}")
        path.write_bytes(change(sound.read_bytes(), drawn))

    damaged = {what: partial(damage, change, what) for what, change in DAMAGE.items()}
    return written | damaged | PLACES


# Commands ---------------------------------------------------------------------------


def dry_run(path: Path | str) -> list[Any]:
    """Show what is read from captions."""
    server = ("--backend", "openai", "--model", "fake", "--base-url", DEAD)
    return ["generate", path, "--out", "out", "--dry-run", *server]


def compared(*paths: Path) -> list[Any]:
    """Compare the models of reports."""
    return ["evaluate", "--compare", *paths]


def generate(sound: Path, out: Path) -> list[Any]:
    """Paraphrase one caption with a server that refuses connections."""
    return [
        "generate", sound / "csv" / "a.csv", "--out", out, "--first", 1, "--backend", "openai",
        "--model", "fake", "--base-url", DEAD,
    ]  # fmt: skip
