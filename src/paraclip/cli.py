"""Command-line interface: parses the options of a command of the table, and reports errors."""

import ctypes
import errno
import os
import platform
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import partial
from importlib import metadata
from io import StringIO
from itertools import groupby, zip_longest
from pathlib import Path
from tempfile import gettempdir
from typing import Annotated, Any, Union, get_args

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructTypeInfo,
    UnsupportedTypeAnnotationError,
)

import paraclip
from paraclip.commands import COMMANDS
from paraclip.errors import UserError, nearest, printable
from paraclip.files import cache_folder, check_name, readable
from paraclip.options import read_options
from paraclip.plugins import packages_in_use
from paraclip.signals import report_end
from paraclip.usage import POSITIONAL, usage_error
from paraclip.version import __version__

# torch allocates and frees the same large blocks in every step. By default glibc returns them to
# the kernel, which clears each page again when it is touched next; on a virtual machine this can
# take longer than the computation itself.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h
_LARGEST_KEPT = 1 << 30
"""Blocks of at most this many bytes come from the heap and are reused."""
_MOST_KEPT = (1 << 31) - 1
"""Free bytes at the end of the heap above which memory is returned to the kernel."""
_GROWTH = 64 << 20
"""Bytes by which the heap grows in addition to what is asked for."""
_CONFIGURING = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
"""How names of environment variables that configure or replace malloc begin."""
_QUIET = ("-q", "--quiet")
_FOR_DEVELOPERS = ("all", "benchmarks", "crosscheck", "dev", "docs", "recipes")
"""Extras that no user needs, or that name others."""
_EXTRA = re.compile(r"extra == ['\"]([\w-]+)")
_NAME = re.compile(r"[\w.-]+")  # before the versions, as in `onnx>=1.17`
_NO_DEFAULT = tyro.conf.arg(help_behavior_hint="")
_FIRST = ("index", "base", "tuned", "bank", "teacher", "out")
"""Options that the help of a command names first."""
_REGISTRY = ConstructorRegistry()
"""Constructor rules: tyro's and the two below."""


@_REGISTRY.primitive_rule
def _optional(
    info: PrimitiveTypeInfo,
) -> PrimitiveConstructorSpec[Any] | UnsupportedTypeAnnotationError | None:
    """Show optional options in the help by the type of their value: STR, not {None}|STR."""
    types = tuple(one for one in get_args(info.type) if one is not type(None))
    if len(types) == len(get_args(info.type)) or info.type_origin is tuple:
        return None
    value_type: Any = Union[types]  # noqa: UP007 built from a tuple
    of_value = PrimitiveTypeInfo.make(value_type, info.markers)
    spec = ConstructorRegistry.get_primitive_spec(of_value)
    if isinstance(spec, UnsupportedTypeAnnotationError):
        return spec
    return replace(
        spec,
        instance_from_str=lambda words: (
            None if words == ["None"] else spec.instance_from_str(words)
        ),
        is_instance=lambda value: value is None or spec.is_instance(value),
        str_from_instance=lambda value: (
            ["None"] if value is None else spec.str_from_instance(value)
        ),
    )


