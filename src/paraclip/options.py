"""Options checked against the annotations of their fields, whatever their origin.

Ranges are annotations of `annotated_types` on the fields: `Annotated[int, Ge(1)]`. pydantic checks
them when the dataclass is created, so the command line, TOML files and Python behave alike.
pydantic is imported at the first check, because `paraclip --help` does not need it.
"""

import os
import sys
import tomllib
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import tyro
from annotated_types import Ge, Gt, Le

from paraclip.errors import UserError, nearest, printable

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Share = Annotated[float, Ge(0), Le(1)]
"""A fraction, 0 to 1."""
Positive = Annotated[float, Gt(0)]
"""A number above 0."""
Count = Annotated[int, Ge(1), Le(2**31 - 1)]
"""A count; at least one."""
Resamples = Annotated[int, Ge(1), Le(1_000_000)]
"""Bootstrap resamples; above this maximum they use more memory and change no printed digit."""
Seed = Annotated[int, Ge(0), Le(2**63 - 1)]
"""Seed of a random generator."""

SETTINGS, WITH_SETTINGS = "paraclip.toml", ("index", "search", "serve")
"""Name of the user's file of settings, and the commands that it has tables for."""
RENAMED = {
    "quickstart": {"model": "base"},
    "index": {"model": "base", "store": "index"},
    "search": {"store": "index"},
    "serve": {"store": "index"},
    "swap-check": {"model": "tuned"},
    "swap": {"model": "tuned"},
    "train": {"model": "base"},
}
"""New names of options by their old names, which version 0.3 no longer accepts, by command."""
_LONGEST_VALUE = 60  # characters of a value in an error
_MOST_BYTES, _MOST_DOTS = 1 << 14, 100  # of a TOML file, of its lines


def _print_warning(line: str) -> None:
    print(printable(f"paraclip: {line}"), file=sys.stderr)


class Checked:
    """Base class of option dataclasses; values are checked on creation.

    Raises:
        UserError: an option has the wrong type or is out of range; names the first one.
    """

    def __post_init__(self) -> None:
        config: type = type(self)
        for name in _hints(config):
            value = getattr(self, name)
            if value is not tyro.MISSING:  # required; the command line sets it later
                _check(config, name, value, f"--{name.replace('_', '-')}")


def _check(config: type, name: str, value: object, where: str) -> Any:
    """The value of a field, an integer as a float where one is due; `where` names the option.

    A text is empty only if that is its default: as the name of a file, it would be the working
    folder.
    """
    from pydantic import ValidationError

    if "" in (value if isinstance(value, tuple) else (value,)) and _default(config, name) != "":
        raise UserError(where, "is empty", "Give it a value, or leave it out.")
    try:
        return _adapter(config, name).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = "It has too few values" if first["type"] == "missing" else first["msg"]
        shown = repr(first["input"])
        if len(shown) > _LONGEST_VALUE:
            shown = f"{shown[:_LONGEST_VALUE]}..."
        what, hint = f"{shown} is not valid", f"{reason.replace('Input', 'It')}."
        raise UserError(where, what, hint) from error


@cache
def _hints(config: Any) -> dict[str, Any]:
    """Return the types of a dataclass's fields with their ranges, by name."""
    known = get_type_hints(config, include_extras=True)
    return {name: known[name] for name in (field.name for field in fields(config))}


@cache
def _default(config: Any, name: str) -> object:
    return next(field.default for field in fields(config) if field.name == name)


@cache
def _adapter(config: type, name: str) -> "TypeAdapter[Any]":
    """Return the validator of a field: no conversion, finite numbers only."""
    from pydantic import ConfigDict, InstanceOf, TypeAdapter

    hint = _hints(config)[name]
    kind = getattr(hint, "__origin__", hint)
    if is_dataclass(kind):  # whose own fields were checked when it was created
        instance_of: Any = InstanceOf
        return TypeAdapter(instance_of[kind])
    return TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False))


def current_name(
    command: str, given: str, where: str = "", warn: Callable[[str], object] = _print_warning
) -> str:
    """The name of an option, `--NAME` or `NAME`, that may be given by its old name; `warn` gets a
    line about the use of an old one, which `where` begins."""
    name = given.removeprefix("--")
    new = RENAMED.get(command, {}).get(name)
    if new is None:
        return given
    new = given.removesuffix(name) + new
    warn(f"{where}{given} is now {new}; version 0.3 accepts only the new name")
    return new


