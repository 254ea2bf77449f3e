"""Score models side by side and write the report with all that belongs to it."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Benchmark, Metric, Scores
from paraclip.evaluation.reporting.browser import write_browser
from paraclip.evaluation.reporting.contact_sheet import contact_sheet
from paraclip.evaluation.reporting.examples import Examples, examples_of
from paraclip.evaluation.reporting.page import report_page
from paraclip.evaluation.reporting.plots import plot_scores
from paraclip.evaluation.reporting.report import (
    Line,
    Report,
    Section,
    compared_with,
    data_hash,
    write_json,
)
from paraclip.evaluation.reporting.trade_off import plot_trade_off
from paraclip.evaluation.scoring.bootstrap import Interval, interval, resample
from paraclip.evaluation.scoring.kept_scores import Kept, keep_scores
from paraclip.evaluation.scoring.vectors import reads_pictures
from paraclip.files import atomic_path, disk_errors, write_text
from paraclip.models.encoder import DualEncoder
from paraclip.models.tensors import hash_tensors
from paraclip.progress import bar
from paraclip.provenance import provenance

RESAMPLES = 1000
UNDEFINED = Interval(math.nan, math.nan, math.nan)


def evaluate(
    models: dict[str, DualEncoder],
    benchmarks: Sequence[Benchmark],
    out: Path | str,
    settings: Mapping[str, Any],
    pass_over: bool = False,
) -> Report:
    """Score every model in every benchmark and write what was found.

    Into `out` go `report.json`, `report.md`, `scores.png`, `items.npz` (every item's scores, for
    later comparisons), and where they can be made `trade_off.png`, `contact_sheet.png` and
    `browser.html` (the pairs whose rankings changed most).

    Args:
        models: by label; "base" (else the first) and "control" are what others are set against.
        benchmarks: each on its data.
        out: folder.
        settings: `seed` and `resamples` of the bootstrap, `cache` folder of image features,
            `results` folder of scores kept for later runs (without it none are kept); these and
            all others (precision, sources) go into the provenance.
        pass_over: tell of a benchmark that cannot be scored (broken pictures, a model that reads
            none) and go on, as long as another can.

    Raises:
        UserError: nothing to do, or the data or a model cannot be scored.
    """
    if not models or not benchmarks:
        what = "no model" if not models else "no benchmark"
        raise UserError("evaluate", f"{what} is given", "Name at least one.")
    facts = {label: model_facts(model) for label, model in models.items()}
    folder, run = Path(out), Run(list(models), settings, facts)
    with disk_errors(folder):  # at once, not after an hour of scoring
        folder.mkdir(parents=True, exist_ok=True)
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


def model_facts(model: DualEncoder) -> dict[str, Any]:
    """What a figure depends on in a model."""
    weights = hash_tensors(model.state_dict())
    return {"weights": weights, "architecture": model.architecture.as_dict()}


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with paths as text, for JSON."""
    defaults = {"seed": 0, "resamples": RESAMPLES}
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in {**defaults, **settings}.items()
    }


