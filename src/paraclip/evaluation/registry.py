"""The table of benchmarks, and how each is made from the options of `evaluate`."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from paraclip.data.config import Columns
from paraclip.data.problems import Problems
from paraclip.data.reading import read_captions
from paraclip.errors import UserError, nearest
from paraclip.evaluation.benchmark import Arithmetic, Benchmark
from paraclip.evaluation.benchmarks import aro, cxc, sts, sugar_crepe, zero_shot
from paraclip.evaluation.benchmarks import image_text_retrieval as karpathy
from paraclip.evaluation.benchmarks.paraphrased_retrieval import ParaphrasedRetrieval
from paraclip.evaluation.benchmarks.variations import Variations
from paraclip.evaluation.benchmarks.zero_shot import CIFAR10, CIFAR100, load_cifar
from paraclip.evaluation.config import EvaluateConfig
from paraclip.evaluation.pairs import KINDS, read_pairs, read_wordings
from paraclip.evaluation.pictures import read_names, read_pool
from paraclip.evaluation.report import Report
from paraclip.evaluation.run import OUT, check_report_folder, evaluate
from paraclip.files import cache_folder
from paraclip.models.encoder import DualEncoder
from paraclip.models.loading import find_device, loaded_model
from paraclip.provenance import without_secrets

_FLICKR8K = 8_091  # pictures

_GET_PAIRS = (
    "Name a file with two text columns, such as triples.parquet, or get the JSON files of "
    "https://github.com/Sri-Harsha/scpp into sugar_crepe_pp/ of the data folder."
)
_GET_POOL = "Name a folder of pictures, or get Flickr8k's pictures into flickr8k/images/."
_GET_WORDINGS = (
    "Name a file with --wordings and its pictures with --pool, or put Flickr8k's pictures into "
    "flickr8k/images/ and rewordings into paraphrases/variations.jsonl of the data folder."
)
_GET_CAPTIONS = (
    "Name captions with pictures: a folder, or a file as `paraclip generate` reads it; or get "
    "Flickr8k (captions.csv, test_images.txt, images/) into flickr8k/ of the data folder."
)


class _Missing(UserError):
    """The data of a benchmark is missing."""


def _data_folder(config: EvaluateConfig) -> Path | None:
    """Return the folder given by `--data`, or else by PARACLIP_DATA."""
    origin, named = "--data", config.data
    if not named:
        origin, named = "PARACLIP_DATA", os.environ.get("PARACLIP_DATA")
    if named and not os.path.isdir(named):
        raise UserError(origin, f"there is no folder {named}", "Check the name.")
    return Path(named) if named else None


def _arithmetic(config: EvaluateConfig) -> Arithmetic:
    """Return how vectors are computed."""
    return Arithmetic(config.precision, max_broken=config.max_broken)


def _source(config: EvaluateConfig, given: str | None, part: str, option: str, get: str) -> Path:
    """Return the given source, or else its default path in the data folder."""
    if given is not None:
        return Path(given)
    folder = _data_folder(config)
    if folder is None:
        raise _Missing(option, "no data folder is named", get)
    if not (folder / part).exists():
        raise _Missing(option, f"{folder / part} is missing", get)
    return folder / part


def _paraphrased_retrieval(config: EvaluateConfig) -> ParaphrasedRetrieval:
    """Create paraphrased retrieval from pairs and a pool."""
    if len(config.columns) not in (0, 2):
        what = f"{len(config.columns)} columns are named"
        raise UserError("--columns", what, "Name the columns of the first and second wording.")
    pairs = _source(config, config.pairs, "sugar_crepe_pp", "--pairs", _GET_PAIRS)
    pictures = _source(config, config.pool, "flickr8k/images", "--pool", _GET_POOL)
    first, second = config.columns or (None, None)
    read = read_pairs(pairs, first, second, Problems(config.max_broken))
    pool = read_pool(pictures, config.images)
    if config.pool is None and len(pool) != _FLICKR8K:
        pool = replace(pool, name=f"{pool.name}, not the {_FLICKR8K:,} of Flickr8k")
    lacking = [name for name in sugar_crepe.SUBSETS if not (pairs / f"{name}.json").exists()]
    if config.pairs is None and lacking:
        read = replace(read, name=f"{read.name}, without {', '.join(lacking)}")
    return ParaphrasedRetrieval(read, pool, config.k, _arithmetic(config))


def variations(config: EvaluateConfig) -> Variations:
    """Create variations from reworded captions and a pool; `--wordings` may define any kinds."""
    default = "paraphrases/variations.jsonl"
    file = _source(config, config.wordings, default, "--wordings", _GET_WORDINGS)
    pictures = _source(config, config.pool, "flickr8k/images", "--pool", _GET_WORDINGS)
    kinds = KINDS if config.wordings is None else None
    read = read_wordings(file, kinds, Problems(config.max_broken))
    pool = read_pool(pictures, config.images)
    return Variations("variations", read, pool, config.k, _arithmetic(config))


def _image_text_retrieval(config: EvaluateConfig) -> karpathy.ImageTextRetrieval:
    """Create image-text retrieval from captions with pictures."""
    captions, only = config.captions, None  # as given: a path would fold the slashes of a URL
    if captions is None:
        captions = str(_source(config, None, "flickr8k/captions.csv", "--captions", _GET_CAPTIONS))
        split = _source(config, None, "flickr8k/test_images.txt", "--data", _GET_CAPTIONS)
        only = read_names(split)
    label = os.path.basename(os.path.abspath(without_secrets(captions)))  # `.` has no name
    label += f" ({split.name})" if only else ""
    columns = Columns(images=config.images if config.captions else None)
    problems = Problems(config.max_broken)
    shown = karpathy.gallery(read_captions(captions, columns, problems), label, only, problems)
    return karpathy.ImageTextRetrieval(shown, how=_arithmetic(config))


def _image_folder(config: EvaluateConfig) -> zero_shot.ZeroShot:
    """Create zero-shot classification from a folder of pictures by class."""
    if config.images_by_class is None:
        raise _Missing("--images-by-class", "no folder is named", zero_shot.GET_CLASSES)
    return zero_shot.load_folder(config.images_by_class, _arithmetic(config))


@dataclass(frozen=True)
class Entry:
    """One benchmark in the table."""

    # makes the benchmark from the data folder and the arithmetic or, if `configured`, from the
    # options of `evaluate`; raises `_Missing` without data
    load: Callable[..., Benchmark]
    needs: tuple[str, ...] = ()  # required paths relative to the data folder ("a|b": one of both)
    get: str = ""  # one sentence on how to get them
    suites: tuple[str, ...] = ()  # suites that include the benchmark, besides "all"
    configured: bool = False  # whether options (--pairs, --pool ...) select its data


_SUITES = ("paper", "quick", "all")
# "paper": benchmarks in arXiv 2402.15120. "quick": few or no pictures; minutes without a GPU.
BENCHMARKS: dict[str, Entry] = {
    "paraphrased-retrieval": Entry(_paraphrased_retrieval, suites=("paper",), configured=True),
    "image-text-retrieval": Entry(_image_text_retrieval, suites=("quick",), configured=True),
    "sugar-crepe": Entry(
        sugar_crepe.load_sugar_crepe, ("sugar_crepe", "coco"), sugar_crepe.GET_SUGAR_CREPE
    ),
    "sugar-crepe-pp": Entry(
        sugar_crepe.load_sugar_crepe_pp, ("sugar_crepe_pp",), sugar_crepe.GET_PLUS_PLUS, ("quick",)
    ),
    "sts": Entry(sts.load, ("sts",), sts.GET, ("paper", "quick")),
    "cxc": Entry(cxc.load, cxc.NEEDS, cxc.GET),
    "variations": Entry(variations, configured=True),
    "aro-vg-relation": Entry(
        partial(aro.load, aro.RELATION), aro.files(aro.RELATION), aro.GET, ("paper",)
    ),
    "aro-vg-attribution": Entry(
        partial(aro.load, aro.ATTRIBUTION), aro.files(aro.ATTRIBUTION), aro.GET, ("paper",)
    ),
    "aro-coco-order": Entry(aro.load_coco_order, aro.COCO_FILES, aro.GET_COCO),
    "coco-retrieval": Entry(
        karpathy.load_coco, ("coco/dataset_coco.json|coco/captions.json",), karpathy.GET_COCO,
        ("paper",),
    ),
    "flickr8k-retrieval": Entry(
        partial(karpathy.load_split, "Flickr8k", karpathy.GET_FLICKR8K),
        ("flickr8k/dataset_flickr8k.json",), karpathy.GET_FLICKR8K,
    ),
    "imagenet": Entry(
        zero_shot.load_imagenet, ("imagenet|imagenet_sample",), zero_shot.GET_IMAGENET, ("paper",)
    ),
    "cifar10": Entry(partial(load_cifar, CIFAR10), (CIFAR10.folder,), CIFAR10.get),
    "cifar100": Entry(partial(load_cifar, CIFAR100), (CIFAR100.folder,), CIFAR100.get),
    "image-folder": Entry(_image_folder, configured=True),
}  # fmt: skip


def _load(name: str, config: EvaluateConfig) -> Benchmark:
    """Make a benchmark with its data; raises `_Missing` without it."""
    entry = BENCHMARKS[name]
    if entry.configured:
        return entry.load(config)
    data = _data_folder(config)
    if data is None:
        raise _Missing("--data", "no data folder is named", entry.get)
    for need in entry.needs:
        paths = [data / path for path in need.split("|")]
        if not any(path.exists() for path in paths):
            raise _Missing("--data", f"{' or '.join(map(str, paths))} is missing", entry.get)
    return entry.load(data, _arithmetic(config))


def choose_benchmarks(config: EvaluateConfig) -> tuple[list[Benchmark], dict[str, str]]:
    """Make the benchmarks that the options name.

    Returns:
        The benchmarks with their data, and the reason for each of a suite that is left out, since
        its data is missing or damaged. Benchmarks that are named need their data.
    """
    _data_folder(config)  # a wrong --data is an error, not a reason to skip
    names = _names(config)
    suite = next((name for name in names if name in _SUITES), None)
    if suite and len(names) > 1:
        what = f"the suite {suite} does not go with other names"
        raise UserError("--benchmarks", what, "Name one suite, or only benchmarks.")
    if not suite:
        for name in names:
            if name not in BENCHMARKS:
                hint = nearest(name, [*BENCHMARKS, *_SUITES])
                raise UserError(name, "is not a benchmark", hint)
        return [_load(name, config) for name in names], {}
    benchmarks, left_out = [], {}
    for name, entry in BENCHMARKS.items():
        if suite != "all" and suite not in entry.suites:
            continue
        try:
            benchmarks.append(_load(name, config))
        except UserError as reason:
            of_options = entry.configured and names_sources(config)
            if of_options and not isinstance(reason, _Missing):
                raise  # an option is wrong
            left_out[name] = str(reason)
    if not benchmarks:
        warn_left_out(left_out)
        hint = "Give --data, or --pairs and --pool."
        raise UserError("evaluate", "no benchmark has its data", hint)
    return benchmarks, left_out


def evaluate_configured(
    models: Mapping[str, DualEncoder | Path | str], config: EvaluateConfig, /, **facts: Any
) -> Report:
    """Score models on the benchmarks that the options name; `facts` add to the provenance.

    Models given by name are loaded when the report can be written and the data are read.
    """
    find_device(config.device)
    out = config.out or OUT
    check_report_folder(Path(out))
    benchmarks, left_out = choose_benchmarks(config)
    warn_left_out(left_out)
    loaded = {label: loaded_model(model, config.device) for label, model in models.items()}
    settings = {name: value for name, value in asdict(config).items() if value not in (None, ())}
    settings |= {**facts, "cache": cache_folder() / "image_features", "left_out": left_out}
    # A suite passes over what cannot be scored, unless options name data.
    pass_over = not set(_SUITES).isdisjoint(_names(config)) and not names_sources(config)
    return evaluate(loaded, benchmarks, out, settings, pass_over)


def _names(config: EvaluateConfig) -> list[str]:
    """Return the unique names of `--benchmarks`."""
    return list(dict.fromkeys(filter(None, map(str.strip, config.benchmarks.split(",")))))


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
