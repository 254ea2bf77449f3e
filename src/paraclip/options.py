"""Options checked against the annotations of their fields, wherever they come from.

A range sits on the field, in the vocabulary of `annotated_types`: `Annotated[int, Ge(1)]`. pydantic
checks it when the dataclass is made, so the command line, a TOML file and Python get one answer.
pydantic is imported with the first check: `paraclip --help` needs none.
"""

from dataclasses import fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import tyro
from annotated_types import Ge, Gt, Le

from paraclip.errors import UserError

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

Share = Annotated[float, Ge(0), Le(1)]
"""A part of a whole, 0 to 1."""
Positive = Annotated[float, Gt(0)]
"""A number above 0."""
Count = Annotated[int, Ge(1), Le(2**31 - 1)]
"""How many of something; at least one."""
Resamples = Annotated[int, Ge(1), Le(1_000_000)]
"""Bootstrap resamples; more take memory and change no digit that is printed."""
Seed = Annotated[int, Ge(0), Le(2**63 - 1)]
"""Seed of a random generator."""

LONGEST_VALUE = 60  # characters of a value in an error


NO_DEFAULT = tyro.conf.arg(help_behavior_hint="")


def unset(config: type, name: str) -> bool:
    """Whether the default of a field is None, or False: a flag."""
    default = vars(config).get(name, ...)
    return default is None or default is False


class Checked:
    """Base of a dataclass of options, whose values are checked when it is made.

    Raises:
        UserError: naming the first option that has another type or is out of range.
    """

    def __init_subclass__(cls) -> None:
        """In the help, leave "(default: None)" and "(default: False)" out: the text says it."""
        cls.__annotations__ = {
            name: Annotated[hint, NO_DEFAULT] if unset(cls, name) else hint
            for name, hint in cls.__annotations__.items()
        }

    def __post_init__(self) -> None:
        config: type = type(self)
        for name in hints(config):
            value = getattr(self, name)
            if value is not tyro.MISSING:  # required, and given later on the command line
                check(config, name, value, f"--{name.replace('_', '-')}")


def check(config: type, name: str, value: object, where: str) -> Any:
    """One value for a class of options, checked: a whole number is a float where one is wanted.

    Args:
        config: a dataclass.
        name: of its field.
        value: for the field.
        where: how the user knows the option, for the error.

    Raises:
        UserError: the value has another type or is out of range.
    """
    from pydantic import ValidationError

    try:
        return adapter(config, name).validate_python(value)
    except ValidationError as error:
        raise refusal(where, error) from error


@cache
def hints(config: Any) -> dict[str, Any]:
    """The types of a dataclass's fields with their ranges, by name."""
    known = get_type_hints(config, include_extras=True)
    return {name: known[name] for name in (field.name for field in fields(config))}


@cache
def adapter(config: type, name: str) -> "TypeAdapter[Any]":
    """The validator of a field: nothing is converted, and numbers are finite."""
    from pydantic import ConfigDict, InstanceOf, TypeAdapter

    hint = hints(config)[name]
    kind = getattr(hint, "__origin__", hint)
    if is_dataclass(kind):
        instance_of: Any = InstanceOf
        return TypeAdapter(instance_of[kind])
    return TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False))


def refusal(where: str, error: "ValidationError") -> UserError:
    """The first fault that pydantic found, in one line."""
    first = error.errors(include_url=False)[0]
    reason = "It has too few values" if first["type"] == "missing" else first["msg"]
    shown = repr(first["input"])
    if len(shown) > LONGEST_VALUE:
        shown = f"{shown[:LONGEST_VALUE]}..."
    return UserError(where, f"{shown} is not valid", f"{reason.replace('Input', 'It')}.")
