"""Options from a TOML file: the keys are the options' names, the command line overrides them."""

import tomllib
import types
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from paraclip.errors import UserError, nearest

MOST_BYTES = 1 << 20


def read_options(path: Path | str, config: type) -> dict[str, Any]:
    """The options of a config class that a TOML file sets.

    Args:
        path: the file. Keys may be written with `-` as on the command line.
        config: a dataclass.

    Raises:
        UserError: no such file, no TOML, a key that is no option, or a value of another type.
    """
    return checked(read_toml(path), config, path)


def read_toml(path: Path | str) -> dict[str, Any]:
    """What a TOML file holds.

    Raises:
        UserError: it is missing, too large or no TOML.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(path, "there is no such file", "Check the path.")
    if path.stat().st_size > MOST_BYTES:
        raise UserError(path, "is too large for a file of options", "Check the path.")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(path, f"is no TOML ({error})", "Mend that line.") from error


def checked(options: Mapping[str, Any], config: type, where: object) -> dict[str, Any]:
    """The same options under the names of the class's fields, tables as tuples.

    Raises:
        UserError: naming the key, and the nearest one where it is unknown.
    """
    hints = get_type_hints(config)
    known = {field.name: hints[field.name] for field in fields(config)}
    found = {}
    for key, value in options.items():
        name = key.replace("-", "_")
        if name not in known or name == "config":
            raise UserError(f"{where}: {key}", "is no option", nearest(name, list(known)))
        found[name] = converted(value, known[name])
        if not fits(found[name], known[name]):
            what = f"{value!r} is not {described(known[name])}"
            raise UserError(f"{where}: {key}", what, "Give a value of that kind.")
    return found


def bare(hint: Any) -> Any:
    """A type without tyro's notes on it."""
    return get_args(hint)[0] if hasattr(hint, "__metadata__") else hint


def choices(hint: Any) -> tuple[Any, ...]:
    """The types that a hint allows."""
    hint = bare(hint)
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def converted(value: Any, hint: Any) -> Any:
    """The value as Python has it: lists as tuples, whole numbers as floats where one is wanted."""
    if isinstance(value, list):
        inner = [one for one in choices(hint) if get_origin(one) is tuple]
        of = get_args(inner[0]) if inner else (Any,)
        return tuple(converted(one, of[min(place, len(of) - 1)]) for place, one in enumerate(value))
    if type(value) is int and int not in choices(hint) and float in choices(hint):
        return float(value)
    return value


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type."""
    return any(fits_one(value, one) for one in choices(hint))


def fits_one(value: Any, hint: Any) -> bool:
    """Whether a value is of a type that is no union."""
    hint = bare(hint)
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is not tuple:
        return type(value) is hint
    inner = get_args(hint)
    if inner[-1] is Ellipsis:
        inner = (inner[0],) * len(value) if isinstance(value, tuple) else inner
    return (
        isinstance(value, tuple)
        and len(value) == len(inner)
        and all(fits(one, other) for one, other in zip(value, inner, strict=True))
    )


def described(hint: Any) -> str:
    """A type in words."""
    words = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    parts = []
    for one in (bare(choice) for choice in choices(hint)):
        if get_origin(one) is Literal:
            parts.append("one of " + ", ".join(map(str, get_args(one))))
        elif get_origin(one) is tuple:
            inner = [part for part in get_args(one) if part is not Ellipsis]
            size = "" if Ellipsis in get_args(one) else f"{len(inner)} times "
            parts.append(f"a list ({size}{described(inner[0])})")
        elif one is not type(None):
            parts.append(words.get(one, str(one)))
    return " or ".join(parts)
