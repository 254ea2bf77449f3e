"""`paraclip swap-check`."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from paraclip.errors import printable
from paraclip.evaluation.unlabelled import measures_table
from paraclip.indexes.origin import EXACT
from paraclip.models.sources import models_of_run
from paraclip.progress import suggest
from paraclip.provenance import provenance, without_secrets
from paraclip.swapping.checking import Scores, SwapReport, swap_check
from paraclip.systems import exported
from paraclip.systems.config import SwapCheckConfig
from paraclip.systems.files import PARACLIP
from paraclip.tables import aligned

SHOWN = 3  # number of results printed for a changed query


def swap_check_command(config: SwapCheckConfig) -> None:
    """Check, print the report, and fail if the index does not come from the base."""
    report = swap_check(config.base, config.tuned, config, config.merged)
    if config.json:
        print(json.dumps({**asdict(report), **provenance(settings=asdict(config))}, indent=1))
    else:
        for line in lines_of(report):
            print(printable(line))
    # After the report, which shows how far the vectors differ.
    if report.origin is not None:
        report.origin.check(without_secrets(config.index))
    _suggest_use(config, report)


def _suggest_use(config: SwapCheckConfig, report: SwapReport) -> None:
    """Suggest to swap the checked model, to search with it, or to export it for the program whose
    index it is; nothing if base is recommended."""
    model, use = config.tuned, report.recommendation.use
    if use == "base":
        return
    if config.merged is None:
        model = models_of_run(model).get(use, model)
    elif use == "merged":
        model = str(config.merged)
    if report.store == "rclip":
        # Its index is a file in the folder of its models.
        folder = Path(config.index) if Path(config.index).is_dir() else Path(config.index).parent
        suggest("swap", "rclip", "--cache", folder, "--tuned", model)
    elif report.store == PARACLIP.name:
        index, models = without_secrets(config.index), f"base,tuned={model}"
        suggest("search", "a dog on a beach", "--index", index, "--models", models)
    elif report.kind != "open_clip":
        suggest("export", model, "exports/modules", "--to", "sentence-transformers")
    elif report.store in exported():
        suggest("export", model, f"exports/{report.store}", "--for", report.store)
    else:
        suggest("export", model, "exports/open-clip")


def lines_of(report: SwapReport) -> Iterator[str]:
    """The report as text."""
    yield f"{report.store}: {report.rows:,} vectors of {report.width} numbers."
    origin = report.origin
    if origin is None:
        yield "Not checked where the vectors come from: no picture can be opened (--pictures)."
    else:
        verdict = "the index stays valid" if origin.same else "the index is of another model"
        yield (
            f"{origin.pictures} pictures embedded again: median cosine {origin.median:.3f}, lowest"
            f" {origin.lowest:.3f}, {100 * origin.first:.0f} % find their own vector first:"
            f" {verdict}."
        )
        if origin.same and origin.median < EXACT:
            yield "Cosines below 0.99 come from previews, another decoder or another preprocessing."
    advice = report.recommendation
    model = "tuned" if advice.use == "base" else advice.use
    yield f"{advice.scenes} scenes in two wordings and with another meaning, percent:"
    yield from aligned(measures_table(advice.measured))
    yield advice.reason
    if report.right is not None:
        shares = "; ".join(
            f"{name} {100 * one.value:+.1f} (95 % {100 * one.low:+.1f} to {100 * one.high:+.1f})"
            for name, one in report.right.change.items()
        )
        yield (
            f"The picture of a caption is among its first {report.k} results for"
            f" {100 * report.right.base:.1f} % of {report.right.captions:,} captions with the base;"
            f" {shares}."
        )
    if report.overlap is not None:
        yield (
            f"{report.queries:,} queries keep {100 * report.overlap:.1f} % of their first"
            f" {report.k} results with the {model} model."
        )
    if report.consistency is not None:
        before, after = (100 * value for value in report.consistency)
        yield (
            f"AO@{report.k} of {report.wordings:,} other wordings: {before:.1f} with the base,"
            f" {after:.1f} with the {model} model."
        )
    if report.scores is not None:
        yield from _score_lines(report.scores, model)
    if changed := [one for one in report.changes if one.overlap < 1]:
        yield "Most changed queries:"
        for change in changed:
            yield f"  {100 * change.overlap:3.0f} %  {change.query}"
            for name, results in (("before", change.before), ("after", change.after)):
                yield f"         {name}: {', '.join(Path(path).name for path in results[:SHOWN])}"


def _score_lines(scores: Scores, model: str) -> Iterator[str]:
    best, last = scores.shift[0], scores.shift[-1]
    yield (
        f"Similarity of the best result of {scores.queries:,} queries: {scores.before[0]:.3f} with"
        f" the base, {scores.after[0]:.3f} with the {model} model ({best.value:+.3f}, 95 %"
        f" {best.low:+.3f} to {best.high:+.3f}); of result {len(scores.shift)}: {last.value:+.3f}."
    )
    cutoff = scores.cutoff
    if cutoff is not None and cutoff.after is None:
        which = "no result" if cutoff.results == 0 else "every result"
        yield f"Cut-off {cutoff.before:g} lets {which} through: it cannot be moved."
    elif cutoff is not None and cutoff.after is not None:
        after = cutoff.after
        yield (
            f"Cut-off {cutoff.before:g}: use {after.value:.3f} with the {model} model (95 %"
            f" {after.low:.3f} to {after.high:.3f}), which lets as many results through,"
            f" {cutoff.results:.1f} a query."
        )
