"""Large JSON files, one element at a time."""

import codecs
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from paraclip.data.lines import open_source
from paraclip.data.untrusted_json import DECODER, TOO_DEEP, BadJson, check_depth
from paraclip.errors import UserError

CHUNK = 2**16
BLANKS = re.compile(r"[ \t\r\n]*+")
LARGEST_VALUE = 2**22


class JsonStream:
    """Reads JSON piece by piece and holds only one value and a chunk of 64 KiB.

    The standard library parses whole values; this class parses the brackets between them.

    Args:
        stream: the file.
        source: its name, for messages.
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
        chunk = self.stream.read(max(CHUNK, len(self.text) - self.index))
        self.ended = not chunk
        self.text = self.text[self.index :] + self.bytes_to_text.decode(chunk, final=self.ended)
        self.index = 0
        return True

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            self.index = BLANKS.match(self.text, self.index).end()  # type: ignore[union-attr]
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
                value, end = DECODER.raw_decode(self.text, self.index)
                check_depth(value)
            except RecursionError:
                raise self.refused(TOO_DEEP) from None
            except BadJson as error:
                raise self.refused(str(error)) from None
            except ValueError as error:
                if len(self.text) - self.index > LARGEST_VALUE or not self.more():
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

    def skip_value(self) -> None:
        """Skip a value; an array element by element, because it may have any length."""
        for _ in self.elements() if self.peek() == "[" else [self.value()]:
            pass


@contextmanager
def open_json(source: str) -> Iterator[JsonStream]:
    """Open a JSON file; raises the errors of `open_source`."""
    with open_source(source) as stream:
        yield JsonStream(stream, source)


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
                text.skip_value()
                continue
            present = True
            yield from text.elements()
            if not to_end:
                return
    if not present:
        raise UserError(source, f"has no {key!r}", hint)
