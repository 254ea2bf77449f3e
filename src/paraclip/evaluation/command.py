"""`paraclip evaluate`: finds data and models, scores, writes the report, prints the table."""

import re
import sys
from dataclasses import asdict
from pathlib import Path

from paraclip.errors import UserError, nearest
from paraclip.evaluation.benchmark import Benchmark
from paraclip.evaluation.config import EvaluateConfig
from paraclip.evaluation.registry import BENCHMARKS, SUITES, Missing, in_suite, load, maker_of
from paraclip.evaluation.reporting.report import console_table
from paraclip.evaluation.run import evaluate
from paraclip.evaluation.sources import arithmetic, data_folder
from paraclip.files import cache_folder
from paraclip.models.encoder import DualEncoder
from paraclip.models.loading import load_model

LABEL = re.compile(r"([A-Za-z0-9_+-][A-Za-z0-9_.+-]*)=(.+)")


def evaluate_command(config: EvaluateConfig) -> None:
    """Do the whole job and print the table.

    Raises:
        UserError: a model or a benchmark's data is missing or broken.
    """
    names = label_models(config.models)
    models: dict[str, DualEncoder] = {
        label: load_model(name, config.device) for label, name in names.items()
    }
    benchmarks, left_out = choose_benchmarks(config)
    cache = Path(config.cache) if config.cache else cache_folder() / "image_features"
    settings = {
        **asdict(config), "models": names, "cache": cache, "left_out": left_out,
        "results": cache_folder() / "results" if config.result_cache else None,
    }  # fmt: skip
    of_suite = config.benchmarks is None and not names_sources(config)
    report = evaluate(models, benchmarks, config.out, settings, pass_over=of_suite)
    print(console_table(report))
    print(f"\nWritten: {Path(config.out) / 'report.md'} (and report.json, plots, items.npz)")


def label_models(given: tuple[str, ...]) -> dict[str, str]:
    """Names of models by label; without a label a checkpoint is called by its file or folder.

    Raises:
        UserError: no model is given, or a label is there twice.
    """
    if not given:
        raise UserError("evaluate", "no model is given", "Name one, such as base=mini.")
    labelled: dict[str, str] = {}
    for entry in given:
        match = LABEL.fullmatch(entry)
        label, name = match.groups() if match else (usual_label(entry), entry)
        if label in labelled:
            hint = "Write another label before it, such as second=..."
            raise UserError(entry, f"the label {label!r} is there twice", hint)
        labelled[label] = name
    return labelled


def usual_label(name: str) -> str:
    """`runs/tuned/best.safetensors` is `tuned`; other names stand for themselves."""
    path = Path(name)
    if path.suffix != ".safetensors" or ":" in name:
        return name
    return path.parent.name if path.stem in ("best", "last") and path.parent.name else path.stem


def find_benchmarks(config: EvaluateConfig) -> list[Benchmark]:
    """Benchmarks with their data; see `choose_benchmarks`."""
    return choose_benchmarks(config)[0]


def choose_benchmarks(config: EvaluateConfig) -> tuple[list[Benchmark], dict[str, str]]:
    """Benchmarks with their data, and of a suite those that are left out with the reason.

    Named ones must be there; of a suite (or of all), those whose data is not there are told in a
    line each and passed over.

    Raises:
        UserError: a benchmark or suite is unknown, a named one lacks its data, or none has any.
    """
    data_folder(config)  # one that is named and not there is no matter of a single benchmark
    if config.benchmarks is not None:
        return [make(name, config) for name in named_benchmarks(config)], {}
    suite = config.suite or "all"
    if suite not in SUITES:
        raise UserError(suite, "there is no such suite", nearest(suite, list(SUITES)))
    found, left_out = [], {}
    for name in in_suite(suite):
        try:
            found.append(make(name, config))
        except UserError as reason:
            if names_sources(config) and not isinstance(reason, Missing):
                raise  # what the options name is wrong
            left_out[name] = str(reason)
            print(f"paraclip: {name} left out: {reason}", file=sys.stderr)
    if not found:
        hint = "Give --data, or --pairs and --pool."
        raise UserError("evaluate", "no benchmark has its data", hint)
    return found, left_out


def names_sources(config: EvaluateConfig) -> bool:
    """Whether the user named data of their own: an error in it must not be passed over."""
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


def make(name: str, config: EvaluateConfig) -> Benchmark:
    """One benchmark of the table on its data."""
    if BENCHMARKS[name].configured:
        return maker_of(name)(config)
    return load(name, data_folder(config), arithmetic(config))
