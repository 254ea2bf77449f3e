"""Options checked against the annotations of their fields, whatever their origin.

Ranges are annotations of `annotated_types` on the fields: `Annotated[int, Ge(1)]`. pydantic checks
them when the dataclass is created, so the command line, TOML files and Python behave alike.
pydantic is imported at the first check, because `paraclip --help` does not need it.
"""

import ast
import os
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from functools import cache, wraps
from inspect import cleandoc, getsource, signature
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Concatenate,
    ParamSpec,
    Protocol,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

import tyro
from annotated_types import Ge, Gt, Le

from paraclip.errors import UserError, nearest
from paraclip.files import check_file

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    PathName = Path | str
    Names = Sequence[Path | str]
    Codes = str | Sequence[str]
else:  # a program may also give paths and lists, which `takes` turns into these
    PathName, Names, Codes = str, tuple[str, ...], str

_P = ParamSpec("_P")
_A = TypeVar("_A")
_B = TypeVar("_B")
_C = TypeVar("_C")
_R = TypeVar("_R")
_Options = TypeVar("_Options", covariant=True)
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

_LONGEST_VALUE = 60  # characters of a value in an error
_MOST_BYTES, _MOST_DOTS = 1 << 14, 100  # of a TOML file, of its lines


_RENAMED = {
    "store": "index",
    "model": "base",
    "swap model": "tuned",
    "swap-check model": "tuned",
    "index out": "index",  # which other commands call so
    "swap-check out": "json",
    "index problems": "json",
    "serve llm-model": "PARACLIP_MODEL",
    "serve base-url": "OPENAI_BASE_URL",
    "serve token": "PARACLIP_TOKEN",
    "alpha": "share",
    "suite": "benchmarks",
    "first-column": "columns",
    "second-column": "columns",
    "requests-per-minute": "per-minute",
    "tokens-per-minute": "per-minute",
    "engine": "ray-workers",
    "workers": "ray-workers",
    **dict.fromkeys(("weights", "ranking", "sentence-teacher"), "loss-weight"),
}
"""The option, or variable of the environment, that replaces one, of all commands or one."""


class Checked:
    """Base class of option dataclasses; values are checked on creation.

    Raises UserError for the first option of a wrong type or out of range.
    """

    def __post_init__(self) -> None:
        config: type = type(self)
        for name in _hints(config):
            value = getattr(self, name)
            if value is not tyro.MISSING:  # required; the command line sets it later
                check_option(config, name, value, option_name(config, name))


def check_option(config: type, name: str, value: object, where: str, strict: bool = True) -> Any:
    """The value of a field, an integer as a float where one is due; `where` names the option.

    A text is empty only if that is its default: as the name of a file, it would be the working
    folder. Unless `strict`, words become numbers.
    """
    from pydantic import ValidationError

    if "" in (value if isinstance(value, tuple) else (value,)) and _default(config, name) != "":
        raise UserError(where, "is empty", "Give it a value, or leave it out.")
    try:
        return _adapter(config, name).validate_python(value, strict=strict)
    except ValidationError as error:
        first, *others = error.errors(include_url=False)
        reason = "It has too few values" if first["type"] == "missing" else first["msg"]
        reason = reason.partition(", unable")[0]  # to parse a word
        for one in others:  # of a union
            if one["input"] == first["input"] and one["type"] == "literal_error":
                reason += f" or {one['msg'].removeprefix('Input should be ')}"
        shown = repr(first["input"])
        if len(shown) > _LONGEST_VALUE:
            shown = f"{shown[:_LONGEST_VALUE]}..."
        what, hint = f"{shown} is not valid", f"{reason.replace('Input', 'It')}."
        raise UserError(where, what, hint) from error


def nearest_option(name: str, known: list[str], command: str = "", prefix: str = "") -> str:
    """Return a hint like `nearest`: the new name of an option that was renamed, or similar ones."""
    old = name.replace("_", "-")
    new = _RENAMED.get(f"{command.replace('_', '-')} {old}") or _RENAMED.get(old, "")
    if new.isupper():
        return f"Did you mean {new}?"
    # `--loss-weight NAME=VALUE` fills the field `loss_weights`.
    renamed = [one for one in known if one.replace("_", "-") in (new, f"{new}s")]
    return nearest(renamed[0] if renamed else name, renamed or known, prefix)


@cache
def _hints(config: Any) -> dict[str, Any]:
    """Return the types of a dataclass's fields with their ranges, by name."""
    known = get_type_hints(config, include_extras=True)
    return {name: known[name] for name in (field.name for field in fields(config))}


def option_name(config: Any, name: str) -> str:
    """The option of a field on the command line, which may have a name of its own there."""
    marks = getattr(_hints(config)[name], "__metadata__", ())
    own = next((mark.name for mark in marks if getattr(mark, "name", None)), name)
    return f"--{own.replace('_', '-')}"


@cache
def _default(config: Any, name: str) -> object:
    return next(field.default for field in fields(config) if field.name == name)


