"""The command line: parses, calls, prints. Every command lives in the room that does the work."""

import importlib
import sys
from dataclasses import dataclass
from typing import Annotated, Any, Union

import tyro

import paraclip
from paraclip.data.config import CaptionsConfig
from paraclip.errors import UserError
from paraclip.evaluation.config import CompareConfig, EvaluateConfig
from paraclip.models.config import ExportConfig
from paraclip.paraphrase.config import GenerateConfig
from paraclip.quickstart.config import QuickstartConfig
from paraclip.training.config import AlignConfig, TrainConfig
from paraclip.training.merge_config import MergeConfig


@dataclass(frozen=True)
class Command:
    """A word on the command line, the class that holds its options, the function that does it.

    Args:
        config: dataclass whose field texts are the option help.
        place: `module:function`, imported only when the command runs: help needs no torch.
        summary: one line for `paraclip --help`.
    """

    config: type
    place: str
    summary: str


COMMANDS = {
    "quickstart": Command(
        QuickstartConfig,
        "paraclip.quickstart.command:quickstart_command",
        "The whole job on a folder of pictures with captions, and a table of what it gained.",
    ),
    "captions": Command(
        CaptionsConfig,
        "paraclip.data.command:captions_command",
        "Show what ParaCLIP reads in a captions file or folder, and which rows are broken.",
    ),
    "generate": Command(
        GenerateConfig,
        "paraclip.paraphrase.command:generate_command",
        "Paraphrase captions in two steps with a large language model; writes triples.",
    ),
    "align": Command(
        AlignConfig,
        "paraclip.training.command:align_command",
        "Fit the built-in `mini` to your own pictures and captions, if you bring no CLIP.",
    ),
    "train": Command(
        TrainConfig,
        "paraclip.training.command:train_command",
        "Fine-tune the text encoder on triples with the three losses; the image side is frozen.",
    ),
    "merge": Command(
        MergeConfig,
        "paraclip.training.merge_command:merge_command",
        "Interpolate the weights of base and tuned (WiSE-FT); --sweep finds the best share.",
    ),
    "evaluate": Command(
        EvaluateConfig,
        "paraclip.evaluation.command:evaluate_command",
        "Score models side by side, with 95 % intervals.",
    ),
    "compare": Command(
        CompareConfig,
        "paraclip.evaluation.compare_command:compare_command",
        "Say what changed between two models, by how much, and whether it counts.",
    ),
    "export": Command(
        ExportConfig,
        "paraclip.models.command:export_command",
        "Write a checkpoint as weights that open_clip loads, with a model card.",
    ),
}


def parse(arguments: list[str]) -> Any:
    """The config object of the command that the arguments name.

    Raises:
        SystemExit: with code 2 for unknown commands or options, 0 after `--help`.
    """
    choices = tuple(
        Annotated[command.config, tyro.conf.subcommand(name, description=command.summary)]
        for name, command in COMMANDS.items()
    )
    any_of: Any = Union[choices]  # noqa: UP007 built from the table
    return tyro.cli(
        any_of,
        prog="paraclip",
        description=str(paraclip.__doc__),
        args=arguments,
    )


def run(config: Any) -> None:
    """Import the room of the config's command and do it."""
    command = next(entry for entry in COMMANDS.values() if entry.config is type(config))
    module, function = command.place.split(":")
    getattr(importlib.import_module(module), function)(config)


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the `paraclip` script; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments == ["--version"]:
        print(f"paraclip {paraclip.__version__}")
        return 0
    try:
        run(parse(arguments or ["--help"]))
    except UserError as error:
        print(f"paraclip: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nparaclip: stopped. The same command again goes on from here.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    return 0
