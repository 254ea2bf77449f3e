"""Score models on benchmarks and write the report with its files."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np

from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Benchmark, Scores
from paraclip.evaluation.browser import Examples, examples_of, write_browser
from paraclip.evaluation.contact_sheet import contact_sheet
from paraclip.evaluation.kept_scores import Kept, keep_scores
from paraclip.evaluation.plots import plot_scores, plot_trade_off
from paraclip.evaluation.report import (
    Line,
    Report,
    Section,
    compared_with,
    data_hash,
    report_page,
    write_json,
)
from paraclip.evaluation.statistics import Interval, Metric, interval, resample
from paraclip.evaluation.vectors import reads_pictures
from paraclip.files import (
    atomic_path,
    disk_errors,
    has_mark,
    is_signed,
    refuse_foreign,
    signed,
    write_text,
)
from paraclip.models.encoder import DualEncoder
from paraclip.models.tensors import hash_tensors
from paraclip.progress import bar
from paraclip.provenance import provenance

RESAMPLES = 1000
OUT = "runs/evaluation"  # folder of the report, if none is named
MARK = b"ParaCLIP"
"""In every file of a report, so that no file of the user is replaced."""
OUTPUTS = ("scores.png", "trade_off.png", "contact_sheet.png", "browser.html", "items.npz",
           "report.json", "report.md")  # fmt: skip
UNDEFINED = Interval(math.nan, math.nan, math.nan)


def evaluate(
    models: dict[str, DualEncoder],
    benchmarks: Sequence[Benchmark],
    out: Path | str,
    settings: Mapping[str, Any],
    pass_over: bool = False,
) -> Report:
    """Score every model on every benchmark and write the results.

    Writes `report.json`, `report.md`, `scores.png` and `items.npz` (the scores of every item, for
    later comparisons) to `out` and, where applicable, `trade_off.png`, `contact_sheet.png` and
    `browser.html` (the pairs whose rankings changed most).

    Args:
        models: models by label; the others are compared with "base" (or else the first model) and
            "control".
        benchmarks: benchmarks with their data.
        out: output folder.
        settings: `seed` and `resamples` of the bootstrap, `cache` folder of image features,
            `results` folder of cached scores (no cache if absent); these and any other settings
            (precision, sources) are recorded in the provenance.
        pass_over: whether to skip benchmarks that cannot be scored (broken pictures, text-only
            models) with a warning, provided that at least one can.

    Raises:
        UserError: if there are no models or benchmarks, the data or a model cannot be scored, or
            `out` contains a file of one of these names that is not ours or was edited.
    """
    if not models or not benchmarks:
        what = "no model" if not models else "no benchmark"
        raise UserError("evaluate", f"{what} is given", "Name at least one.")
    facts = {label: model_facts(model) for label, model in models.items()}
    folder, run = Path(out), ReportBuilder(list(models), settings, facts)
    with disk_errors(folder):  # fail before scoring, not after
        folder.mkdir(parents=True, exist_ok=True)
    for name in OUTPUTS:
        refuse_foreign(folder / name, is_ours)
    with bar("evaluate", len(models) * len(benchmarks), "score") as moving:
        for benchmark in benchmarks:
            try:
                run.add(benchmark, run.score_all(benchmark, models, moving))
            except UserError as error:
                if not pass_over:
                    raise
                run.leave_out(benchmark.name, error)
    if not run.sections:
        raise run.errors[-1]
    settings = {**settings, "left_out": {**settings.get("left_out", {}), **run.left_out}}
    report = Report(facts, run.sections, provenance(**plain_settings(settings)))
    write_all(report, run, folder)
    return report


def is_ours(path: Path) -> bool:
    """Whether a file was written by an earlier evaluation and, if it is a text, not edited."""
    return is_signed(path) if path.suffix == ".md" else has_mark(path, MARK)


def model_facts(model: DualEncoder) -> dict[str, Any]:
    """Return the facts about a model that determine its scores."""
    weights = hash_tensors(model.state_dict())
    return {"weights": weights, "architecture": model.architecture.as_dict()}


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with paths as strings, for JSON."""
    defaults = {"seed": 0, "resamples": RESAMPLES}
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in {**defaults, **settings}.items()
    }


