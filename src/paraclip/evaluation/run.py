"""Score models on benchmarks and write the report with its files."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Benchmark, Scores
from paraclip.evaluation.compare import compare_models
from paraclip.evaluation.plots import RankedPairs, contact_sheet, plot_scores
from paraclip.evaluation.report import (
    Report,
    Section,
    compared_with,
    data_hash,
    report_json,
    report_page,
)
from paraclip.evaluation.statistics import Metric
from paraclip.files import check_room, file_hash, locked
from paraclip.output_folder import OutputFolder
from paraclip.progress import bar
from paraclip.provenance import provenance

if TYPE_CHECKING:
    from paraclip.models.encoder import DualEncoder

RESAMPLES = 1000  # enough for intervals; the p-values of `compare` need more
OUT = "runs/evaluation"  # folder of the report, if none is named
_OUTPUTS = (
    *("scores.png", "contact_sheet.png"),  # not in every report
    *("items.npz", "report.json", "report.md"),
)
_SMALLEST = 2**20  # bytes of the files of a report at least


@dataclass(frozen=True)
class _Scored:
    """The section of one benchmark, and the scores of the models by label."""

    section: Section
    scores: Mapping[str, Scores]


def evaluate(
    models: "Mapping[str, DualEncoder]",
    benchmarks: Sequence[Benchmark],
    out: Path | str,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    cache: Path | str | None = None,
    pass_over: bool = False,
    left_out: Mapping[str, str] = {},
    recorded: Mapping[str, Any] = {},
) -> Report:
    """Score every model on every benchmark and write the results.

    Writes `report.json`, `report.md`, `scores.png` and `items.npz` (the scores of every item, for
    later comparisons) to `out` and, where applicable, `contact_sheet.png` (what is found for some
    pairs of wordings). Models, by label, are compared with "base" (or else the first) and
    "control".

    Args:
        seed, resamples: random seed of the bootstrap, and number of its draws.
        cache: folder of image features; None: they are not kept.
        pass_over: whether to leave out, with a warning, benchmarks that cannot be scored (broken
            pictures, text-only models).
        left_out: reasons by name for benchmarks that are left out already; the report shows them.
        recorded: further settings (precision, sources) for the provenance.

    Raises UserError if there are no models or benchmarks, a benchmark cannot be scored and is not
    passed over, none can be scored, or `out` contains a file of one of these names that no report
    wrote, or that was edited, or another run is writing there.
    """
    if not models or not benchmarks:
        what = "no model" if not models else "no benchmark"
        raise UserError("evaluate", f"{what} is given", "Name at least one.")
    folder, cache = Path(out), Path(cache) if cache else None
    check_report_folder(folder)
    with locked(folder):
        facts = {label: _facts_of(model) for label, model in models.items()}
        scored: list[_Scored] = []
        reasons = dict(left_out)
        with bar("evaluate", len(models) * len(benchmarks), "score") as moving:
            for benchmark in benchmarks:
                try:
                    scores = _score_models(benchmark, models, cache, moving)
                except UserError as error:
                    if not pass_over:
                        raise
                    reasons[benchmark.name] = str(error)
                    print(f"paraclip: {benchmark.name} left out: {error}", file=sys.stderr)
                else:
                    name = _free_name(benchmark.name, [one.section.name for one in scored])
                    section = _section(name, benchmark, scores, facts, seed, resamples)
                    scored.append(_Scored(section, scores))
        if not scored:
            why = " ".join(f"{name}: {reason}" for name, reason in reasons.items())
            raise UserError("evaluate", "no benchmark can be scored", why)
        settings = {"seed": seed, "resamples": resamples, **recorded}
        settings |= {"cache": cache} if cache else {}
        made_by = provenance(**settings, left_out=reasons)
        report = Report(facts, [one.section for one in scored], made_by)
        return _write_files(report, scored, folder)


def check_report_folder(folder: Path) -> None:
    """Raise UserError for a folder that may not be written, or with a file of the name of an output
    that no report wrote, or that was edited."""
    check_room(folder, _SMALLEST)
    OutputFolder(folder, "report").refuse_foreign(*(folder / name for name in _OUTPUTS))


def _facts_of(model: "DualEncoder") -> dict[str, Any]:
    """What the report says of a model."""
    from paraclip.models.tensors import hash_tensors

    weights = hash_tensors(model.state_dict())
    return {"weights": weights, "architecture": model.architecture.as_dict()}


def _free_name(name: str, taken: Sequence[str]) -> str:
    """Return the name, with a number if another data set of the benchmark has it."""
    names = (f"{name} {number}" if number > 1 else name for number in count(1))
    return next(one for one in names if one not in taken)


def _score_models(
    benchmark: Benchmark, models: "Mapping[str, DualEncoder]", cache: Path | None, moving: Any
) -> dict[str, Scores]:
    """Score all models, except text-only ones if another model reads the benchmark's pictures."""
    scores, blind = {}, []
    for label, model in models.items():
        moving.set_postfix_str(f"{benchmark.name}, {label}")
        try:
            scores[label] = benchmark.score(model, cache)
        except UserError as error:
            if not benchmark.pictures or model.architecture.reads_pictures:
                raise
            blind.append(error)
        moving.update()
    if not scores:
        raise blind[0]
    return scores


