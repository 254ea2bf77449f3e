"""Command-line interface. Each command is implemented in the package that does its work."""

import errno
import importlib
import os
import re
import sys
from dataclasses import MISSING, dataclass, fields, replace
from typing import Annotated, Any, Union, get_args

import tyro
from tyro import _strings
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    UnsupportedTypeAnnotationError,
)

import paraclip
from paraclip.ablation.config import AblateConfig
from paraclip.allocator import keep_freed_memory
from paraclip.audit.config import AuditConfig, AuditReportConfig
from paraclip.config_file import read_options
from paraclip.data.config import CaptionsConfig
from paraclip.doctor.config import CacheConfig, DoctorConfig
from paraclip.errors import UserError, nearest
from paraclip.evaluation.config import CompareConfig, EvaluateConfig
from paraclip.exporting.config import ExportConfig
from paraclip.merging.config import MergeConfig
from paraclip.paraphrase.config import GenerateConfig, NegativesConfig
from paraclip.quickstart.config import QuickstartConfig
from paraclip.search.config import IndexConfig, SearchConfig, ServeConfig
from paraclip.swap.config import SwapCheckConfig
from paraclip.training.config import AlignConfig, TrainConfig


@dataclass(frozen=True)
class Command:
    """A subcommand: its options class, its function and its summary.

    Args:
        config: dataclass whose field docstrings are the help texts of the options.
        place: `module:function`, imported only when the command runs, so that help needs no torch.
        summary: one line for `paraclip --help`.
        extra: optional packages without which its module cannot be imported.
        resumes: whether running the same command again continues an interrupted run.
    """

    config: type
    place: str
    summary: str
    extra: str = ""
    resumes: bool = True


COMMANDS = {
    "quickstart": Command(
        QuickstartConfig,
        "paraclip.quickstart.command:quickstart_command",
        "Run the whole workflow on a folder of pictures with captions, and print the gains.",
    ),
    "captions": Command(
        CaptionsConfig,
        "paraclip.data.command:captions_command",
        "Show what ParaCLIP reads from a captions file or folder, and list invalid rows.",
        resumes=False,
    ),
    "generate": Command(
        GenerateConfig,
        "paraclip.paraphrase.command:generate_command",
        "Paraphrase captions in two steps with a large language model; writes triples.",
    ),
    "audit": Command(
        AuditConfig,
        "paraclip.audit.command:audit_command",
        "Draw paraphrases for people to check, on a page that works offline.",
    ),
    "audit-report": Command(
        AuditReportConfig,
        "paraclip.audit.command:audit_report_command",
        "Turn reviewers' marks into rates (also: `paraclip audit report`).",
        resumes=False,
    ),
    "negatives": Command(
        NegativesConfig,
        "paraclip.paraphrase.command:negatives_command",
        "Give every triple a hard negative for `train --negatives negative`.",
    ),
    "align": Command(
        AlignConfig,
        "paraclip.training.command:align_command",
        "Fit the built-in model `mini` to your pictures and captions, if you have no CLIP model.",
    ),
    "train": Command(
        TrainConfig,
        "paraclip.training.command:train_command",
        "Fine-tune the text encoder on triples with the three losses; the image side is frozen.",
    ),
    "merge": Command(
        MergeConfig,
        "paraclip.merging.command:merge_command",
        "Interpolate the weights of base and tuned (WiSE-FT); --sweep finds the best share.",
        resumes=False,
    ),
    "evaluate": Command(
        EvaluateConfig,
        "paraclip.evaluation.command:evaluate_command",
        "Score models on benchmarks, with 95 % intervals.",
    ),
    "compare": Command(
        CompareConfig,
        "paraclip.evaluation.reporting.compare_command:compare_command",
        "Compare the scores of two models, with intervals and p-values.",
        resumes=False,
    ),
    "ablate": Command(
        AblateConfig,
        "paraclip.ablation.command:ablate_command",
        "Train a grid of variants over seeds, and write one table with intervals.",
    ),
    "index": Command(
        IndexConfig,
        "paraclip.search.command:index_command",
        "Index pictures for search; only new and changed ones are read.",
    ),
    "search": Command(
        SearchConfig,
        "paraclip.search.command:search_command",
        "Search an index with words or a picture, with base and tuned side by side.",
        resumes=False,
    ),
    "serve": Command(
        ServeConfig,
        "paraclip.search.serving.command:serve_command",
        "Serve an index as a web page that compares wordings and models.",
        extra="search",
        resumes=False,
    ),
    "doctor": Command(
        DoctorConfig,
        "paraclip.doctor.command:doctor_command",
        "Show the environment, optional parts and caches, and how to install what is missing.",
        resumes=False,
    ),
    "cache": Command(
        CacheConfig,
        "paraclip.doctor.command:cache_command",
        "Show what the cache folder contains; --prune removes files not used for a long time.",
        resumes=False,
    ),
    "export": Command(
        ExportConfig,
        "paraclip.exporting.command:export_command",
        "Write a model in the layout that another system loads, with a model card.",
        resumes=False,
    ),
    "swap-check": Command(
        SwapCheckConfig,
        "paraclip.swap.command:swap_check_command",
        "Check an index before its text encoder is replaced: its origin and the effect on queries.",
        resumes=False,
    ),
}