@dataclass
class Run:
    """What has been found so far.

    Args:
        labels: of the models, in order.
        settings: see `evaluate`.
        facts: of each model.
    """

    labels: list[str]
    settings: Mapping[str, Any]
    facts: dict[str, dict[str, Any]]
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
        """The folder that a setting names."""
        named = self.settings.get(setting)
        return Path(named) if named else None

    def score_all(
        self, benchmark: Benchmark, models: Mapping[str, DualEncoder], moving: Any
    ) -> dict[str, Kept]:
        """Score all models in one benchmark; the bar `moving` goes along.

        A model that reads no pictures has no scores where they are needed, as long as another has.
        """
        scores, blind = {}, []
        for label, model in models.items():
            moving.set_postfix_str(f"{benchmark.name}, {label}")
            try:
                scores[label] = self.score(benchmark, label, model)
            except UserError as error:
                if reads_pictures(model):
                    raise
                blind.append(error)
            moving.update()
        if not scores:
            raise blind[0]
        return scores

    def leave_out(self, name: str, error: UserError) -> None:
        """Note and tell a benchmark that could not be scored."""
        self.errors.append(error)
        self.left_out[name] = str(error)
        print(f"paraclip: {name} left out: {error}", file=sys.stderr)

    def score(self, benchmark: Benchmark, label: str, model: DualEncoder) -> Kept:
        """Score a model, or take the scores from an earlier run."""
        weights, results = self.facts[label]["weights"], self.folder("results")
        return keep_scores(benchmark, model, results, self.cache, weights)

    def made(self, benchmark: Benchmark, label: str, kept: Kept) -> dict[str, Any]:
        """How a model's scores came about; times and versions are those of the computation."""
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
        """Make figures and intervals of the scores of one benchmark."""
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
        """The benchmark's name; the second of that name (on other data) is numbered."""
        before = sum(section.name.split(" ")[0] == name for section in self.sections)
        return f"{name} {before + 1}" if before else name

    def line(self, column: dict[str, Metric]) -> Line:
        """One figure of all models; all see the same draws, so differences are paired.

        A model that was not scored has one that is not defined.
        """
        seed = int(self.settings.get("seed", 0))
        resamples = int(self.settings.get("resamples", RESAMPLES))
        values = {label: 100 * metric.value() for label, metric in column.items()}
        drawn = {label: 100 * resample(metric, resamples, seed) for label, metric in column.items()}
        differences = {
            f"{one} - {other}": interval(values[one] - values[other], drawn[one] - drawn[other])
            if one in column and other in column
            else UNDEFINED
            for one, other in self.compared()
        }
        first = next(iter(column.values()))
        found = {
            label: interval(values[label], drawn[label]) if label in column else UNDEFINED
            for label in self.labels
        }
        size = len(first.items)
        return Line(first.name, first.headline, size, found, differences, first.statistic)

    @property
    def base(self) -> str:
        """The model that others are set against."""
        return compared_with(self.labels)[0]

    @property
    def shown(self) -> list[Examples]:
        """The examples that both base and tuned have."""
        both = {self.base, self.tuned}
        return [some for some in self.examples if both <= some.rankings.keys()]

    @property
    def tuned(self) -> str:
        """The model whose examples are shown beside base's."""
        return "tuned" if "tuned" in self.labels else self.labels[-1]

    def compared(self) -> list[tuple[str, str]]:
        """Every model against base, and against control; base itself is set against none."""
        others = [label for label in self.labels if label != self.base]
        against = compared_with(self.labels)
        return [(one, other) for other in against for one in others if one != other]


def item_arrays(place: str, scores: Scores) -> dict[str, np.ndarray[Any, Any]]:
    """All arrays of one model's scores by their names in items.npz.

    A metric's items stand under `PLACE/METRIC`, what groups or clusters them under
    `PLACE/METRIC:groups` and `PLACE/METRIC:clusters`.
    """
    arrays = {f"{place}/{name}": array for name, array in scores.arrays.items()}
    for metric in scores.metrics:
        arrays[f"{place}/{metric.name}"] = metric.items
        if metric.groups is not None:
            arrays[f"{place}/{metric.name}:groups"] = metric.groups
        if metric.clusters is not None:
            arrays[f"{place}/{metric.name}:clusters"] = metric.clusters
    return arrays


def write_all(report: Report, run: Run, folder: Path) -> None:
    """Write the report's files."""
    pictures = ["scores.png"]
    plot_scores(report, folder / "scores.png")
    if plot_trade_off(report, run.base, folder / "trade_off.png"):
        pictures.append("trade_off.png")
    if draw_sheet(run, folder / "contact_sheet.png"):
        pictures.append("contact_sheet.png")
    pages = []
    if run.base != run.tuned:
        labels = run.base, run.tuned
        found = write_browser(run.shown, labels, folder / "browser.html")
        pages = ["browser.html"] if found else []
    with atomic_path(folder / "items.npz") as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **run.items)  # type: ignore[arg-type]  # names, not options
    write_text(folder / "report.md", report_page(report, pictures, pages))
    write_json(report, folder / "report.json")


def draw_sheet(run: Run, path: Path) -> bool:
    """Draw the contact sheet, if there are rankings of two models over a pool of pictures."""
    found = next((some for some in run.shown if not any(some.kinds)), None)
    if found is None or run.base == run.tuned:
        return False
    labels = (run.base, run.tuned)
    before, after = (found.rankings[label] for label in labels)
    contact_sheet(found.texts, before, after, found.references, path, labels)
    return True