def read_options(path: Path | str, command: str, config: type) -> dict[str, Any]:
    """Return the options of a command that a TOML file sets, by field name.

    Keys are option names, with `-` or `_`; arrays become tuples.

    Raises:
        UserError: the file cannot be read, or a key or its value is not valid.
    """
    return _check_all(read_toml(path), command, config, f"{path}: ")


def find_settings() -> Path | None:
    """The user's `paraclip.toml`: in the working folder or the nearest one above it, else in the
    folder `paraclip` of XDG_CONFIG_HOME (~/.config)."""
    here = Path.cwd()
    own = Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "paraclip")
    places = (folder / SETTINGS for folder in (here, *here.parents, own))
    return next(filter(os.path.isfile, places), None)


def read_settings(path: Path, command: str, config: type) -> dict[str, Any]:
    """Return the options of a command that the user's settings set, by field name.

    They are the table of the command's name.

    Raises:
        UserError: the file cannot be read, or a table, a key or its value is not valid.
    """
    tables = read_toml(path)
    for name, table in tables.items():
        if name not in WITH_SETTINGS or not isinstance(table, dict):
            hint = f"Put options into {', '.join(f'[{one}]' for one in WITH_SETTINGS)}."
            raise UserError(f"{path}: {name}", "is not the table of a command", hint)
    return _check_all(tables.get(command, {}), command, config, f"{path}: [{command}] ")


def _check_all(given: dict[str, Any], command: str, config: type, where: str) -> dict[str, Any]:
    """Return the checked options of a file by field name; `where` begins the errors."""
    known, seen = _fields(config), set()
    values: dict[str, Any] = {}
    for key, value in given.items():
        name = current_name(command, key, where).replace("-", "_")
        if name not in known:
            raise UserError(f"{where}{key}", "is not an option", nearest(name, list(known)))
        if name in seen:
            raise UserError(f"{where}{name}", "is given twice", "Keep one spelling, with - or _.")
        seen.add(name)
        owner, field, holder = known[name]
        checked = _check(owner, field, _as_given(value), f"{where}{key}")
        if holder:
            values[holder] = replace(values.get(holder, owner()), **{field: checked})
        else:
            values[field] = checked
    return values


@cache
def _fields(config: Any, holder: str = "") -> dict[str, tuple[Any, str, str]]:
    """Class and field of each option, and the field that holds an inner class, by option name."""
    found: dict[str, tuple[Any, str, str]] = {}
    for name, hint in _hints(config).items():
        if is_dataclass(getattr(hint, "__origin__", None)):
            found |= _fields(hint.__origin__, name)
        elif name != "config":
            names = (getattr(one, "name", None) for one in getattr(hint, "__metadata__", ()))
            option = next(filter(None, names), name)
            found[option.replace("-", "_")] = (config, name, holder)
    return found


def _as_given(value: Any) -> Any:
    """A value as the command line gets it from a shell: tuples, and the home folder for `~/`."""
    if isinstance(value, str) and value.startswith("~/"):
        return os.path.expanduser(value)
    return tuple(map(_as_given, value)) if isinstance(value, list) else value


def read_toml(path: Path | str) -> dict[str, Any]:
    """Return the content of a TOML file."""
    path = Path(path)
    try:
        if not path.is_file():
            raise UserError(path, "there is no such file", "Check the path.")
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(path, "is too large for a file of options", "Check the path.")
        text = path.read_text(encoding="utf-8-sig")
        for number, line in enumerate(text.split("\n"), 1):
            if line.count(".") > _MOST_DOTS:  # time and memory of tomllib grow with their square
                what = f"has more than {_MOST_DOTS} dots"
                raise UserError(f"{path}:{number}", what, "Options have none in their names.")
        return tomllib.loads(text)
    except RecursionError as error:
        raise UserError(path, "is nested too deeply", "Options need one level.") from error
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", "Check the path.") from error
    except ValueError as error:  # from tomllib, the decoder, or a number with 5,000 digits
        raise UserError(path, f"is not TOML ({error})", "Correct that line.") from error