@dataclass
class ReportBuilder:
    """Results collected during an evaluation."""

    labels: list[str]  # labels of the models, in order
    settings: Mapping[str, Any]  # settings, see `evaluate`
    facts: dict[str, dict[str, Any]]  # facts about each model, by label
    sections: list[Section] = field(default_factory=list)
    items: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    examples: list[Examples] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    errors: list[UserError] = field(default_factory=list)

    @property
    def cache(self) -> Path | None:
        """Folder of image features."""
        return self.folder("cache")

    def folder(self, setting: str) -> Path | None:
        """Return the folder given by a setting, or None."""
        named = self.settings.get(setting)
        return Path(named) if named else None

    def score_all(
        self, benchmark: Benchmark, models: Mapping[str, DualEncoder], moving: Any
    ) -> dict[str, Kept]:
        """Score all models on one benchmark and advance the progress bar `moving`.

        A text-only model is skipped if the benchmark needs pictures and another model reads them.

        Raises:
            UserError: if no model can be scored, or a model fails for another reason.
        """
        scores, blind = {}, []
        for label, model in models.items():
            moving.set_postfix_str(f"{benchmark.name}, {label}")
            try:
                scores[label] = self.score(benchmark, label, model)
            except UserError as error:
                if not benchmark.pictures or reads_pictures(model):
                    raise
                blind.append(error)
            moving.update()
        if not scores:
            raise blind[0]
        return scores

    def leave_out(self, name: str, error: UserError) -> None:
        """Record and report a benchmark that could not be scored."""
        self.errors.append(error)
        self.left_out[name] = str(error)
        print(f"paraclip: {name} left out: {error}", file=sys.stderr)

    def score(self, benchmark: Benchmark, label: str, model: DualEncoder) -> Kept:
        """Score a model, or read its scores from the cache."""
        weights, results = self.facts[label]["weights"], self.folder("results")
        return keep_scores(benchmark, model, results, self.cache, weights)

    def made(self, benchmark: Benchmark, label: str, kept: Kept) -> dict[str, Any]:
        """Return how a model's scores were computed, with the time and versions of that run."""
        settings = plain_settings(self.settings)
        return {
            "weights": self.facts[label]["weights"],
            "data_hash": data_hash(benchmark.pool, benchmark.data),
            "pool_size": benchmark.data.get("pool_size", len(benchmark.pictures) or None),
            "precision": benchmark.how.precision,
            **{name: settings[name] for name in ("seed", "resamples")},
            **kept.made, "from_earlier_run": kept.from_disk,
        }  # fmt: skip

    def add(self, benchmark: Benchmark, found: dict[str, Kept]) -> None:
        """Add the scores of one benchmark, with metrics and intervals."""
        scores = {label: kept.scores for label, kept in found.items()}
        made = {label: self.made(benchmark, label, kept) for label, kept in found.items()}
        columns: dict[str, dict[str, Metric]] = {}
        for label, got in scores.items():
            for metric in got.metrics:
                columns.setdefault(metric.name, {})[label] = metric
        lines = [self.line(column) for column in columns.values()]
        notes = list(dict.fromkeys(note for got in scores.values() for note in got.notes))
        notes += [f"{label} reads no pictures" for label in self.labels if label not in scores]
        name = self.new_name(benchmark.name)
        self.sections.append(Section(name, benchmark.pool, benchmark.data, lines, notes, made))
        for label, got in scores.items():
            self.items |= item_arrays(f"{name}/{label}", got)
        if (shown := examples_of(benchmark, scores, name)) is not None:
            self.examples.append(shown)

    def new_name(self, name: str) -> str:
        """Return a unique name: a repeated benchmark (on other data) gets a number."""
        taken = {section.name for section in self.sections}
        names = chain((name,), (f"{name} {number}" for number in count(2)))
        return next(unused for unused in names if unused not in taken)

    def line(self, column: dict[str, Metric]) -> Line:
        """Return one metric of all models, with paired differences from shared draws.

        The value of a model that was not scored is undefined.
        """
        seed = int(self.settings.get("seed", 0))
        resamples = int(self.settings.get("resamples", RESAMPLES))
        value = {label: 100 * metric.value() for label, metric in column.items()}
        drawn = {label: 100 * resample(metric, resamples, seed) for label, metric in column.items()}
        values = dict.fromkeys(self.labels, UNDEFINED)
        values |= {label: interval(value[label], drawn[label]) for label in column}
        differences = {f"{one} - {other}": UNDEFINED for one, other in self.compared()}
        for one, other in self.compared():
            if one in column and other in column:
                change = interval(value[one] - value[other], drawn[one] - drawn[other])
                differences[f"{one} - {other}"] = change
        first = next(iter(column.values()))
        size = len(first.items)
        return Line(first.name, first.headline, size, values, differences, first.statistic)

    @property
    def base(self) -> str:
        """Label of the model that the others are compared with."""
        return compared_with(self.labels)[0]

    @property
    def shown(self) -> list[Examples]:
        """The examples for which both base and tuned have rankings."""
        both = {self.base, self.tuned}
        return [some for some in self.examples if both <= some.rankings.keys()]

    @property
    def tuned(self) -> str:
        """Label of the model whose examples are shown next to those of base."""
        return "tuned" if "tuned" in self.labels else self.labels[-1]

    def compared(self) -> list[tuple[str, str]]:
        """Return the pairs to compare: every model with base, and with control if present."""
        others = [label for label in self.labels if label != self.base]
        against = compared_with(self.labels)
        return [(one, other) for other in against for one in others if one != other]