REGISTRY = ConstructorRegistry()
"""Constructor rules: tyro's and the one below."""


@REGISTRY.primitive_rule
def optional(
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
        choices=spec.choices and (*spec.choices, "None"),
    )


def flowed(helptext: str) -> str:
    """Return a docstring with each paragraph on one line, which is wrapped when it is printed."""
    paragraphs = re.split(r"\n\s*\n", helptext.strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


# tyro keeps the line break before an indented line, and attribute docstrings are indented.
_strings.remove_single_line_breaks = flowed


def preset(command: Command, arguments: list[str]) -> dict[str, Any]:
    """Return the options from `--config FILE` as a default for tyro; empty without a file."""
    has_file = "config" in {field.name for field in fields(command.config)}
    path = value_of("--config", arguments)
    if not has_file or path is None or COMMANDS.get(arguments[0]) is not command:
        return {}
    options = read_options(path, command.config)
    required = [field.name for field in fields(command.config) if field.default is MISSING]
    missing = {name: tyro.MISSING for name in required if name not in options}
    return {"default": command.config(**missing, **options)}


def value_of(option: str, arguments: list[str]) -> str | None:
    """Return the last value of an option given as `--option VALUE` or `--option=VALUE`, or None."""
    value = None  # the last one counts, as for every option that is repeated
    for index, word in enumerate(arguments):
        if word.startswith(f"{option}="):
            value = word.partition("=")[2]
        elif word == option and index + 1 < len(arguments):
            value = arguments[index + 1]
    return value


def parse(arguments: list[str]) -> Any:
    """Parse the arguments into the config object of their command.

    Raises:
        UserError: if the command is unknown (the hint suggests similar ones), an option is out of
            range, or an argument is not valid text.
        SystemExit: with code 2 for unknown options, 0 after `--help`.
    """
    for word in arguments:
        refuse_bytes(word)
    arguments = joined(arguments)
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        raise UserError(arguments[0], "is not a command", nearest(arguments[0], list(COMMANDS)))
    choices = tuple(
        Annotated[
            command.config,
            tyro.conf.subcommand(name, description=command.summary, **preset(command, arguments)),
        ]
        for name, command in COMMANDS.items()
    )
    any_of: Any = Union[choices]  # noqa: UP007 built from the table
    return tyro.cli(
        any_of,
        prog="paraclip",
        description=str(paraclip.__doc__),
        args=arguments,
        registry=REGISTRY,
    )


def joined(arguments: list[str]) -> list[str]:
    """Return the arguments with a two-word command, such as `audit report`, as one word."""
    name = "-".join(arguments[:2])
    return [name, *arguments[2:]] if len(arguments) > 1 and name in COMMANDS else arguments


def refuse_bytes(word: str) -> None:
    """Reject an argument that cannot be written to a report, log or triples file."""
    try:
        word.encode()
    except UnicodeEncodeError as error:
        raise UserError(word, "is not UTF-8", "Rename the file or folder.") from error
    if "\0" in word:
        raise UserError(word, "contains a NUL character", "Check the name.")


def run(config: Any) -> None:
    """Import and run the command of the config."""
    command = next(entry for entry in COMMANDS.values() if entry.config is type(config))
    keep_freed_memory()
    name, function = command.place.split(":")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not command.extra:
            raise
        hint = f"pip install 'paraclip[{command.extra}]'"
        raise UserError(str(error.name), "is not installed", hint) from error
    getattr(module, function)(config)


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the `paraclip` script; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    escape_what_cannot_be_encoded()
    try:
        try:
            work(arguments)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # flush here to report a full disk
    except (UserError, ImportError) as error:
        if was_interrupted(error):
            return interrupted(arguments)
        if not isinstance(error, UserError):
            raise
        print(f"paraclip: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return interrupted(arguments)
    except OSError as error:
        return output_failed(error)
    return 0


def was_interrupted(error: BaseException | None) -> bool:
    """Whether an error was caused by Ctrl-C: a C++ module that is interrupted during its import
    raises ImportError instead."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def interrupted(arguments: list[str]) -> int:
    """Report that the command was interrupted; returns the exit code."""
    command = COMMANDS.get(joined(arguments)[0]) if arguments else None
    how = "without --fresh" if "--fresh" in arguments else "again"  # it would delete the progress
    again = f"; run the same command {how} to resume" if command and command.resumes else ""
    print(f"\nparaclip: interrupted{again}.", file=sys.stderr)
    return 130


def work(arguments: list[str]) -> None:
    """Run the command given by the arguments."""
    if arguments == ["--version"]:
        print(f"paraclip {paraclip.__version__}")
    else:
        run(parse(arguments or ["--help"]))


def escape_what_cannot_be_encoded() -> None:
    """Print characters that the terminal cannot encode as escapes, such as `\\u2192`."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def output_failed(error: OSError) -> int:
    """Return the exit code after standard output failed; re-raise other errors.

    A closed pipe (`paraclip ... | head`) is not an error.
    """
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
