"""`evaluate`: its options, the choice among the benchmarks, and what the command prints."""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from paraclip.commands.packages import require_packages
from paraclip.errors import UserError, nearest
from paraclip.files import cache_folder, refuse_overwriting
from paraclip.models.sources import check_device, check_model
from paraclip.options import Checked, Count, PathName, Resamples, Share, takes
from paraclip.output_folder import OutputFolder

if TYPE_CHECKING:
    from paraclip.evaluation.benchmark import Benchmark
    from paraclip.evaluation.report import Report
    from paraclip.models.encoder import Model

_LONGEST_LABEL = 4096  # bytes; it is part of the names of arrays, and a path may be one


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(Checked):
    """Which benchmarks, and how."""

    benchmarks: str = "all"
    """Comma-separated benchmarks, such as sts,sugar-crepe-pp (see docs/guide/evaluate.md), or a
    suite: paper, quick (few or no pictures) or all; a suite skips benchmarks without data."""

    data: PathName | None = None
    """Folder with the benchmarks' data. Default: the environment variable PARACLIP_DATA."""

    pairs: PathName | None = None
    """Pairs for paraphrased-retrieval: a CSV, TSV, JSONL, JSON or Parquet file with two text
    columns, or a folder of them. Default: sugar_crepe_pp/ of the data folder."""

    columns: tuple[str, ...] = ()
    """Columns of the two wordings in --pairs. Default: caption, and caption2 or a paraphrase."""

    pool: PathName | None = None
    """Pictures to search: a folder, a .txt of picture names (relative to --images), or a .npy of
    unit vectors [items, width]. Default: flickr8k/images/ of the data folder."""

    wordings: PathName | None = None
    """Reworded captions of the pictures in --pool for variations: JSONL, see
    docs/guide/evaluate.md. Default: paraphrases/variations.jsonl of the data folder."""

    captions: PathName | None = None
    """Captions with pictures for image-text-retrieval, in any format that `paraclip generate`
    reads. Default: flickr8k/captions.csv of the data folder, test split."""

    images: PathName | None = None
    """Folder that the picture names of --captions and of a .txt --pool are relative to."""

    images_by_class: PathName | None = None
    """Folder for zero-shot classification (image-folder), with a subfolder per class."""

    k: tuple[Count, ...] = (10,)
    """Number of results in paraphrased-retrieval and variations; several are possible."""

    out: PathName | None = None
    """Folder of the report. Default: runs/evaluation. With --compare: JSON file to write."""

    resamples: Annotated[Resamples | None, tyro.conf.Suppress] = None
    """Number of bootstrap resamples, from Python. Default: 1000, with --compare 5000."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the encoders."""

    max_broken: Share = 0.01
    """Largest share (0 to 1) of broken pictures or rows to skip; more is an error."""

    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:1 or mps."""


@dataclass(frozen=True)
class EvaluateConfig(EvaluateOptions):
    """Score models on benchmarks, with 95 % intervals and differences to base and control.

    With --compare: compare two models of stored reports, with p-values. One report: two models in
    it. Two reports: the models with the same label in both, or the only model of each. More
    reports: each is a seed, and two models in every report are compared.
    """

    models: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="MODEL [MODEL ...]")
    ] = ()
    """Models, optionally with labels: base=mini control=runs/control/last.safetensors
    tuned=runs/train/last.safetensors. The others are compared with the model labelled base, or
    else with the first. With --compare: labels of the first and the second model."""

    compare: tuple[str, ...] = ()
    """Compare stored reports instead of scoring: folders of one or more evaluations."""

    json: bool = False
    """Print the report as JSON, and nothing else."""


@takes(EvaluateOptions)
def evaluate(models: "Mapping[str, Model]", options: EvaluateOptions) -> "Report":
    """Score models side by side, with 95 % intervals and paired differences.

    Args:
        models: models by label; all are compared with `base` (else the first) and `control`.
        options: those below, such as `benchmarks="sts"`, `pairs`, `pool`, `out`.

    Returns:
        The report; `report.table()` is the table that the command prints.

    Raises:
        UserError: a model or the data of a named benchmark is missing or broken.
    """
    return _evaluate(models, options, models=tuple(models))


def evaluate_command(config: EvaluateConfig) -> None:
    """Score the models, or with --compare compare reports, and print the table."""
    if config.compare:
        _compare_reports(config)
        return
    names = label_models(config.models)
    report = _evaluate(names, config, models=names)
    from paraclip.evaluation.run import OUT

    out = Path(config.out or OUT)
    if config.json:
        print((out / "report.json").read_text(encoding="utf-8"), end="")  # it ends in a line feed
    else:
        print(report.table())
        print(f"\nWritten: {out / 'report.md'} (and report.json, plots, items.npz)")


def _evaluate(models: "Mapping[str, Model]", options: EvaluateOptions, /, **facts: Any) -> "Report":
    """Score models on the benchmarks that the options name; `facts` add to the provenance.

    Models given by name are loaded when the report can be written and the data are read.
    """
    check_device(options.device)
    require_packages("evaluate", options, models.values())
    for label, model in models.items():
        if len(label.encode()) > _LONGEST_LABEL:
            what = f"is a label of more than {_LONGEST_LABEL:,} bytes"
            raise UserError(f"{label[:20]}...", what, "Choose a shorter one.")
        if isinstance(model, Path | str):
            check_model(str(model))
    from paraclip.evaluation.benchmarks import SUITES
    from paraclip.evaluation.run import OUT, RESAMPLES, check_report_folder
    from paraclip.evaluation.run import evaluate as score

    out = options.out or OUT
    check_report_folder(Path(out))
    benchmarks, left_out = choose_benchmarks(options)
    from paraclip.given_models import loaded_model  # torch, only now

    _warn_left_out(left_out)
    loaded = {label: loaded_model(model, options.device) for label, model in models.items()}
    given = {name: value for name, value in asdict(options).items() if value not in (None, ())}
    given.pop("resamples", None)  # recorded with the seed
    return score(
        loaded, benchmarks, out,
        resamples=options.resamples or RESAMPLES,
        cache=cache_folder() / "image_features",
        # A suite passes over what cannot be scored, unless options name data.
        pass_over=not set(SUITES).isdisjoint(_names(options)) and not names_sources(options),
        left_out=left_out,
        recorded={**given, **facts},
    )  # fmt: skip


def choose_benchmarks(options: EvaluateOptions) -> "tuple[list[Benchmark], dict[str, str]]":
    """Make the benchmarks that the options name.

    Returns:
        The benchmarks with their data, and the reason for each of a suite that is left out, since
        its data is missing or damaged. Benchmarks that are named need their data.
    """
    from paraclip.evaluation.benchmark import MissingData
    from paraclip.evaluation.benchmarks import BENCHMARKS, SUITES

    _data_folder(options)  # a wrong --data is an error, not a reason to skip
    names = _names(options)
    suite = next((name for name in names if name in SUITES), None)
    if suite and len(names) > 1:
        what = f"the suite {suite} does not go with other names"
        raise UserError("--benchmarks", what, "Name one suite, or only benchmarks.")
    if not suite:
        for name in names:
            if name not in BENCHMARKS:
                hint = nearest(name, [*BENCHMARKS, *SUITES])
                raise UserError(name, "is not a benchmark", hint)
        return [load_benchmark(name, options) for name in names], {}
    benchmarks, left_out = [], {}
    for name, entry in BENCHMARKS.items():
        if suite != "all" and suite not in entry.suites:
            continue
        try:
            benchmarks.append(load_benchmark(name, options))
        except UserError as reason:
            of_options = entry.options and names_sources(options)
            if of_options and not isinstance(reason, MissingData):
                raise  # an option is wrong
            left_out[name] = str(reason)
    if not benchmarks:
        _warn_left_out(left_out)
        hint = "Give --data, or --pairs and --pool."
        raise UserError("evaluate", "no benchmark has its data", hint)
    return benchmarks, left_out


def load_benchmark(name: str, options: EvaluateOptions) -> "Benchmark":
    """Make a benchmark with its data; raises `MissingData` without it."""
    from paraclip.evaluation.benchmark import Arithmetic
    from paraclip.evaluation.benchmarks import BENCHMARKS

    entry = BENCHMARKS[name]
    how = Arithmetic(options.precision, max_broken=options.max_broken)
    chosen = {option: getattr(options, option) for option in entry.options}
    return entry.load(_data_folder(options), how, **chosen)


def _data_folder(options: EvaluateOptions) -> Path | None:
    """Return the folder given by `--data`, or else by PARACLIP_DATA."""
    origin, named = "--data", options.data
    if not named:
        origin, named = "PARACLIP_DATA", os.environ.get("PARACLIP_DATA")
    if named and not os.path.isdir(named):
        raise UserError(origin, f"there is no folder {named}", "Check the name.")
    return Path(named) if named else None


def _names(options: EvaluateOptions) -> list[str]:
    """Return the unique names of `--benchmarks`."""
    return list(dict.fromkeys(filter(None, map(str.strip, options.benchmarks.split(",")))))


def names_sources(options: EvaluateOptions) -> bool:
    """Whether options name data; an error in that data is then raised instead of skipped."""
    return any(
        (options.pairs, options.columns, options.pool, options.wordings, options.captions,
         options.images_by_class)
    )  # fmt: skip


def _warn_left_out(reasons: Mapping[str, str]) -> None:
    """Report on standard error the benchmarks that are left out."""
    for name, reason in reasons.items():
        print(f"paraclip: {name} left out: {reason}", file=sys.stderr)


LABEL = re.compile(r"([A-Za-z0-9_+-][A-Za-z0-9_.+-]*)=(.+)")


def label_models(given: tuple[str, ...]) -> dict[str, str]:
    """Return names of models by label.

    Args:
        given: NAME or LABEL=NAME. Without a label, the label is the name; for a checkpoint its file
            or, for `last`, its folder (`tuned` for `runs/tuned/last.safetensors`).
    """
    if not given:
        raise UserError("evaluate", "no model is given", "Name one, such as base=mini.")
    labelled: dict[str, str] = {}
    for entry in given:
        if match := LABEL.fullmatch(entry):
            label, name = match.groups()
        else:
            label, name, path = entry, entry, Path(entry)
            if path.suffix == ".safetensors" and ":" not in name:
                label = (path.stem == "last" and path.parent.name) or path.stem
        if label in labelled:
            hint = "Give it another label, as in second=..."
            raise UserError(entry, f"the label {label!r} occurs twice", hint)
        labelled[label] = name
    return labelled


def _compare_reports(config: EvaluateConfig) -> None:
    from paraclip.evaluation.compare import RESAMPLES, compare, stored_files
    from paraclip.evaluation.report import comparison_json

    if config.out is not None:
        read = [file for path in config.compare for file in stored_files(path)]
        refuse_overwriting(config.out, read)
        out = Path(config.out)
        folder = OutputFolder(out.parent, "comparison")
        folder.refuse_foreign(out)  # before the bootstrap
    resamples = config.resamples or RESAMPLES
    comparisons = compare(*config.compare, models=config.models, resamples=resamples)
    wanted = config.json or config.out is not None
    content = comparison_json(comparisons, asdict(config)) if wanted else ""
    if config.json:
        print(content, end="")
    else:
        print("\n\n".join(comparison.table() for comparison in comparisons))
    if config.out is not None:
        folder.write(out, content)
        if not config.json:  # standard output is JSON alone
            print(f"\nWritten: {config.out}")
