"""`swap-check`: its options, the function, and what the command prints."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Le
from pydantic_core import to_jsonable_python

from paraclip.commands.packages import require_packages
from paraclip.data.captions import Problems
from paraclip.errors import UserError, printable
from paraclip.models.sources import check_device, check_model, models_of_run
from paraclip.options import Checked, PathName, takes
from paraclip.progress import suggest
from paraclip.provenance import provenance, without_secrets
from paraclip.systems import exported
from paraclip.systems.files import PARACLIP
from paraclip.systems.system import IndexAddress

if TYPE_CHECKING:  # `paraclip swap-check --help` needs neither torch nor numpy
    from paraclip.models.encoder import Model
    from paraclip.swapping.checking import EverydayScenes, ScoreShift, SwapReport

SHOWN = 3  # number of results printed for a changed query


@dataclass(frozen=True, kw_only=True)
class SwapCheckOptions(Checked):
    """What is compared, and how."""

    queries: PathName | None = None
    """Text file with one query per line; other wordings of a query may follow on the same line,
    separated by tabs. Or captions of pictures of the index, as `generate` reads them (.csv, .jsonl,
    a folder): the report then says how often the right picture is found."""

    pictures: PathName | None = None
    """Folder in which pictures are looked up by file name, if the paths in the index do not lead to
    them."""

    paths: PathName | None = None
    """Text file with the path of each row's picture, for an index that contains none (.npy)."""

    table: str | None = None
    """Table of a LanceDB folder or a database, if there are several."""

    column: str | None = None
    """Column of the vectors, or LibrePhotos' model, if there are several."""

    k: Annotated[int, Ge(1), Le(1000)] = 10
    """Number of results to compare per query."""

    cutoff: Annotated[float, Ge(-1), Le(1)] | None = None
    """Your cut-off on the cosine similarity with the base (of a distance, 1 - distance). The report
    gives the one that lets the same number of results through with the tuned model; without
    --queries, for everyday scenes that no run learns."""

    sheet: PathName | None = None
    """Picture to write (.png, .jpg): what base and the recommended model (or tuned) find for ten
    everyday scenes in two wordings. They are taken from those that base finds a close picture for,
    at equal steps from the greatest gain to the greatest loss."""

    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:1 or mps."""


@dataclass(frozen=True, kw_only=True)
class SwapCheckConfig(SwapCheckOptions):
    """Check an index before its text encoder is replaced: do its vectors come from the base's image
    encoder, how much do your queries change, and which model should you use?"""

    index: str
    """Vectors of the pictures: .npy, .parquet (or a folder of them), a folder of clip-retrieval, a
    LanceDB folder, rclip's db.sqlite3 or its folder, postgresql://... for pgvector, immich and
    LibrePhotos, or the --index of `paraclip index`."""

    base: str
    """The model that made the index, as for `paraclip train --base`."""

    tuned: str
    """The tuned model that would answer queries, or the folder of its run, for tuned and merged:
    one of them is recommended, or base."""

    json: bool = False
    """Print the report as JSON, and nothing else."""


@takes(SwapCheckOptions)
def swap_check(
    index: Path | str, base: "Model", tuned: "Model", options: SwapCheckOptions
) -> "SwapReport":
    """Check an index before its text encoder is replaced.

    Args:
        index: vectors of pictures, as for `paraclip swap-check`.
        base: the model that made the index.
        tuned: the model that would embed the queries, or the folder of its run.
        options: those below, such as `queries="queries.txt"` or `pictures="photos"`.

    Returns:
        The origin of the vectors, how the results of the queries change, and which model to use.

    Raises:
        UserError: the models have different image towers, or the index cannot be read.
    """
    return check_swap(index, base, tuned, options)


def check_swap(
    index: Path | str, base: "Model", tuned: "Model", options: SwapCheckOptions
) -> "SwapReport":
    """Read index and queries, and compare; models given by name are loaded after that."""
    check_device(options.device)
    named = _by_label(tuned)
    require_packages("swap-check", options, (base, *named.values()), [index])
    for one in (base, *named.values()):
        if isinstance(one, Path | str):
            check_model(str(one))
    from paraclip.image_search.sheet import check_sheet
    from paraclip.indexes import pictures_of_rows, read_index
    from paraclip.swapping.checking import compare_encoders, read_queries

    problems = Problems()
    queries = read_queries(str(options.queries), problems) if options.queries else []
    pictures, paths, sheet = (
        None if one is None else str(one)
        for one in (options.pictures, options.paths, options.sheet)
    )
    if sheet:
        check_sheet(sheet)
    pictures_of_rows((), pictures)
    vectors = read_index(IndexAddress(str(index), paths, options.table, options.column))
    return compare_encoders(
        base, named, vectors, queries, problems=problems, pictures=pictures, k=options.k,
        cutoff=options.cutoff, sheet=sheet, device=options.device,
    )  # fmt: skip


def _by_label(tuned: "Model") -> "dict[str, Model]":
    """Tuned, and merged from the folder of a run."""
    models = models_of_run(tuned) if isinstance(tuned, Path | str) else {}
    for file in map(Path, models.values()):
        if not file.is_file():
            hint = f"Let `paraclip train` finish, or name one model; a control has no {file.name}."
            raise UserError(str(tuned), f"is a run without {file.name}", hint)
    return {**models} or {"tuned": tuned}


def swap_check_command(config: SwapCheckConfig) -> None:
    """Check, print the report, and fail if the index does not come from the base."""
    report = check_swap(config.index, config.base, config.tuned, config)
    if config.json:
        facts = {**asdict(report), **provenance(settings=asdict(config))}
        # The interval of a single caption is undefined, which JSON says as null.
        print(json.dumps(to_jsonable_python(facts, inf_nan_mode="null"), indent=1))
    else:
        for line in lines_of(report):
            print(printable(line))
    if config.sheet:
        print(f"Wrote {printable(config.sheet)}", file=sys.stderr)  # not into JSON
    # After the report, which shows how far the vectors differ.
    if report.origin is not None:
        report.origin.check(without_secrets(config.index))
    _suggest_use(config, report)


def _suggest_use(config: SwapCheckConfig, report: "SwapReport") -> None:
    """Suggest to swap the checked model, to search with it, or to export it for the program whose
    index it is; nothing if base is recommended."""
    use = report.recommendation.use
    if use == "base":
        return
    model = models_of_run(config.tuned).get(use, config.tuned)
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


def lines_of(report: "SwapReport") -> Iterator[str]:
    """The report as text."""
    from paraclip.evaluation.unlabelled import measures_table
    from paraclip.indexes import EXACT
    from paraclip.tables import aligned

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
    if report.everyday is not None:
        yield from _everyday_lines(report.everyday)
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
    yield from report.problems.summary().splitlines()


def _everyday_lines(scenes: "EverydayScenes") -> Iterator[str]:
    from paraclip.image_search.everyday import counts_table
    from paraclip.tables import aligned

    yield (
        f"Base finds a close picture for {scenes.held} of {scenes.asked} everyday scenes. These in"
        " the two wordings that have the fewest words in common:"
    )
    yield from aligned(counts_table(scenes.counts)) if scenes.held else ()


def _score_lines(scores: "ScoreShift", model: str) -> Iterator[str]:
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
