"""What is wrong with words that the option parser refuses, in one line.

The parser draws boxes, and its hooks for errors are private. So the words are read once more, by
the fields of the options.
"""

import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro

from paraclip.commands import COMMANDS
from paraclip.errors import UserError
from paraclip.options import check_option, nearest_option

POSITIONAL, _HIDDEN, _APPENDED = (
    get_args(one)[1]
    for one in (tyro.conf.Positional[str], tyro.conf.Suppress[str], tyro.conf.UseAppendAction[str])
)
"""What tyro adds to the type of a field."""
_OPTION = re.compile(r"--?[^\W\d]")  # -1 is a number
_BOX = re.compile(r"[\u2500-\u257f\s]+")


@dataclass(frozen=True)
class _Field:
    """A field of a class of options: what a user calls it, and the least and most values of it."""

    owner: type
    name: str
    shown: str
    marks: list[Any]
    values: tuple[int, float]
    is_tuple: bool
    may_be_none: bool
    is_due: bool

    def check(self, given: list[str]) -> None:
        """Raise UserError for values that are too few, or not of its type."""
        fewest, most = self.values
        if len(given) < fewest:
            due = "a value" if fewest == 1 else f"{fewest} values"
            raise UserError(self.shown, f"needs {due}", "Add it, or leave the option out.")
        if len(given) > most:
            raise UserError(self.shown, "takes no value", "Name it alone.")
        if given and not (self.may_be_none and given == ["None"]):
            value: Any = tuple(given) if self.is_tuple else given[0]
            check_option(self.owner, self.name, value, self.shown, strict=False)


def usage_error(command: str, words: list[str], said: str) -> UserError:
    """The error in the words that follow a command, of which the parser said something."""
    see = f"See paraclip {command} --help."
    known = list(_fields_of(COMMANDS[command].options_class()))
    options = {one.shown: one for one in known if not {POSITIONAL, _HIDDEN} & {*one.marks}}
    places = [one for one in known if POSITIONAL in one.marks]
    given, plain, unknown = _read(words, options)
    if unknown:
        hints = dict.fromkeys(_hint(name, command, known) for name in unknown)
        what = f"has no option{'s' * (len(unknown) > 1)} {', '.join(unknown)}"
        return UserError(command, what, " ".join([*filter(None, hints), see]))
    try:
        for name, values in given:
            options[name].check(values)
        for one, word in zip(places, plain, strict=False):
            one.check([word])
    except UserError as error:
        return error
    if len(plain) > (most := sum(one.values[1] for one in places)):
        what, quotes = (
            f"has no place for {' '.join(plain[int(most) :])!r}",
            "Several words need quotes.",
        )
        return UserError(command, what, f"{quotes} {see}" if places else see)
    named = [name for name, _ in given]
    lacking = [*places[len(plain) :], *(one for one in options.values() if one.shown not in named)]
    if lacks := [one.shown for one in lacking if one.is_due]:
        return UserError(command, f"lacks {' and '.join(lacks)}", see)
    what = _BOX.sub(" ", said).partition("For full helptext")[0].strip(" .")
    return UserError(command, what, see)


def _fields_of(config: Any) -> Iterator[_Field]:
    """The fields of a class of options, and of those inside it."""
    hints = get_type_hints(config, include_extras=True)
    for field in fields(config):
        hint = hints[field.name]
        kind, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        if is_dataclass(kind):
            yield from _fields_of(kind)
            continue
        shown = f"--{field.name.replace('_', '-')}"
        for mark in marks:  # made by `tyro.conf.arg`
            named = getattr(mark, "metavar" if POSITIONAL in marks else "name", None)
            shown = shown if named is None else f"{'--' * (POSITIONAL not in marks)}{named}"
        kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        parts = next((get_args(one) for one in kinds if get_origin(one) is tuple), ())
        values: tuple[int, float] = (len(parts) or 1,) * 2
        if kind is bool:
            values = (0, 0)
        elif Ellipsis in parts:
            values = (1, 1) if _APPENDED in marks else (0, float("inf"))
        may_be_none = type(None) in kinds and all(get_origin(one) is not Literal for one in kinds)
        is_due = field.default is MISSING
        yield _Field(config, field.name, shown, marks, values, bool(parts), may_be_none, is_due)


def _read(
    words: list[str], options: dict[str, _Field]
) -> tuple[list[tuple[str, list[str]]], list[str], list[str]]:
    """The options with their values, the other words, and the options that are not known."""
    end = words.index("--") if "--" in words else len(words)
    given: list[tuple[str, list[str]]] = []
    plain: list[str] = []
    unknown: list[str] = []
    room = 0.0
    for word in words[:end]:
        if not _OPTION.match(word):
            (given[-1][1] if given and len(given[-1][1]) < room else plain).append(word)
            continue
        name, equals, value = word.partition("=")
        name = name.replace("_", "-")
        if name not in options:
            unknown.append(name)
            room = 0
            continue
        given.append((name, [value] if equals else []))
        room = 0 if equals else options[name].values[1]
    return given, plain + words[end + 1 :], unknown


def _hint(name: str, command: str, known: list[_Field]) -> str:
    """Where the value of an option belongs that a command does not have."""
    field = name.lstrip("-").replace("-", "_")
    for one in known:
        if POSITIONAL in one.marks and one.name == field:
            return f"Give {one.shown} without {name}."
        if _HIDDEN in one.marks and one.name == field:
            return f"{name} is set in a file, with --config."
    shown = [one.removeprefix("--") for one in _options_of(command)]
    if (offered := nearest_option(name.lstrip("-"), shown, command, "--")).startswith("Did"):
        return offered
    others = [other for other in COMMANDS if other != command and name in _options_of(other)]
    return f"{name} is an option of {', '.join(others)}." if others else ""


def _options_of(command: str) -> list[str]:
    found = _fields_of(COMMANDS[command].options_class())
    return [one.shown for one in found if not {POSITIONAL, _HIDDEN} & {*one.marks}]