def item_arrays(place: str, scores: Scores) -> dict[str, np.ndarray[Any, Any]]:
    """Return all arrays of one model's scores by their names in items.npz.

    The items of a metric are named `PLACE/METRIC`, its groups and clusters
    `PLACE/METRIC:groups` and `PLACE/METRIC:clusters`, where PLACE is `BENCHMARK/LABEL`.
    """
    arrays = {f"{place}/{name}": array for name, array in scores.arrays.items()}
    for metric in scores.metrics:
        arrays[f"{place}/{metric.name}"] = metric.items
        if metric.groups is not None:
            arrays[f"{place}/{metric.name}:groups"] = metric.groups
        if metric.clusters is not None:
            arrays[f"{place}/{metric.name}:clusters"] = metric.clusters
    return arrays


def write_all(report: Report, run: ReportBuilder, folder: Path) -> None:
    """Write all files of the report."""
    drawn = {
        "scores.png": plot_scores(report, folder / "scores.png"),
        "trade_off.png": plot_trade_off(report, run.base, folder / "trade_off.png"),
        "contact_sheet.png": draw_sheet(run, folder / "contact_sheet.png"),
        "browser.html": draw_browser(run, folder / "browser.html"),
    }
    for name in (name for name, is_new in drawn.items() if not is_new):
        with disk_errors(folder / name):  # an earlier run's file shows other models
            (folder / name).unlink(missing_ok=True)
    with atomic_path(folder / "items.npz") as temporary, temporary.open("w+b") as stream:
        np.savez_compressed(stream, **run.items)  # type: ignore[arg-type]  # names, not options
        with ZipFile(stream, "a") as archive:
            archive.comment = MARK
    names = [name for name, is_new in drawn.items() if is_new]
    pictures, pages = (
        [name for name in names if name.endswith(suffix)] for suffix in (".png", ".html")
    )
    write_text(folder / "report.md", signed(report_page(report, pictures, pages)))
    write_json(report, folder / "report.json")


def draw_browser(run: ReportBuilder, path: Path) -> bool:
    """Write the example browser if there are two models; returns whether it was written."""
    return run.base != run.tuned and write_browser(run.shown, (run.base, run.tuned), path)


def draw_sheet(run: ReportBuilder, path: Path) -> bool:
    """Draw the contact sheet if two models have rankings over a pool of pictures.

    Returns:
        Whether it was drawn.
    """
    drawn = (some for some in run.shown if some.answers or not any(some.kinds))
    examples = next(drawn, None)
    if examples is None or run.base == run.tuned:
        return False
    labels = (run.base, run.tuned)
    before, after = (examples.rankings[label] for label in labels)
    contact_sheet(
        examples.texts, before, after, examples.references, path, labels, examples.answers
    )
    return True
