"""Which benchmarks there are, and where their data lies in the data folder.

A row names a module and a function of it, imported only when the benchmark is run. Beside the
function stand `NEEDS`, paths relative to the data folder that must exist ("a|b": either of two),
and `GET`, one sentence that says how to get them; where one module serves several benchmarks both
are dicts by the benchmark's name. A row whose module is broken breaks no other row.
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
    """One benchmark of the table.

    Args:
        place: `module:function`, with a leading dot for a module of this package. The function
            takes the data folder and the arithmetic, or with `configured` the options of
            `paraclip evaluate`.
        group: what it asks, in a word: robustness, composition, text, retrieval, classification.
        suites: beside "all", the suites that it belongs to.
        configured: options of its own (--pairs, --k ...) decide what it runs on.
    """

    place: str
    group: str
    suites: tuple[str, ...] = ()
    configured: bool = False


# "paper": what arXiv 2402.15120 reports. "quick": no pictures, or few; minutes without a GPU.
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
    """A benchmark's data is not there."""


def in_suite(suite: str) -> list[str]:
    """Names of the suite's benchmarks, in the order of the table."""
    return [name for name, entry in BENCHMARKS.items() if suite == "all" or suite in entry.suites]


def module_of(name: str) -> ModuleType:
    """The module behind a row.

    Raises:
        UserError: it cannot be imported.
    """
    module = BENCHMARKS[name].place.partition(":")[0]
    try:
        return import_module(module, PACKAGE)
    except ImportError as error:
        hint = "Install what it needs, or leave this benchmark out."
        raise UserError(name, f"its module {module} cannot be loaded ({error})", hint) from error


def maker_of(name: str) -> Callable[..., Benchmark]:
    """The function of a row.

    Raises:
        UserError: its module cannot be imported or has no such function.
    """
    module, function = module_of(name), BENCHMARKS[name].place.partition(":")[2]
    found: Callable[..., Benchmark] | None = getattr(module, function, None)
    if found is None:
        what = f"its module {module.__name__} has no function {function}"
        raise UserError(name, what, "Leave this benchmark out.")
    return found


def fact_of(name: str, constant: str) -> Any:
    """`NEEDS` or `GET` of a benchmark; of its own where the module serves several.

    Raises:
        UserError: the module cannot be imported.
    """
    fact = getattr(module_of(name), constant, None)
    return fact.get(name) if isinstance(fact, dict) else fact


def first_missing(name: str, data: Path) -> str | None:
    """The first needed path that is not in the data folder, or None."""
    for need in fact_of(name, "NEEDS") or ():
        choices = need.split("|")
        if not any((data / choice).exists() for choice in choices):
            return " or ".join(str(data / choice) for choice in choices)
    return None


def how_to_get(name: str) -> str:
    """One sentence."""
    return str(fact_of(name, "GET") or "See docs/evaluation.md.")


def load(name: str, data: Path | None, how: Arithmetic) -> Benchmark:
    """The benchmark on what lies in the data folder.

    Args:
        name: a row that is not `configured`.
        data: the data folder, or None where none is known.
        how: arithmetic of the vectors.

    Raises:
        Missing: its data is not there.
        UserError: its data is broken, or its module.
    """
    make = maker_of(name)
    needs = fact_of(name, "NEEDS")
    if needs and data is None:
        raise Missing("--data", "no data folder is named", how_to_get(name))
    if data is not None and (lost := first_missing(name, data)) is not None:
        raise Missing("--data", f"{lost} is missing", how_to_get(name))
    return make(data or Path(), how)
