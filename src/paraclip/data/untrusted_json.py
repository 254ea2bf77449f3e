"""JSON from untrusted files and servers: bounded in bytes, depth, digits and number of values."""

import json
import math
import re
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any, NoReturn

from paraclip.errors import UserError
from paraclip.files import read_bounded, read_errors

_MOST_BYTES = 64 * 2**20  # by default, as of a line, a header or a configuration
_MOST_DEPTH = 100  # levels; far below the depth at which Python's own functions fail
_MOST_DIGITS = 100  # digits of an integer; a 256-bit hash has 77
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # either half of a pair, as an escape
# All but brackets; a text that does not end takes the rest, so that the time is linear.
_OUTSIDE_BRACKETS = re.compile(r'(?:[^][{}"]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"?)++', re.DOTALL)
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}  # levels down and up


class BadJson(ValueError):
    """A rejected text; the message is the reason, as a clause ("is not JSON (...)")."""


def parse_json(
    content: bytes | str, most: int = _MOST_BYTES, most_values: int | None = None
) -> Any:
    """The value of a JSON text.

    Args:
        content: UTF-8, with or without a byte order mark.
        most: largest number of bytes (characters of a str).
        most_values: largest number of values, of a file whose rows are checked one by one: bytes
            that are not UTF-8 and lone surrogates then remain, as surrogates of the row's texts.

    Raises:
        BadJson: the text is not JSON or not UTF-8, longer than `most`, nested deeper than 100
            levels, or contains NaN, an infinite or overlong number, or a lone surrogate.
    """
    if len(content) > most:
        raise BadJson(f"holds more than {most / 2**20:.3g} MiB")
    in_rows = most_values is not None
    try:
        if isinstance(content, str):
            content.encode()  # fails for a lone surrogate
            text = content
        else:
            text = content.decode("utf-8-sig", "surrogateescape" if in_rows else "strict")
    except UnicodeError:
        raise BadJson("is not UTF-8") from None
    # Each value but the outermost follows one of these, or a key that does.
    if most_values is not None and sum(map(text.count, ",[{")) > most_values:
        raise BadJson(f"holds more than {most_values:,} values")
    check_depth(text)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise BadJson(f"is not JSON ({error.msg} at character {error.pos + 1:,})") from None
    # Only an escape can be half of a pair: decoding has refused its bytes.
    if not in_rows and _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeError:
            raise BadJson("holds half of a surrogate pair") from None
    return value


def parse_json_object(content: bytes | str) -> dict[str, Any]:
    """The object of a JSON text; raises BadJson like `parse_json`, and for any other value."""
    value = parse_json(content)
    if not isinstance(value, dict):
        raise BadJson("is not a JSON object")
    return value


def read_json_object(path: Path | str, hint: str) -> dict[str, Any]:
    """The object in a JSON file of at most 64 MiB; raises UserError with the hint."""
    try:
        with read_errors(path, hint):
            return parse_json_object(read_bounded(path))
    except BadJson as error:
        raise UserError(path, str(error), hint) from error


def check_depth(text: str) -> None:
    """Raise BadJson for a text nested deeper than 100 levels, before anything is parsed."""
    if text.count("[") + text.count("{") <= _MOST_DEPTH:  # too few to be deep
        return
    brackets = _OUTSIDE_BRACKETS.sub("", text)
    levels = accumulate(map(_STEPS.__getitem__, brackets))
    # No parser reads on where the first value ends.
    if any(level > _MOST_DEPTH for level in takewhile(lambda level: level > 0, levels)):
        raise BadJson(f"is nested deeper than {_MOST_DEPTH} levels")


def _bounded_integer(text: str) -> int:
    """The integer; raises BadJson for more than 100 digits."""
    if len(text) > _MOST_DIGITS:
        raise BadJson(f"holds a number of {len(text):,} digits")
    return int(text)


def _finite_number(text: str) -> float:
    """The float; raises BadJson if it is infinite."""
    number = float(text)
    if math.isinf(number):  # from 1e999, for example
        raise BadJson("holds a number that is too large")
    return number


def _refuse_constant(name: str) -> NoReturn:
    """Raise BadJson for NaN and Infinity."""
    raise BadJson(f"holds {name}, which is not a JSON number")  # Python reads it by default


_DECODER = json.JSONDecoder(
    parse_int=_bounded_integer, parse_float=_finite_number, parse_constant=_refuse_constant
)
"""The standard decoder with bounded numbers."""