@_REGISTRY.struct_rule
def _options(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Show the docstrings of options as paragraphs, no defaults of None, False and (), and first
    the options that everybody needs."""
    if not is_dataclass(info.type) or tyro.conf.HelptextFromCommentsOff in info.markers:
        return None  # the marker, which changes nothing here, says that this rule has been applied
    marked = replace(info, markers=(*info.markers, tyro.conf.HelptextFromCommentsOff))
    spec = ConstructorRegistry.get_struct_spec(marked)
    assert isinstance(spec, StructConstructorSpec)
    shown = []
    for field in spec.fields:
        is_stated = field.default is None or field.default is False or field.default == ()
        kind: Any = Annotated[field.type, _NO_DEFAULT] if is_stated else field.type
        shown.append(replace(field, type=kind, helptext=partial(_flow_help, field.helptext)))
    # Positional values keep their order.
    moved = {one.name: _FIRST.index(one.name) - len(_FIRST) for one in shown
             if one.name in _FIRST and POSITIONAL not in get_args(one.type)}  # fmt: skip
    shown.sort(key=lambda field: moved.get(field.name, 0))
    return replace(spec, fields=tuple(shown))


def _flow_help(text: str | Callable[[], str | None] | None) -> str:
    return _flow((text() if callable(text) else text) or "")


def _flow(text: str) -> str:
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _read_preset(config: type, arguments: list[str]) -> dict[str, Any]:
    """Return the options from `--config FILE` as a default for tyro; empty without a file."""
    path = None  # the last one counts, as for every option that is repeated
    for word, following in zip_longest(arguments, arguments[1:]):
        if word.startswith("--config="):
            path = word.partition("=")[2]
        elif word == "--config":
            path = following
    if not path or "config" not in {field.name for field in fields(config)}:
        return {}
    options = read_options(path, config)
    required = [field.name for field in fields(config) if field.default is MISSING]
    missing = {name: tyro.MISSING for name in required if name not in options}
    return {"default": config(**missing, **options)}


def parse(arguments: list[str]) -> Any:
    """Parse the arguments into the options of their command, its first word.

    Raises:
        UserError: if the command or an option is unknown (the hint suggests similar ones), a value
            is missing or not valid, or an argument is not valid text.
        SystemExit: with code 0 after `--help`.
    """
    for word in arguments:
        check_name(word)  # it is written to reports, logs and triples
    name, *words = arguments
    if name not in COMMANDS:
        known = [*COMMANDS, "--help", "--version"]
        raise UserError(name, "is not a command", nearest(name, known))
    if words and words[0].replace("_", "-").startswith("--tyro-"):  # one replaces any file
        raise UserError(words[0], "is not an option", f"See paraclip {name} --help.")
    command = COMMANDS[name]
    config = command.options_class()
    preset, said = _read_preset(config, words), StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(
                config,
                prog=f"paraclip {name}",
                description=f"{_flow(str(config.__doc__))}\n\nExample: {command.example}",
                args=words,
                registry=_REGISTRY,
                config=(tyro.conf.FlagCreatePairsOff,),  # no --no-NAME beside each --NAME
                **preset,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise usage_error(name, words, said.getvalue()) from None


def _help_text() -> str:
    """Return the help of `paraclip` itself: the commands by group."""
    lines = ["usage: paraclip COMMAND [OPTIONS]", "", str(paraclip.__doc__)]
    width = max(map(len, COMMANDS))
    for group, commands in groupby(COMMANDS.items(), lambda entry: entry[1].group):
        lines += ["", f"{group}:"]
        lines += [f"  {name.ljust(width)}  {command.summary}" for name, command in commands]
    return "\n".join([*lines, "", "paraclip COMMAND --help   options of a command, with an example",
                      "paraclip COMMAND --quiet  (-q) print results and errors, but no progress",
                      "paraclip --version        versions, missing extras, the cache"])  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the `paraclip` script; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    end = given.index("--") if "--" in given else len(given)  # what follows is no option
    arguments = [word for word in given[:end] if word not in _QUIET] + given[end:]
    if len(arguments) < len(given):
        os.environ["PARACLIP_QUIET"] = "1"  # which the processes that a command starts inherit
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # print what it cannot encode as \u2192
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            _work(arguments)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # flush here to report a full disk
    except (UserError, ImportError) as error:
        if _was_interrupted(error):
            return _interrupted(arguments)
        if not isinstance(error, UserError):
            raise
        print(f"paraclip: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return _interrupted(arguments)
    except OSError as error:
        return _output_failed(error)
    except Exception as error:
        for package in packages_in_use:
            error.add_note(f"paraclip: {printable(package)} adds to it and may be the cause.")
        raise
    return 0


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether an error was caused by a signal: a C++ module that is interrupted during its import
    raises ImportError instead."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _interrupted(arguments: list[str]) -> int:
    """Report that the command was interrupted; returns the exit code."""
    command = COMMANDS.get(arguments[0]) if arguments else None
    how = "without --fresh" if "--fresh" in arguments else "again"  # it would delete the progress
    again = f"; run the same command {how} to {command.again}" if command and command.again else ""
    return report_end(again)


def _work(arguments: list[str]) -> None:
    """Run the command given by the arguments."""
    first = arguments[0] if arguments else "--help"
    if first == "--version":
        print("\n".join(map(printable, _version_lines())))
    elif first in ("--help", "-h"):
        print(_help_text())
    else:
        try:
            os.getcwd()  # without one, loading torch ends the process
        except FileNotFoundError as error:
            raise UserError("working folder", "was deleted", "Change to another one.") from error
        if (encoding := sys.getfilesystemencoding()) != "utf-8":  # of names, and of words here
            hint = "Set PYTHONUTF8=1, or LC_ALL to a locale in UTF-8 such as C.UTF-8."
            raise UserError("locale", f"is in {encoding}, and all files are in UTF-8", hint)
        try:
            gettempdir()  # without one, torch cannot be imported
        except FileNotFoundError as error:
            hint = "Set TMPDIR to a folder with free space."
            raise UserError("temporary files", "no folder takes them", hint) from error
        config = parse(arguments)
        keep_freed_memory()
        with readable("a file"):  # of the dozens of places that look for one
            COMMANDS[first].function(first)(config)


def _output_failed(error: OSError) -> int:
    """The exit code after standard output failed, 0 for a closed pipe; raises others again."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EPIPE, errno.EIO):
        raise error
    try:
        os.write(sys.stdout.fileno(), b"\n")  # check that it is standard output that fails
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        if error.errno == errno.EPIPE:
            return 0
        print(f"paraclip: standard output cannot be written ({error.strerror}).", file=sys.stderr)
        return 2
    raise error


def _version_lines() -> list[str]:
    """One line of versions, one for each extra of which a package is missing, one for the cache."""
    versions = [f"{name} {metadata.version(name)}" for name in ("torch", "open_clip_torch")]
    first = ", ".join([f"paraclip {__version__}", f"Python {platform.python_version()}", *versions])
    missing = [
        f"{extra}: {', '.join(names)} missing: pip install 'paraclip[{extra}]'"
        for extra, names in sorted(_missing().items())
    ]
    folder = cache_folder()
    return [first, *missing, f"cache: {folder}, {_size(folder) / 1e6:,.1f} MB"]


def _missing() -> dict[str, list[str]]:
    """The packages that are not installed, by extra."""
    found: dict[str, list[str]] = {}
    for line in metadata.requires("paraclip") or []:
        name = _NAME.match(line)
        extras = set(_EXTRA.findall(line)) - set(_FOR_DEVELOPERS)
        if name and extras and not _is_installed(name[0]):
            for extra in extras:
                found.setdefault(extra, []).append(name[0])
    return found


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _size(folder: Path) -> int:
    """Bytes of all files below a folder; links are not followed."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # another process may have removed it meanwhile
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def keep_freed_memory() -> bool:
    """Let glibc reuse large freed blocks, up to 2 GiB, instead of returning them to the kernel.

    Does nothing with another C library, or where the environment configures malloc (`MALLOC_*`,
    `GLIBC_TUNABLES`, `LD_PRELOAD`).

    Returns:
        Whether the allocator was configured.
    """
    if sys.platform != "linux" or any(name.startswith(_CONFIGURING) for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    options = (
        (M_MMAP_THRESHOLD, _LARGEST_KEPT),
        (M_TRIM_THRESHOLD, _MOST_KEPT),
        (M_TOP_PAD, _GROWTH),
    )
    return all(mallopt(option, value) == 1 for option, value in options)
