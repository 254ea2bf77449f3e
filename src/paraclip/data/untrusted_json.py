"""JSON from untrusted files and servers: bounded in bytes, depth and digits."""

import json
import math
import re
from pathlib import Path
from typing import Any, NoReturn

from paraclip.errors import UserError
from paraclip.files import read_bounded

MOST_BYTES = 64 * 2**20
MOST_DEPTH = 100  # levels; far below the depth at which Python's own functions fail
MOST_DIGITS = 100  # digits of an integer; a 256-bit hash has 77
TOO_DEEP = f"is nested deeper than {MOST_DEPTH} levels"
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class BadJson(ValueError):
    """A rejected text; the message is the reason, as a clause ("is not JSON (...)")."""


def parse_json(content: bytes | str, most: int = MOST_BYTES) -> Any:
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
    text = utf8_text(content)
    try:
        value = DECODER.decode(text)
    except RecursionError:
        raise BadJson(TOO_DEEP) from None
    except json.JSONDecodeError as error:
        raise BadJson(f"is not JSON ({error.msg} at character {error.pos + 1:,})") from None
    if text.count("[") + text.count("{") > MOST_DEPTH:
        check_depth(value)
    if SURROGATE.search(text):
        refuse_surrogates(value)
    return value


def utf8_text(content: bytes | str) -> str:
    """The text without a byte order mark; raises BadJson if it is not UTF-8."""
    try:
        if isinstance(content, bytes):
            return content.decode("utf-8-sig")
        content.encode()
    except UnicodeError:
        raise BadJson("is not UTF-8") from None
    return content


def parse_json_object(content: bytes | str, most: int = MOST_BYTES) -> dict[str, Any]:
    """The object of a JSON text; raises BadJson like `parse_json`, and for any other value."""
    value = parse_json(content, most)
    if not isinstance(value, dict):
        raise BadJson("is not a JSON object")
    return value


def read_json_object(path: Path | str, hint: str, most: int = MOST_BYTES) -> dict[str, Any]:
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
    for _ in range(MOST_DEPTH + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise BadJson(TOO_DEEP)


def refuse_surrogates(value: Any) -> None:
    """Raise BadJson for a lone surrogate, which cannot be written as UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeError:
        raise BadJson("holds half of a surrogate pair") from None


def bounded_integer(text: str) -> int:
    """The integer; raises BadJson for more than 100 digits."""
    if len(text) > MOST_DIGITS:
        raise BadJson(f"holds a number of {len(text):,} digits")
    return int(text)


def finite_number(text: str) -> float:
    """The float; raises BadJson if it is infinite."""
    number = float(text)
    if math.isinf(number):
        raise BadJson("holds a number that is too large")
    return number


def refuse_constant(name: str) -> NoReturn:
    """Raise BadJson for NaN and Infinity."""
    raise BadJson(f"holds {name}, which is not a JSON number")


DECODER = json.JSONDecoder(
    parse_int=bounded_integer, parse_float=finite_number, parse_constant=refuse_constant
)
"""The standard decoder with bounded numbers."""
