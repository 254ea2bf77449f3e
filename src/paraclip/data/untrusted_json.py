"""JSON from untrusted files and servers: bounded in bytes, depth and digits; whole or streamed."""

import codecs
import json
import math
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

from paraclip.data.lines import open_source
from paraclip.errors import UserError
from paraclip.files import read_bounded

_MOST_BYTES = 64 * 2**20
_MOST_DEPTH = 100  # levels; far below the depth at which Python's own functions fail
_MOST_DIGITS = 100  # digits of an integer; a 256-bit hash has 77
_TOO_DEEP = f"is nested deeper than {_MOST_DEPTH} levels"
_CHUNK = 2**16  # bytes that a stream reads at once
_LARGEST_VALUE = 2**22  # characters of a value in a stream
_BLANKS = re.compile(r"[ \t\r\n]*+")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class BadJson(ValueError):
    """A rejected text; the message is the reason, as a clause ("is not JSON (...)")."""


def parse_json(content: bytes | str, most: int = _MOST_BYTES) -> Any:
    """The value of a JSON text.

    Args:
        content: UTF-8, with or without a byte order mark.
        most: largest number of bytes (characters of a str).

    Raises:
        BadJson: the text is not JSON or not UTF-8, longer than `most`, nested deeper than 100
            levels, or contains NaN, an infinite or overlong number, or a lone surrogate.
    """
    if len(content) > most:
        raise BadJson(f"holds more than {most / 2**20:.3g} MiB")
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        if isinstance(content, str):
            content.encode()
        value = _DECODER.decode(text)
    except UnicodeError:
        raise BadJson("is not UTF-8") from None
    except RecursionError:
        raise BadJson(_TOO_DEEP) from None
    except json.JSONDecodeError as error:
        raise BadJson(f"is not JSON ({error.msg} at character {error.pos + 1:,})") from None
    if text.count("[") + text.count("{") > _MOST_DEPTH:
        check_depth(value)
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeError:
            raise BadJson("holds half of a surrogate pair") from None
    return value


def parse_json_object(content: bytes | str, most: int = _MOST_BYTES) -> dict[str, Any]:
    """The object of a JSON text; raises BadJson like `parse_json`, and for any other value."""
    value = parse_json(content, most)
    if not isinstance(value, dict):
        raise BadJson("is not a JSON object")
    return value


def read_json_object(path: Path | str, hint: str, most: int = _MOST_BYTES) -> dict[str, Any]:
    """The object in a JSON file of at most `most` bytes; raises UserError with the hint."""
    try:
        return parse_json_object(read_bounded(path, most), most)
    except FileNotFoundError as error:
        raise UserError(path, "there is no such file", hint) from error
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", hint) from error
    except BadJson as error:
        raise UserError(path, str(error), hint) from error


def check_depth(value: Any) -> None:
    """Raise BadJson for a value nested deeper than 100 levels."""
    level = [value]
    for _ in range(_MOST_DEPTH + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise BadJson(_TOO_DEEP)


def _bounded_integer(text: str) -> int:
    """The integer; raises BadJson for more than 100 digits."""
    if len(text) > _MOST_DIGITS:
        raise BadJson(f"holds a number of {len(text):,} digits")
    return int(text)


def _finite_number(text: str) -> float:
    """The float; raises BadJson if it is infinite."""
    number = float(text)
    if math.isinf(number):
        raise BadJson("holds a number that is too large")
    return number


def _refuse_constant(name: str) -> NoReturn:
    """Raise BadJson for NaN and Infinity."""
    raise BadJson(f"holds {name}, which is not a JSON number")


_DECODER = json.JSONDecoder(
    parse_int=_bounded_integer, parse_float=_finite_number, parse_constant=_refuse_constant
)
"""The standard decoder with bounded numbers."""


class _JsonStream:
    """Reads JSON piece by piece and holds only one value and a chunk of 64 KiB.

    The standard library parses whole values; this class parses the brackets between them.
    """

    def __init__(self, stream: IO[bytes], source: str) -> None:
        self.stream, self.source = stream, source
        # A byte that is not UTF-8 becomes a lone surrogate, which `clean_text` rejects.
        self.bytes_to_text = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self.text, self.index, self.ended = "", 0, False
        self.open_brackets = 0

    def more(self) -> bool:
        """Drop what was parsed and append a chunk; False at the end of the file.

        A long value doubles the chunk each time, because it is parsed again from its start.
        """
        if self.ended:
            return False
        chunk = self.stream.read(max(_CHUNK, len(self.text) - self.index))
        self.ended = not chunk
        self.text = self.text[self.index :] + self.bytes_to_text.decode(chunk, final=self.ended)
        self.index = 0
        return True

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            self.index = _BLANKS.match(self.text, self.index).end()  # type: ignore[union-attr]
            if self.index < len(self.text):
                return self.text[self.index]
            if not self.more():
                return ""

    def skip(self, expected: str) -> None:
        """Skip a bracket, comma or colon."""
        if self.peek() != expected:
            raise self.refused(f"is not JSON ({expected!r} is missing)")
        self.index += 1

    def refused(self, what: str) -> UserError:
        """An error that quotes the next 30 characters."""
        near = self.text[self.index : self.index + 30]
        return UserError(self.source, f"{what} at {near!r}", "Make the file again.")

    def value(self) -> Any:
        """Parse one whole value, at most 4 MiB long."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.index)
                check_depth(value)
            except RecursionError:
                raise self.refused(_TOO_DEEP) from None
            except BadJson as error:
                raise self.refused(str(error)) from None
            except ValueError as error:
                if len(self.text) - self.index > _LARGEST_VALUE or not self.more():
                    raise self.refused(
                        "is not JSON (a value is broken, or larger than 4 MiB)"
                    ) from error
                continue
            # The next chunk may continue a number: "1", "1." and "1e+" are read as 1.
            if len(self.text) - end > 2 or not self.more():
                self.index = end
                return value

    def elements(self) -> Iterator[Any]:
        """The elements of an array."""
        for _ in self.separated("[", "]"):
            yield self.value()

    def keys(self) -> Iterator[str]:
        """The keys of an object; the caller reads each value before requesting the next key."""
        for _ in self.separated("{", "}"):
            key = self.value()
            self.skip(":")
            yield str(key)

    def separated(self, start: str, end: str) -> Iterator[None]:
        """Yield at the start of each part between the brackets."""
        self.skip(start)
        self.open_brackets += 1
        if self.peek() != end:
            yield
            while self.peek() != end:
                self.skip(",")
                yield
        self.skip(end)
        self.open_brackets -= 1
        if not self.open_brackets and self.peek():
            raise self.refused("is not JSON (the text should end)")


@contextmanager
def open_json(source: str) -> Iterator[_JsonStream]:
    """Open a JSON file; raises the errors of `open_source`."""
    with open_source(source) as stream:
        yield _JsonStream(stream, source)


def array_at(source: str, key: str, hint: str, to_end: bool = True) -> Iterator[Any]:
    """The elements of one array of a JSON object, one at a time.

    Args:
        source: file or URL.
        key: key of the array.
        hint: hint for the error.
        to_end: also parse what follows the array, so that a broken file is an error.
    """
    present = False
    with open_json(source) as text:
        for name in text.keys() if text.peek() == "{" else ():
            if name != key:
                # An array may have any length.
                deque(text.elements() if text.peek() == "[" else [text.value()], maxlen=0)
                continue
            present = True
            yield from text.elements()
            if not to_end:
                return
    if not present:
        raise UserError(source, f"has no {key!r}", hint)
