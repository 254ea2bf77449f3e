"""The table of benchmarks, and the choice among them by the options of `evaluate`."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paraclip.errors import UserError, nearest
from paraclip.evaluation.benchmark import Arithmetic, Benchmark, MissingData
from paraclip.evaluation.benchmarks import aro, sts, sugar_crepe, variations, zero_shot
from paraclip.evaluation.benchmarks import image_text_retrieval as karpathy
from paraclip.evaluation.benchmarks import paraphrased_retrieval as paraphrased
from paraclip.evaluation.config import EvaluateConfig
from paraclip.evaluation.report import Report
from paraclip.evaluation.run import OUT, RESAMPLES, check_report_folder, evaluate
from paraclip.files import cache_folder
from paraclip.models.sources import check_device, check_model
from paraclip.plugins import Table

if TYPE_CHECKING:
    from paraclip.models.encoder import DualEncoder

_LONGEST_LABEL = 4096  # bytes; it is part of the names of arrays, and a path may be one


@dataclass(frozen=True)
class Entry:
    """One benchmark in the table."""

    # makes the benchmark from the data folder, if one is named, the arithmetic and the values of
    # `options`; raises `MissingData` without its data, as `find_source` does
    load: Callable[..., Benchmark]
    suites: tuple[str, ...] = ()  # suites that include the benchmark, besides "all"
    options: tuple[str, ...] = ()  # options of `evaluate` that select its data


SUITES = ("paper", "quick", "all")
# "paper": benchmarks in arXiv 2402.15120. "quick": few or no pictures; minutes without a GPU.
BENCHMARKS = Table(
    "benchmarks",
    {
        "paraphrased-retrieval": Entry(
            paraphrased.load, ("paper",), ("pairs", "columns", "pool", "images", "k")
        ),
        "image-text-retrieval": Entry(karpathy.load, ("quick",), ("captions", "images")),
        "sugar-crepe": Entry(sugar_crepe.load_sugar_crepe),
        "sugar-crepe-pp": Entry(sugar_crepe.load_sugar_crepe_pp, ("quick",)),
        "sts": Entry(sts.load, ("paper", "quick")),
        "variations": Entry(variations.load, options=("wordings", "pool", "images", "k")),
        "aro-vg-relation": Entry(partial(aro.load, aro.RELATION), ("paper",)),
        "aro-vg-attribution": Entry(partial(aro.load, aro.ATTRIBUTION), ("paper",)),
        "coco-retrieval": Entry(karpathy.load_coco, ("paper",)),
        "flickr8k-retrieval": Entry(karpathy.load_flickr8k),
        "imagenet": Entry(zero_shot.load_imagenet, ("paper",)),
        "image-folder": Entry(zero_shot.load_folder, options=("images_by_class",)),
    },
)


def _data_folder(config: EvaluateConfig) -> Path | None:
    """Return the folder given by `--data`, or else by PARACLIP_DATA."""
    origin, named = "--data", config.data
    if not named:
        origin, named = "PARACLIP_DATA", os.environ.get("PARACLIP_DATA")
    if named and not os.path.isdir(named):
        raise UserError(origin, f"there is no folder {named}", "Check the name.")
    return Path(named) if named else None


def load_benchmark(name: str, config: EvaluateConfig) -> Benchmark:
    """Make a benchmark with its data; raises `MissingData` without it."""
    entry = BENCHMARKS[name]
    how = Arithmetic(config.precision, max_broken=config.max_broken)
    options = {option: getattr(config, option) for option in entry.options}
    return entry.load(_data_folder(config), how, **options)


def choose_benchmarks(config: EvaluateConfig) -> tuple[list[Benchmark], dict[str, str]]:
    """Make the benchmarks that the options name.

    Returns:
        The benchmarks with their data, and the reason for each of a suite that is left out, since
        its data is missing or damaged. Benchmarks that are named need their data.
    """
    _data_folder(config)  # a wrong --data is an error, not a reason to skip
    names = _names(config)
    suite = next((name for name in names if name in SUITES), None)
    if suite and len(names) > 1:
        what = f"the suite {suite} does not go with other names"
        raise UserError("--benchmarks", what, "Name one suite, or only benchmarks.")
    if not suite:
        for name in names:
            if name not in BENCHMARKS:
                hint = nearest(name, [*BENCHMARKS, *SUITES])
                raise UserError(name, "is not a benchmark", hint)
        return [load_benchmark(name, config) for name in names], {}
    benchmarks, left_out = [], {}
    for name, entry in BENCHMARKS.items():
        if suite != "all" and suite not in entry.suites:
            continue
        try:
            benchmarks.append(load_benchmark(name, config))
        except UserError as reason:
            of_options = entry.options and names_sources(config)
            if of_options and not isinstance(reason, MissingData):
                raise  # an option is wrong
            left_out[name] = str(reason)
    if not benchmarks:
        _warn_left_out(left_out)
        hint = "Give --data, or --pairs and --pool."
        raise UserError("evaluate", "no benchmark has its data", hint)
    return benchmarks, left_out


def evaluate_configured(
    models: "Mapping[str, DualEncoder | Path | str]", config: EvaluateConfig, /, **facts: Any
) -> Report:
    """Score models on the benchmarks that the options name; `facts` add to the provenance.

    Models given by name are loaded when the report can be written and the data are read.
    """
    check_device(config.device)
    for label, model in models.items():
        if len(label.encode()) > _LONGEST_LABEL:
            what = f"is a label of more than {_LONGEST_LABEL:,} bytes"
            raise UserError(f"{label[:20]}...", what, "Choose a shorter one.")
        if isinstance(model, Path | str):
            check_model(str(model))
    out = config.out or OUT
    check_report_folder(Path(out))
    benchmarks, left_out = choose_benchmarks(config)
    from paraclip.models.loading import loaded_model  # torch, only now

    _warn_left_out(left_out)
    loaded = {label: loaded_model(model, config.device) for label, model in models.items()}
    options = {name: value for name, value in asdict(config).items() if value not in (None, ())}
    options.pop("resamples", None)  # recorded with the seed
    return evaluate(
        loaded, benchmarks, out,
        resamples=config.resamples or RESAMPLES,
        cache=cache_folder() / "image_features",
        # A suite passes over what cannot be scored, unless options name data.
        pass_over=not set(SUITES).isdisjoint(_names(config)) and not names_sources(config),
        left_out=left_out,
        recorded={**options, **facts},
    )  # fmt: skip


def _names(config: EvaluateConfig) -> list[str]:
    """Return the unique names of `--benchmarks`."""
    return list(dict.fromkeys(filter(None, map(str.strip, config.benchmarks.split(",")))))


def names_sources(config: EvaluateConfig) -> bool:
    """Whether options name data; an error in that data is then raised instead of skipped."""
    return any(
        (config.pairs, config.columns, config.pool, config.wordings, config.captions,
         config.images_by_class)
    )  # fmt: skip


def _warn_left_out(reasons: Mapping[str, str]) -> None:
    """Report on standard error the benchmarks that are left out."""
    for name, reason in reasons.items():
        print(f"paraclip: {name} left out: {reason}", file=sys.stderr)
