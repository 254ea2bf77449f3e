"""Which models and benchmarks the options name: labels, suites, and the data that they need."""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from paraclip.errors import UserError, nearest
from paraclip.evaluation.benchmark import Benchmark
from paraclip.evaluation.config import EvaluateConfig
from paraclip.evaluation.registry import BENCHMARKS, SUITES, Missing, in_suite, load, maker_of
from paraclip.evaluation.sources import arithmetic, data_folder

LABEL = re.compile(r"([A-Za-z0-9_+-][A-Za-z0-9_.+-]*)=(.+)")


def label_models(entries: Sequence[str]) -> dict[str, str]:
    """Model names by label, from entries such as `tuned=runs/tuned/best.safetensors`.

    An entry without a label gets one from `default_label`.

    Raises:
        UserError: there is no entry, or two have the same label.
    """
    if not entries:
        raise UserError("evaluate", "no model is given", "Name one, such as base=mini.")
    names: dict[str, str] = {}
    for entry in entries:
        match = LABEL.fullmatch(entry)
        label, name = match.groups() if match else (default_label(entry), entry)
        if label in names:
            hint = "Write another label before it, such as second=..."
            raise UserError(entry, f"the label {label!r} is used twice", hint)
        names[label] = name
    return names


def default_label(name: str) -> str:
    """`tuned` for `runs/tuned/best.safetensors`; any other name is its own label."""
    path = Path(name)
    if path.suffix != ".safetensors" or ":" in name:
        return name
    return path.parent.name if path.stem in ("best", "last") and path.parent.name else path.stem


def choose_benchmarks(config: EvaluateConfig) -> tuple[list[Benchmark], dict[str, str]]:
    """The benchmarks that the options ask for, on their data.

    Returns:
        the benchmarks, and the reason by name for each one of a suite whose data is missing.

    Raises:
        UserError: a benchmark or suite is unknown, a named benchmark lacks its data, or no
            benchmark has any.
    """
    data_folder(config)  # a wrong --data is an error of its own, not one of each benchmark
    if config.benchmarks is not None:
        return [make_benchmark(name, config) for name in named_benchmarks(config)], {}
    suite = config.suite or "all"
    if suite not in SUITES:
        raise UserError(suite, "there is no such suite", nearest(suite, list(SUITES)))
    benchmarks, left_out = [], {}
    for name in in_suite(suite):
        try:
            benchmarks.append(make_benchmark(name, config))
        except UserError as reason:
            if names_sources(config) and not isinstance(reason, Missing):
                raise  # the user's own data is wrong
            left_out[name] = str(reason)
    if not benchmarks:
        warn_left_out(left_out)
        hint = "Give --data, or --pairs and --pool."
        raise UserError("evaluate", "no benchmark has its data", hint)
    return benchmarks, left_out


def find_benchmarks(config: EvaluateConfig) -> list[Benchmark]:
    """`choose_benchmarks` for commands: standard error names those that are left out."""
    benchmarks, left_out = choose_benchmarks(config)
    warn_left_out(left_out)
    return benchmarks


def warn_left_out(reasons: Mapping[str, str]) -> None:
    """A line on standard error for each benchmark that is left out."""
    for name, reason in reasons.items():
        print(f"paraclip: {name} left out: {reason}", file=sys.stderr)


def names_sources(config: EvaluateConfig) -> bool:
    """Whether an option names the user's own data, in which no error is ignored."""
    return any((config.pairs, config.pool, config.captions, config.images_by_class))


def named_benchmarks(config: EvaluateConfig) -> list[str]:
    """The names in `--benchmarks`, each once.

    Raises:
        UserError: one is unknown, or a suite is named too.
    """
    if config.suite is not None:
        raise UserError("--suite", "--benchmarks is given too", "Give one of the two.")
    names = [name.strip() for name in (config.benchmarks or "").split(",") if name.strip()]
    for name in names:
        if name not in BENCHMARKS:
            raise UserError(name, "there is no such benchmark", nearest(name, list(BENCHMARKS)))
    return list(dict.fromkeys(names))


def make_benchmark(name: str, config: EvaluateConfig) -> Benchmark:
    """One benchmark of the table on its data."""
    if BENCHMARKS[name].configured:
        return maker_of(name)(config)
    return load(name, data_folder(config), arithmetic(config))
