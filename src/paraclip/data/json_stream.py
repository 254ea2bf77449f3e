"""Large JSON files, one element at a time."""

import codecs
from collections.abc import Iterator
from typing import IO, Any

from paraclip.data.untrusted_json import DECODER, BadJson, check_depth, too_deep
from paraclip.errors import UserError

CHUNK = 2**16
LARGEST_VALUE = 2**22


class JsonStream:
    """Reads a JSON text in pieces: whole values are parsed by the standard library, and the
    brackets between them here. It holds one value and a chunk of 64 KiB.

    Args:
        stream: the file.
        source: its name, for messages.
    """

    def __init__(self, stream: IO[bytes], source: str) -> None:
        self.stream, self.source = stream, source
        # A byte that is not UTF-8 becomes a lone surrogate, which the caption's check finds.
        self.bytes_to_text = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self.text, self.place, self.ended = "", 0, False
        self.open_brackets = 0

    def more(self) -> bool:
        """Append a chunk, dropping what was read; False at the end of the file."""
        if self.ended:
            return False
        chunk = self.stream.read(CHUNK)
        self.ended = not chunk
        self.text = self.text[self.place :] + self.bytes_to_text.decode(chunk, final=self.ended)
        self.place = 0
        return True

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            while self.place < len(self.text):
                character = self.text[self.place]
                if character not in " \t\r\n":
                    return character
                self.place += 1
            if not self.more():
                return ""

    def skip(self, expected: str) -> None:
        """Go past a bracket, comma or colon."""
        if self.peek() != expected:
            raise self.fault(f"{expected!r} is missing")
        self.place += 1

    def fault(self, what: str) -> UserError:
        """The error for a text that is not JSON."""
        return self.refused(f"is not JSON ({what})")

    def refused(self, what: str) -> UserError:
        """An error that shows the characters it was found at."""
        near = self.text[self.place : self.place + 30]
        shown = repr(near.encode("utf-8", "backslashreplace").decode())
        return UserError(self.source, f"{what} at {shown}", "Make the file again.")

    def value(self) -> Any:
        """Parse one whole value, at most 4 MiB long."""
        self.peek()
        while True:
            try:
                found, end = DECODER.raw_decode(self.text, self.place)
                check_depth(found)
            except RecursionError:
                raise self.refused(str(too_deep())) from None
            except BadJson as error:
                raise self.refused(str(error)) from None
            except ValueError as error:
                if len(self.text) - self.place > LARGEST_VALUE or not self.more():
                    raise self.fault("a value is broken, or larger than 4 MiB") from error
                continue
            # A number that touches the end of the text may go on in the next chunk.
            if end < len(self.text) or not self.more():
                self.place = end
                return found

    def elements(self) -> Iterator[Any]:
        """The elements of an array."""
        for _ in self.separated("[", "]"):
            yield self.value()

    def keys(self) -> Iterator[str]:
        """The keys of an object; each value is read by the caller before it asks for the next."""
        for _ in self.separated("{", "}"):
            key = self.value()
            self.skip(":")
            yield str(key)

    def separated(self, start: str, end: str) -> Iterator[None]:
        """Yield where each part between the brackets begins."""
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
            raise self.fault("the text should end")

    def skip_value(self) -> None:
        """Go past a value; an array element by element, however long it is."""
        if self.peek() != "[":
            self.value()
            return
        for _ in self.elements():
            pass
