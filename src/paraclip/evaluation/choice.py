"""Choice of models and benchmarks from the options of `evaluate`, a sweep or an ablation."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from paraclip.errors import UserError, nearest
from paraclip.evaluation.benchmark import Benchmark
from paraclip.evaluation.config import EvaluateConfig
from paraclip.evaluation.registry import BENCHMARKS, SUITES, Missing, in_suite, load, maker_of
from paraclip.evaluation.sources import arithmetic, data_folder

LABEL = re.compile(r"([A-Za-z0-9_+-][A-Za-z0-9_.+-]*)=(.+)")


def label_models(given: tuple[str, ...]) -> dict[str, str]:
    """Names of models by label; the default label of a checkpoint is its file or folder.

    Args:
        given: NAME or LABEL=NAME.
    """
    if not given:
        raise UserError("evaluate", "no model is given", "Name one, such as base=mini.")
    labelled: dict[str, str] = {}
    for entry in given:
        match = LABEL.fullmatch(entry)
        label, name = match.groups() if match else (default_label(entry), entry)
        if label in labelled:
            hint = "Give it another label, as in second=..."
            raise UserError(entry, f"the label {label!r} occurs twice", hint)
        labelled[label] = name
    return labelled


def default_label(name: str) -> str:
    """`tuned` for `runs/tuned/best.safetensors`; other names unchanged."""
    path = Path(name)
    if path.suffix != ".safetensors" or ":" in name:
        return name
    return path.parent.name if path.stem in ("best", "last") and path.parent.name else path.stem


def find_benchmarks(config: EvaluateConfig) -> list[Benchmark]:
    """Like `choose_benchmarks`, but reports benchmarks that are left out on standard error."""
    benchmarks, left_out = choose_benchmarks(config)
    warn_left_out(left_out)
    return benchmarks


def warn_left_out(reasons: Mapping[str, str]) -> None:
    """Report on standard error the benchmarks that are left out."""
    for name, reason in reasons.items():
        print(f"paraclip: {name} left out: {reason}", file=sys.stderr)


def choose_benchmarks(config: EvaluateConfig) -> tuple[list[Benchmark], dict[str, str]]:
    """Benchmarks with their data, and the reasons for those of a suite that are left out.

    Benchmarks named by the user need their data; those of a suite without data are left out.
    """
    data_folder(config)  # a wrong --data is an error, not a reason to skip
    if config.benchmarks is not None:
        return [make_benchmark(name, config) for name in named_benchmarks(config)], {}
    suite = config.suite or "all"
    if suite not in SUITES:
        raise UserError(suite, "is not a suite", nearest(suite, list(SUITES)))
    benchmarks, left_out = [], {}
    for name in in_suite(suite):
        try:
            benchmarks.append(make_benchmark(name, config))
        except UserError as reason:
            of_options = names_sources(config) and BENCHMARKS[name].configured
            if of_options and not isinstance(reason, Missing):
                raise  # an option is wrong
            left_out[name] = str(reason)
    if not benchmarks:
        warn_left_out(left_out)
        hint = "Give --data, or --pairs and --pool."
        raise UserError("evaluate", "no benchmark has its data", hint)
    return benchmarks, left_out


def names_sources(config: EvaluateConfig) -> bool:
    """Whether options name data; an error in that data is then raised instead of skipped."""
    return any(
        (config.pairs, config.pool, config.wordings, config.captions, config.image_names,
         config.images_by_class)
    )  # fmt: skip


def named_benchmarks(config: EvaluateConfig) -> list[str]:
    """The names in `--benchmarks`, without duplicates."""
    if config.suite is not None:
        raise UserError("--suite", "--benchmarks is given too", "Give one of the two.")
    names = [name.strip() for name in (config.benchmarks or "").split(",") if name.strip()]
    for name in names:
        if name not in BENCHMARKS:
            raise UserError(name, "is not a benchmark", nearest(name, list(BENCHMARKS)))
    return list(dict.fromkeys(names))


def make_benchmark(name: str, config: EvaluateConfig) -> Benchmark:
    """A benchmark with its data."""
    if BENCHMARKS[name].configured:
        return maker_of(name)(config)
    return load(name, data_folder(config), arithmetic(config))