@cache
def _adapter(config: type, name: str) -> "TypeAdapter[Any]":
    """Return the validator of a field: finite numbers only."""
    from pydantic import ConfigDict, InstanceOf, TypeAdapter

    hint = _hints(config)[name]
    kind = getattr(hint, "__origin__", hint)
    if is_dataclass(kind):  # whose own fields were checked when it was created
        instance_of: Any = InstanceOf
        return TypeAdapter(instance_of[kind])
    return TypeAdapter(hint, config=ConfigDict(allow_inf_nan=False))


class _Takes(Protocol[_Options, _P]):
    """What `takes` makes of functions of up to three values and options."""

    @overload
    def __call__(self, function: Callable[[_Options], _R], /) -> Callable[_P, _R]: ...
    @overload
    def __call__(
        self, function: Callable[[_A, _Options], _R], /
    ) -> Callable[Concatenate[_A, _P], _R]: ...
    @overload
    def __call__(
        self, function: Callable[[_A, _B, _Options], _R], /
    ) -> Callable[Concatenate[_A, _B, _P], _R]: ...
    @overload
    def __call__(
        self, function: Callable[[_A, _B, _C, _Options], _R], /
    ) -> Callable[Concatenate[_A, _B, _C, _P], _R]: ...


def takes(options: Callable[_P, _Options]) -> _Takes[_Options, _P]:
    """A decorator for a function of values and, last, of options: these become its keywords.

    Names, types and defaults are those of the class of the options, for type checkers and `help()`
    alike, which also shows the docstrings of its fields.

    Raises:
        UserError: in a call, for an unknown keyword or a value that the class refuses.
    """
    config: Any = options
    hints = get_type_hints(config)
    of_class = signature(config)
    keywords = [one.replace(annotation=hints[one.name]) for one in of_class.parameters.values()]

    def decorate(function: Callable[..., Any]) -> Any:
        own = signature(function)
        values = [*own.parameters.values()][:-1]
        public = own.replace(parameters=[*values, *keywords])

        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            for name in named.keys() - public.parameters.keys():
                what = f"is not an option of {function.__name__}"
                raise UserError(name, what, nearest_option(name, [*hints], function.__name__))
            given = public.bind(*arguments, **named).arguments
            first = [given.pop(one.name) for one in values]
            chosen = {name: _as_option(value, hints[name]) for name, value in given.items()}
            return function(*first, config(**chosen))

        texts = [f"    {name}: {text}" for name, text in explained(config).items()]
        call.__doc__ = "\n".join([cleandoc(function.__doc__ or ""), "", "Options:", *texts])
        call.__signature__ = public  # type: ignore[attr-defined]
        return call

    return decorate


def _as_option(value: Any, hint: Any) -> Any:
    """A value in the type of an option, which is checked strictly: a path as text, several texts as
    a tuple or with commas, and one as a tuple of one."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if isinstance(value, Path):
        value = str(value)
    elif isinstance(value, list | tuple):
        parts = tuple(str(one) if isinstance(one, Path) else one for one in value)
        return ",".join(map(str, parts)) if str in kinds else parts
    several = any(get_origin(kind) is tuple for kind in kinds)
    return (value,) if several and value is not None else value


def explained(config: type) -> dict[str, str]:
    """The docstring of each field of a dataclass and its bases, by name."""
    found = {}
    for owner in reversed(config.__mro__):
        for field, below in pairwise(_bodies(owner.__module__).get(owner.__name__, ())):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found[name] = " ".join(text.split())
    return {one.name: found[one.name] for one in fields(config) if one.name in found}


@cache
def _bodies(module: str) -> dict[str, list[ast.stmt]]:
    """The bodies of the classes of a module, by name; none without its source."""
    try:
        tree = ast.parse(getsource(sys.modules[module]))
    except (OSError, TypeError):
        return {}
    return {one.name: one.body for one in tree.body if isinstance(one, ast.ClassDef)}


def read_options(path: Path | str, config: type) -> dict[str, Any]:
    """Return the options of the class `config` that a TOML file sets, by field name.

    Keys are option names, with `-` or `_`; arrays become tuples. Raises UserError for a file that
    cannot be read, and for a key or value that is not valid.
    """
    known = [name for name in _hints(config) if name != "config"]
    values: dict[str, Any] = {}
    for key, value in read_toml(path).items():
        name = key.replace("-", "_")
        if name not in known:
            raise UserError(f"{path}: {key}", "is not an option", nearest_option(name, known))
        if name in values:
            raise UserError(f"{path}: {name}", "is given twice", "Keep one spelling, with - or _.")
        values[name] = check_option(config, name, _as_given(value), f"{path}: {key}")
    return values


def _as_given(value: Any) -> Any:
    """A value as the command line gets it from a shell: tuples, and the home folder for `~/`."""
    if isinstance(value, str) and value.startswith("~/"):
        return os.path.expanduser(value)
    return tuple(map(_as_given, value)) if isinstance(value, list) else value


def read_toml(path: Path | str) -> dict[str, Any]:
    """Return the content of a TOML file."""
    path = Path(path)
    try:
        check_file(path)
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
