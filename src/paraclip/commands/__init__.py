"""The commands of `paraclip`: one module each, and the table that the command line reads.

The table names modules instead of importing them, so that `paraclip --help` needs neither torch nor
tyro, and `paraclip train --help` only the options of `train`. Like the functions that it calls, a
command raises `UserError` for what the user can fix.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Command:
    """A command: where its options are, and what the help says of it."""

    group: str  # heading of the help under which it is listed
    # `module:class` in `paraclip`: a dataclass; each field's docstring is the help of an option
    options: str
    summary: str  # one line for `paraclip --help`
    example: str  # a call, for the command's own help
    again: str = ""  # what the same command does again after it was interrupted: "resume"

    def options_class(self) -> type:
        """Import the class of the options."""
        options: type = _load(self.options)
        return options

    def function(self, name: str) -> Callable[[Any], None]:
        """Import its function, `NAME_command` in the module `NAME` of this package."""
        name = name.replace("-", "_")
        function: Callable[[Any], None] = _load(f"commands.{name}:{name}_command")
        return function


def _load(place: str) -> Any:
    module, name = place.split(":")
    # Only now, so that a command loads no other's modules.
    return getattr(import_module(f"paraclip.{module}"), name)


EVERYDAY, TRAINING, EVALUATION = "Everyday", "More texts and models", "Evaluation"

COMMANDS = {
    "quickstart": Command(
        EVERYDAY,
        "commands.quickstart:QuickstartConfig",
        "Run the whole workflow on a folder of pictures, and say which model to use.",
        "paraclip quickstart my_pictures --out runs/mine",
        again="resume",
    ),
    "index": Command(
        EVERYDAY,
        "commands.index:IndexConfig",
        "Index pictures for search; only new and changed ones are read.",
        "paraclip index my_pictures --base ViT-B-32:openai --tuned runs/tuned",
        again="resume",
    ),
    "search": Command(
        EVERYDAY,
        "commands.search:SearchConfig",
        "Search an index with words or a picture, with base and tuned side by side.",
        'paraclip search "a child eating pizza"',
    ),
    "serve": Command(
        EVERYDAY,
        "commands.serve:ServeConfig",
        "Serve an index as a web page that compares wordings and models.",
        "paraclip serve",
    ),
    "train": Command(
        EVERYDAY,
        "commands.train:TrainConfig",
        "Train the text encoder on wordings of scenes, or yours; the image encoder stays as it is.",
        "paraclip train scenes --base ViT-B-32:openai --bank my_pictures --out runs/tuned",
        again="resume",
    ),
    "swap-check": Command(
        EVERYDAY,
        "commands.swap_check:SwapCheckConfig",
        "Check an index before its text encoder is replaced: its origin and the effect on queries.",
        "paraclip swap-check --index runs/index --base ViT-B-32:openai --tuned runs/tuned",
        again="start over",
    ),
    "swap": Command(
        EVERYDAY,
        "commands.swap:SwapConfig",
        "Swap the text encoder in the cache of immich, rclip, fastembed or the hub; --undo it.",
        "paraclip swap immich --cache /cache --tuned runs/tuned",
        again="finish it",
    ),
    "export": Command(
        EVERYDAY,
        "commands.export:ExportConfig",
        "Write a model in the layout that another system loads, with a model card.",
        "paraclip export runs/tuned exports/immich --for immich",
        again="start over",
    ),
    "generate": Command(
        TRAINING,
        "commands.generate:GenerateConfig",
        "Paraphrase captions in two steps with a large language model; writes triples.",
        "paraclip generate my_pictures --out runs/triples --model gpt-4o-mini",
        again="resume",
    ),
    "merge": Command(
        TRAINING,
        "commands.merge:MergeConfig",
        "Interpolate the weights of base and tuned (WiSE-FT).",
        "paraclip merge ViT-B-32:openai runs/tuned/last.safetensors --out runs/merged.safetensors",
        again="start over",
    ),
    "push": Command(
        TRAINING,
        "commands.push:PushConfig",
        "Publish a model on the Hugging Face hub, with its card; --yes sends it.",
        "paraclip push someone/clip-tuned runs/tuned",
        again="start over",
    ),
    "evaluate": Command(
        EVALUATION,
        "commands.evaluate:EvaluateConfig",
        "Score models on benchmarks, with 95 % intervals; --compare compares stored reports.",
        "paraclip evaluate base=mini tuned=runs/tuned/last.safetensors --benchmarks quick",
        again="resume",
    ),
    "audit": Command(
        EVALUATION,
        "commands.audit:AuditConfig",
        "Draw paraphrases for people to check on a page, and report their marks.",
        "paraclip audit runs/triples",
    ),
}
