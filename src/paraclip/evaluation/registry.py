"""The table of benchmarks, and the choice of those that the options of `evaluate` name."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from paraclip.errors import UserError, nearest
from paraclip.evaluation import sources
from paraclip.evaluation.benchmark import Benchmark
from paraclip.evaluation.benchmarks import aro, aro_order, cxc, sts, sugar_crepe, zero_shot
from paraclip.evaluation.benchmarks import image_text_retrieval as karpathy
from paraclip.evaluation.config import EvaluateConfig
from paraclip.evaluation.sources import Missing, arithmetic, data_folder
from paraclip.files import cache_folder


@dataclass(frozen=True)
class Entry:
    """One benchmark in the table."""

    # makes the benchmark from the data folder and the arithmetic or, if `configured`, from the
    # options of `evaluate`; raises `Missing` without data
    load: Callable[..., Benchmark]
    needs: tuple[str, ...] = ()  # required paths relative to the data folder ("a|b": one of both)
    get: str = ""  # one sentence on how to get them
    suites: tuple[str, ...] = ()  # suites that include the benchmark, besides "all"
    configured: bool = False  # whether options (--pairs, --pool ...) select its data


SUITES = ("paper", "quick", "all")
# "paper": benchmarks in arXiv 2402.15120. "quick": few or no pictures; minutes without a GPU.
BENCHMARKS: dict[str, Entry] = {
    "paraphrased-retrieval": Entry(
        sources.paraphrased_retrieval, suites=("paper",), configured=True
    ),
    "image-text-retrieval": Entry(sources.image_text_retrieval, suites=("quick",), configured=True),
    "sugar-crepe": Entry(
        sugar_crepe.load_sugar_crepe, ("sugar_crepe", "coco"), sugar_crepe.GET_SUGAR_CREPE
    ),
    "sugar-crepe-pp": Entry(
        sugar_crepe.load_sugar_crepe_pp, ("sugar_crepe_pp",), sugar_crepe.GET_PLUS_PLUS, ("quick",)
    ),
    "sts": Entry(sts.load, ("sts",), sts.GET, ("paper", "quick")),
    "cxc": Entry(cxc.load, cxc.NEEDS, cxc.GET),
    "variations": Entry(sources.variations, configured=True),
    "aro-vg-relation": Entry(aro.load_vg_relation, aro.RELATION_FILES, aro.GET, ("paper",)),
    "aro-vg-attribution": Entry(
        aro.load_vg_attribution, aro.ATTRIBUTION_FILES, aro.GET, ("paper",)
    ),
    "aro-coco-order": Entry(
        aro_order.load_coco_order, aro_order.COCO_FILES, aro_order.GET_COCO
    ),
    "aro-flickr30k-order": Entry(
        aro_order.load_flickr30k_order, aro_order.FLICKR30K_FILES, aro_order.GET_FLICKR30K
    ),
    "coco-retrieval": Entry(
        karpathy.load_coco, ("coco/dataset_coco.json|coco/captions.json",), karpathy.GET_COCO,
        ("paper",),
    ),
    "flickr30k-retrieval": Entry(
        karpathy.load_flickr30k, ("flickr30k/dataset_flickr30k.json",), karpathy.GET_FLICKR30K
    ),
    "flickr8k-retrieval": Entry(
        karpathy.load_flickr8k, ("flickr8k/dataset_flickr8k.json",), karpathy.GET_FLICKR8K
    ),
    "imagenet": Entry(
        zero_shot.load_imagenet, ("imagenet|imagenet_sample",), zero_shot.GET_IMAGENET, ("paper",)
    ),
    "cifar10": Entry(zero_shot.load_cifar10, (zero_shot.CIFAR10.folder,), zero_shot.CIFAR10.get),
    "cifar100": Entry(
        zero_shot.load_cifar100, (zero_shot.CIFAR100.folder,), zero_shot.CIFAR100.get
    ),
    "image-folder": Entry(sources.image_folder, configured=True),
}  # fmt: skip


def in_suite(suite: str) -> list[str]:
    """Return the names of the benchmarks in a suite, in the order of the table."""
    return [name for name, entry in BENCHMARKS.items() if suite == "all" or suite in entry.suites]


def load(name: str, config: EvaluateConfig) -> Benchmark:
    """Make a benchmark with its data.

    Raises:
        Missing: if its data is missing.
        UserError: if its data is invalid.
    """
    entry = BENCHMARKS[name]
    if entry.configured:
        return entry.load(config)
    data = data_folder(config)
    if data is None:
        raise Missing("--data", "no data folder is named", entry.get)
    for need in entry.needs:
        paths = [data / path for path in need.split("|")]
        if not any(path.exists() for path in paths):
            raise Missing("--data", f"{' or '.join(map(str, paths))} is missing", entry.get)
    return entry.load(data, arithmetic(config))


def choose_benchmarks(config: EvaluateConfig) -> tuple[list[Benchmark], dict[str, str]]:
    """Make the benchmarks that the options name.

    Returns:
        The benchmarks with their data, and the reason for each of a suite that is left out, since
        its data is missing or damaged. Benchmarks that are named need their data.
    """
    data_folder(config)  # a wrong --data is an error, not a reason to skip
    names = list(dict.fromkeys(filter(None, map(str.strip, config.benchmarks.split(",")))))
    if not is_suite(config):
        for name in names:
            if name not in BENCHMARKS:
                hint = nearest(name, [*BENCHMARKS, *SUITES])
                raise UserError(name, "is not a benchmark", hint)
        return [load(name, config) for name in names], {}
    benchmarks, left_out = [], {}
    for name in in_suite(names[0]):
        try:
            benchmarks.append(load(name, config))
        except UserError as reason:
            of_options = BENCHMARKS[name].configured and names_sources(config)
            if of_options and not isinstance(reason, Missing):
                raise  # an option is wrong
            left_out[name] = str(reason)
    if not benchmarks:
        warn_left_out(left_out)
        hint = "Give --data, or --pairs and --pool."
        raise UserError("evaluate", "no benchmark has its data", hint)
    return benchmarks, left_out


def evaluation_settings(config: EvaluateConfig, left_out: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of `paraclip.evaluation.run.evaluate`: options that are given, caches."""
    given = {name: value for name, value in asdict(config).items() if value not in (None, ())}
    cache = cache_folder()
    caches = {"cache": cache / "image_features", "results": cache / "results"}
    return {**given, **caches, "left_out": dict(left_out)}


def is_suite(config: EvaluateConfig) -> bool:
    """Whether a suite is named, not benchmarks."""
    return config.benchmarks.strip() in SUITES


def names_sources(config: EvaluateConfig) -> bool:
    """Whether options name data; an error in that data is then raised instead of skipped."""
    return any(
        (config.pairs, config.columns, config.pool, config.wordings, config.captions,
         config.images_by_class)
    )  # fmt: skip


def warn_left_out(reasons: Mapping[str, str]) -> None:
    """Report on standard error the benchmarks that are left out."""
    for name, reason in reasons.items():
        print(f"paraclip: {name} left out: {reason}", file=sys.stderr)