def _section(
    name: str, benchmark: Benchmark, found: Mapping[str, Scores],
    facts: Mapping[str, Mapping[str, Any]], seed: int, resamples: int,
) -> Section:  # fmt: skip
    """Return the figures of one benchmark with their intervals."""
    made = {
        label: {
            "weights": facts[label]["weights"],
            "data_hash": data_hash(benchmark.pool, benchmark.data),
            "pool_size": benchmark.data.get("pool_size", len(benchmark.pictures) or None),
            "precision": benchmark.how.precision,
            "seed": seed, "resamples": resamples,
        }
        for label in found
    }  # fmt: skip
    columns: dict[str, dict[str, Metric]] = {}
    for label, scores in found.items():
        for metric in scores.metrics:
            columns.setdefault(metric.name, {})[label] = metric
    lines = [compare_models(column, list(facts), resamples, seed) for column in columns.values()]
    notes = list(dict.fromkeys(note for scores in found.values() for note in scores.notes))
    notes += [f"{label} reads no pictures" for label in facts if label not in found]
    return Section(name, benchmark.pool, benchmark.data, lines, notes, made)


def _item_arrays(place: str, scores: Scores) -> dict[str, NDArray[Any]]:
    """Return all arrays of one model's scores by their names in items.npz: `PLACE/METRIC`, with
    `:groups` and `:clusters` for those of a metric, where PLACE is `BENCHMARK/LABEL`."""
    arrays = {f"{place}/{name}": array for name, array in scores.arrays.items()}
    for metric in scores.metrics:
        arrays[f"{place}/{metric.name}"] = metric.items
        for part in ("groups", "clusters"):
            if getattr(metric, part) is not None:
                arrays[f"{place}/{metric.name}:{part}"] = getattr(metric, part)
    return arrays


def _ranked_pairs(scored: Sequence[_Scored], labels: tuple[str, str]) -> list[RankedPairs]:
    """Return what two models find for the pairs of every benchmark that ranks pictures."""
    found = []
    for one in scored:
        base, tuned = (one.scores[x].shown if x in one.scores else None for x in labels)
        if base and tuned and base.texts:
            found.append(RankedPairs(base, tuned))
    return found


def _write_files(report: Report, scored: Sequence[_Scored], folder: Path) -> Report:
    """Write all files of the report, and remove those of an earlier one; returns it with the hash
    of its items, by which a run that was killed between two files is known."""
    items: dict[str, NDArray[Any]] = {}
    for one in scored:
        for label, scores in one.scores.items():
            items |= _item_arrays(f"{one.section.name}/{label}", scores)
    names = list(report.models)
    labels = compared_with(names)[0], "tuned" if "tuned" in names else names[-1]
    examples = _ranked_pairs(scored, labels) if len(set(labels)) == 2 else []
    drawn: dict[str, str | bytes | None] = {"scores.png": None, "contact_sheet.png": None}
    if find_spec("matplotlib") is None:
        print("paraclip: no plots: matplotlib is missing (the extra `plots`)", file=sys.stderr)
    else:
        drawn["scores.png"] = plot_scores(report)
    for pairs in examples:  # a sheet of one kind of rewording, or of pictures that are known
        if pairs.base.answers or not any(pairs.base.kinds):
            drawn["contact_sheet.png"] = contact_sheet(pairs, labels)
            break
    output = OutputFolder(folder, "report")
    for name, content in drawn.items():
        if content is None:  # an earlier run's file shows other models
            output.remove(folder / name)
        else:
            output.write(folder / name, content)
    # An open file, since NumPy would add .npz to the temporary name.
    with output.replacing(folder / "items.npz") as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **items)  # type: ignore[arg-type]  # names, not options
    report = replace(report, items=file_hash(folder / "items.npz"))
    shown = [name for name, content in drawn.items() if content is not None]
    output.write(folder / "report.md", report_page(report, shown))
    output.write(folder / "report.json", report_json(report))  # last: all that it reports is there
    return report
