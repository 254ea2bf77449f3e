"""Registry of benchmarks and of the files that they need in the data folder.

An entry names a module and a function, imported only when the benchmark runs. The module also
defines `NEEDS`, the required paths relative to the data folder ("a|b": either of two), and `GET`,
one sentence on how to get them. If a module serves several benchmarks, both are dicts by benchmark
name. A module that cannot be imported does not affect other entries.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Benchmark
from paraclip.evaluation.scoring.vectors import Arithmetic

PACKAGE = "paraclip.evaluation"
SUITES = ("paper", "quick", "all")


@dataclass(frozen=True)
class Entry:
    """One benchmark in the registry."""

    # `module:function`, with a leading dot for a module of `paraclip.evaluation`. The function
    # takes the data folder and the arithmetic or, if `configured`, the options of `paraclip
    # evaluate`
    place: str
    group: str  # category: robustness, composition, text, retrieval or classification
    suites: tuple[str, ...] = ()  # suites that include the benchmark, besides "all"
    configured: bool = False  # whether command-line options (--pairs, --k ...) select its data


# "paper": benchmarks in arXiv 2402.15120. "quick": few or no pictures; minutes without a GPU.
BENCHMARKS: dict[str, Entry] = {
    "paraphrased-retrieval": Entry(
        ".sources:paraphrased_retrieval", "robustness", ("paper",), configured=True
    ),
    "image-text-retrieval": Entry(
        ".sources:image_text_retrieval", "retrieval", ("quick",), configured=True
    ),
    "sugar-crepe": Entry(".benchmarks.sugar_crepe:load", "composition"),
    "sugar-crepe-pp": Entry(".benchmarks.sugar_crepe_pp:load", "composition", ("quick",)),
    "sts": Entry(".benchmarks.sts:load", "text", ("paper", "quick")),
    "cxc": Entry(".benchmarks.cxc:load", "text"),
    "variations": Entry(".sources:variations", "robustness", configured=True),
    "scenes": Entry(".benchmarks.scenes:load_scenes", "robustness", ("quick",)),
    "probes": Entry(".benchmarks.scenes:load_probes", "robustness", ("quick",)),
    "aro-vg-relation": Entry(".benchmarks.aro:load_vg_relation", "composition", ("paper",)),
    "aro-vg-attribution": Entry(".benchmarks.aro:load_vg_attribution", "composition", ("paper",)),
    "aro-coco-order": Entry(".benchmarks.aro_order:load_coco_order", "composition"),
    "aro-flickr30k-order": Entry(".benchmarks.aro_order:load_flickr30k_order", "composition"),
    "coco-retrieval": Entry(".inputs.karpathy:load_coco", "retrieval", ("paper",)),
    "flickr30k-retrieval": Entry(".inputs.karpathy:load_flickr30k", "retrieval"),
    "flickr8k-retrieval": Entry(".inputs.karpathy:load_flickr8k", "retrieval"),
    "imagenet": Entry(".inputs.zero_shot_data:load_imagenet", "classification", ("paper",)),
    "cifar10": Entry(".inputs.cifar:load_cifar10", "classification"),
    "cifar100": Entry(".inputs.cifar:load_cifar100", "classification"),
    "image-folder": Entry(".sources:image_folder", "classification", configured=True),
}


class Missing(UserError):
    """The data of a benchmark is missing."""


def in_suite(suite: str) -> list[str]:
    """Return the names of the benchmarks in a suite, in registry order."""
    return [name for name, entry in BENCHMARKS.items() if suite == "all" or suite in entry.suites]


def module_of(name: str) -> ModuleType:
    """Import the module of a benchmark."""
    module = BENCHMARKS[name].place.partition(":")[0]
    try:
        return import_module(module, PACKAGE)
    except ImportError as error:
        hint = "Install its dependencies, or leave this benchmark out."
        raise UserError(name, f"its module {module} cannot be loaded ({error})", hint) from error


def maker_of(name: str) -> Callable[..., Benchmark]:
    """Return the function that creates a benchmark."""
    module, function = module_of(name), BENCHMARKS[name].place.partition(":")[2]
    maker: Callable[..., Benchmark] | None = getattr(module, function, None)
    if maker is None:
        what = f"its module {module.__name__} has no function {function}"
        raise UserError(name, what, "Leave this benchmark out.")
    return maker


def fact_of(name: str, constant: str) -> Any:
    """Return `NEEDS` or `GET` of a benchmark, or its entry if the module serves several."""
    fact = getattr(module_of(name), constant, None)
    return fact.get(name) if isinstance(fact, dict) else fact


def first_missing(name: str, data: Path) -> str | None:
    """Return the first required path that is missing from the data folder, or None."""
    for need in fact_of(name, "NEEDS") or ():
        choices = need.split("|")
        if not any((data / choice).exists() for choice in choices):
            return " or ".join(str(data / choice) for choice in choices)
    return None


def how_to_get(name: str) -> str:
    """Return one sentence on how to get the data of a benchmark."""
    return str(fact_of(name, "GET") or "See docs/evaluation.md.")


def load(name: str, data: Path | None, how: Arithmetic) -> Benchmark:
    """Load a benchmark from the data folder.

    Raises:
        Missing: if its data is missing.
        UserError: if its data is invalid, or its module cannot be imported.
    """
    make = maker_of(name)
    needs = fact_of(name, "NEEDS")
    if needs and data is None:
        raise Missing("--data", "no data folder is named", how_to_get(name))
    if data is not None and (lost := first_missing(name, data)) is not None:
        raise Missing("--data", f"{lost} is missing", how_to_get(name))
    return make(data or Path(), how)
