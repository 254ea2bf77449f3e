"""`swap_check`: does the index come from the base, what does the tuned text encoder change, and
should it or its mixture with base be used?"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import ImageOps

from paraclip.arrays import Float, Integers
from paraclip.compute.exact_search import nearest_rows
from paraclip.data.captions import Problems
from paraclip.data.images import open_image
from paraclip.data.reading import read_captions
from paraclip.data.rows import READERS, is_folder
from paraclip.errors import UserError
from paraclip.evaluation.metrics import average_overlap, cutoff_above, shared_results
from paraclip.evaluation.statistics import Interval, interval, mean_interval
from paraclip.evaluation.unlabelled import (
    first_pictures,
    mean_wordings,
    read_answers,
    recommend,
    scene_queries,
    search_scenes,
)
from paraclip.files import read_lines
from paraclip.image_search.everyday import (
    DEPTH,
    HeldScene,
    at_equal_steps,
    count_scenes,
    everyday_pairs,
    held_scenes,
)
from paraclip.image_search.sheet import write_sheet
from paraclip.image_search.snapshot import Hit
from paraclip.indexes import Index, Origin, find_origin, pictures_of_rows
from paraclip.starter import unrelated_texts

if TYPE_CHECKING:
    from paraclip.models.encoder import DualEncoder, Model

_LISTED = 10
_RESAMPLES = 1000
_MOST_SCORED = 2000
"""Queries that are scored; the memory of the counts grows with them."""
_EDGES = np.linspace(-1, 1, 4001)
"""Cut-offs at which results are counted; one between them is interpolated."""
_BLOCK = 4096  # pictures at a time
_MOST_QUERIES = 100_000
_QUERIES = (".txt", ".tsv")  # a query a line, its wordings as fields; other files hold captions
_SHOWN, _SIDE = 10, 100  # scenes of a sheet, and pixels of its pictures
_EXAMPLE = "Write one query per line; other wordings may follow after tabs."


@dataclass(frozen=True)
class _WordedQuery:
    """A query of the user."""

    text: str
    wordings: tuple[str, ...] = ()  # others with the same meaning
    picture: str | None = None  # that it describes, if it is a caption


@dataclass(frozen=True)
class Cutoff:
    """A cut-off on the similarity before and after a swap."""

    before: float  # the user's, for the base
    # The one that lets the same number of results of all queries through with the tuned model; None
    # if the one before lets none or all through.
    after: Interval | None
    results: float  # mean number of results a query that pass


@dataclass(frozen=True)
class ScoreShift:
    """Similarities of the results of queries, means over the queries."""

    queries: int  # number of queries
    before: list[float]  # similarity of the result at each rank with the base, best first
    after: list[float]  # the same with the tuned model
    shift: list[Interval]  # their difference, with the interval over queries
    cutoff: Cutoff | None = None  # the user's, if given


@dataclass(frozen=True)
class _Change:
    """How the results of one query change."""

    query: str
    overlap: float  # share of its first results that base and tuned have in common
    before: list[str]  # first results with the base, as paths or row numbers, best first
    after: list[str]  # the same with the tuned model


@dataclass(frozen=True)
class RightPictures:
    """How often the picture of a caption is among its first results; shares are from 0 to 1."""

    captions: int  # of pictures of the index
    base: float  # share of the captions
    change: Mapping[str, Interval]  # from base, by model, with the interval over pictures


@dataclass(frozen=True)
class Recommendation:
    """Which model to use on this index, and why."""

    use: str  # "tuned", "merged" or "base"
    reason: str
    scenes: int  # held-out scenes that were searched for
    # means of the measures of `evaluation.unlabelled`, 0 to 1, by model; base is the only judge
    measured: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class EverydayScenes:
    """What two wordings of everyday scenes find that the index holds, as base says."""

    asked: int  # scenes
    held: int  # of these, for which base finds a close picture
    counts: Mapping[str, Mapping[str, float]]  # of the held ones, by model and figure


@dataclass(frozen=True)
class SwapReport:
    """The result of `swap_check`."""

    store: str  # kind of the index
    rows: int  # number of vectors
    width: int  # of the vectors
    k: int  # number of results that were compared
    kind: str  # of the models: "open_clip", "mini" or "sentence"
    origin: Origin | None  # of the vectors; None if no picture could be opened
    # Without labels; the figures below are those of the recommended model, or of tuned if that is
    # base.
    recommendation: Recommendation
    everyday: EverydayScenes | None = None
    queries: int = 0  # number of queries
    overlap: float | None = None  # mean share of results in common, 0 to 1; None without queries
    wordings: int = 0  # number of pairs of a query and another wording
    # AO@k of these pairs with base and tuned, 0 to 1; None without wordings
    consistency: tuple[float, float] | None = None
    right: RightPictures | None = None  # None without captions
    changes: list[_Change] = field(default_factory=list)  # by overlap, the least first
    scores: ScoreShift | None = None  # of the results; None without queries and cut-off
    problems: Problems = field(default_factory=Problems)  # the pictures and rows left out


def read_queries(path: str, problems: Problems | None = None) -> list[_WordedQuery]:
    """Read the queries of a text file, without empty lines, or captions as `generate` reads them;
    `problems` lists broken rows.

    Raises:
        UserError: the file is missing, cannot be read, is not UTF-8, is empty, or has more than
            100,000 lines or captions.
    """
    suffix = Path(path).suffix.lower()
    is_captions = is_folder(path) or (suffix in READERS and suffix not in _QUERIES)
    captions = (
        list(islice(read_captions(path, None, problems), _MOST_QUERIES + 1)) if is_captions else []
    )
    lines = [] if is_captions else read_lines(path, _EXAMPLE)
    if max(len(lines), len(captions)) > _MOST_QUERIES:
        raise UserError(path, f"has more than {_MOST_QUERIES:,} lines", "Take a sample of them.")
    if captions:
        return [_WordedQuery(one.caption, picture=one.image) for one in captions]
    parts = [[part.strip() for part in line.split("\t")] for line in lines if line.strip()]
    queries = [_WordedQuery(first, tuple(filter(None, rest))) for first, *rest in parts if first]
    if not queries:
        raise UserError(path, "holds no queries", _EXAMPLE)
    return queries


def compare_encoders(
    base: "Model",
    tuned: "Mapping[str, Model]",
    index: Index,
    queries: Sequence[_WordedQuery],
    *,
    problems: Problems | None = None,
    pictures: str | None = None,
    k: int = 10,
    cutoff: float | None = None,
    sheet: str | None = None,
    device: str = "auto",
) -> SwapReport:
    """Compare an index with its base, and the results of queries before and after a swap.

    Without queries, the cut-off is moved for the scenes that no run learns.

    Args:
        base: the model that made the index.
        tuned: the tuned model by its label, and `merged` if there is one.
        index: the vectors of the pictures.
        queries: what is searched for.
        problems: collects what is left out.
        pictures: folder of the pictures, if the paths in the index lead nowhere.
        k: number of results to compare.
        cutoff: the user's on the similarity with the base.
        sheet: file of a picture of what base and the chosen model find for everyday scenes.
        device: where named models are loaded.

    Raises:
        UserError: base and tuned have different image towers, the index has vectors of another
            width, or a sheet has no pictures.
    """
    from paraclip.given_models import loaded_model
    from paraclip.models.features import image_space  # torch, only now

    base = loaded_model(base, device)
    models = {label: loaded_model(one, device) for label, one in tuned.items()}
    for model in models.values():
        if image_space(base) != image_space(model):
            what = "its image encoder or preprocessing is not that of the base"
            hint = "The index would be void: tune only the text encoder."
            raise UserError(model.architecture.name, what, hint)
    files, problems = pictures_of_rows(index.paths or [], pictures), problems or Problems()
    if sheet and not files:
        hint = "Give --pictures FOLDER (or --paths FILE)."
        raise UserError("--sheet", "no picture of the index can be opened", hint)
    origin = find_origin(base, index, files, problems)
    rows, width = index.vectors.shape
    kind, k = base.architecture.kind, min(k, rows)
    right = _find_right_pictures(base, models, index, queries, files, k, problems)
    advice = _measure(base, models, index, right)
    held = _ask_everyday({"base": base, **models}, index)
    everyday = EverydayScenes(len(everyday_pairs()), len(held), count_scenes(held))
    report = SwapReport(
        index.kind, rows, width, k, kind, origin, advice, everyday, right=right, problems=problems
    )
    label = advice.use if advice.use in models else "tuned"
    chosen = models[label]
    if sheet:
        _write_sheet(sheet, held, label, files, problems)
    if not queries and cutoff is None:
        return report
    asked = queries or [_WordedQuery(text) for text in scene_queries().texts]
    compared = _compare_queries(base, chosen, index, asked, report, cutoff)
    return compared if queries else replace(report, scores=compared.scores)


def _find_right_pictures(
    base: "DualEncoder", models: "Mapping[str, DualEncoder]", index: Index,
    queries: Sequence[_WordedQuery], pictures: Mapping[int, str], k: int, problems: Problems,
) -> RightPictures | None:  # fmt: skip
    """How often each model finds the pictures of captions; None without captions. `problems` lists
    pictures that the index lacks."""
    from paraclip.models.features import encode_texts

    captions = [(query.text, query.picture) for query in queries if query.picture]
    if not captions:
        return None
    names = {os.path.basename(picture) for _, picture in captions}
    named = ((path, row) for row, path in pictures.items() if os.path.basename(path) in names)
    rows = {os.path.realpath(path): row for path, row in named}
    places = [(text, rows.get(os.path.realpath(picture))) for text, picture in captions]
    texts = [text for text, row in places if row is not None]
    wanted = np.array([row for _, row in places if row is not None])
    if not texts:
        hint = "Give --pictures FOLDER (or --paths FILE), or captions of pictures that it holds."
        raise UserError("--queries", "describe no picture of the index", hint)
    for picture in dict.fromkeys(picture for _, picture in captions):
        if os.path.realpath(picture) not in rows:
            problems.add(picture, "is not in the index")

    def found(model: "DualEncoder") -> Float:
        first = nearest_rows(encode_texts(model, texts).numpy(), index.vectors, k)[0]
        return np.asarray((first == wanted[:, None]).any(axis=1), np.float64)

    before, change = found(base), {}
    for label, model in models.items():
        change[label] = mean_interval(found(model) - before, clusters=wanted)
    return RightPictures(len(texts), float(before.mean()), change)


def _measure(
    base: "DualEncoder", models: "Mapping[str, DualEncoder]", index: Index,
    right: RightPictures | None,
) -> Recommendation:  # fmt: skip
    """What base and the models find for held-out scenes, and which of them to use."""
    import torch

    from paraclip.models.features import encode_texts, encoded_once, find_ranking_scale

    queries = scene_queries()
    pictures = torch.from_numpy(index.vectors)
    scale = find_ranking_scale(base, pictures, queries.texts)
    encode = encoded_once(base, queries.every())
    firsts = {"base": first_pictures(mean_wordings(encode, queries), pictures, scale)}
    before = search_scenes(encode, index.vectors, queries)
    found = {
        label: search_scenes(partial(encode_texts, one), index.vectors, queries)
        for label, one in models.items()
    }
    readings = {
        label: read_answers(one, before, queries, firsts)
        for label, one in {"base": before, **found}.items()
    }
    use, reason = recommend(readings, {} if right is None else right.change)
    measured = {label: one.means() for label, one in readings.items()}
    return Recommendation(use, reason, len(queries.texts), measured)


def _ask_everyday(models: "Mapping[str, DualEncoder]", index: Index) -> list[HeldScene]:
    """What each model finds for the scenes that the index holds; base is among the models."""
    from paraclip.models.features import encode_texts

    def found(vectors: Float, depth: int) -> list[list[Hit]]:
        ranked = nearest_rows(vectors, index.vectors, min(depth, len(index.vectors)))
        return [
            [Hit(str(row), "", "", score) for row, score in zip(*of_query, strict=True)]
            for of_query in zip(*(one.tolist() for one in ranked), strict=True)
        ]

    pairs = everyday_pairs()
    texts = [text for pair in pairs for text in pair]
    vectors = {label: encode_texts(model, texts).numpy() for label, model in models.items()}
    together = vectors["base"][::2] + vectors["base"][1::2]
    together /= np.linalg.norm(together, axis=1, keepdims=True)
    unrelated = nearest_rows(
        encode_texts(models["base"], unrelated_texts()).numpy(), index.vectors, 1
    )[1]
    answers = {label: found(one, DEPTH) for label, one in vectors.items()}
    return held_scenes(pairs, found(together, 1), answers, cutoff_above(unrelated[:, 0]))


def _write_sheet(
    path: str, held: Sequence[HeldScene], label: str, files: Mapping[int, str], problems: Problems
) -> None:
    """Write what base and a model find for some of the scenes as a picture; `problems` lists those
    of the index that are grey on it."""
    shown = at_equal_steps(held, label, _SHOWN)
    columns = [
        [
            (
                f"{model}: {one.shared(model)} of {DEPTH} found with both wordings",
                dict(zip(one.wordings, one.found[model], strict=True)),
            )
            for one in shown
        ]
        for model in ("base", label)
    ]
    answers = (hits for groups in columns for _, found in groups for hits in found.values())
    pictures, known = {}, {where for where, _ in problems.listed}
    for row in sorted({hit.id for hits in answers for hit in hits}):
        if int(row) in files:
            try:
                picture = open_image(files[int(row)], _SIDE)
            except UserError as error:
                if error.where not in known:
                    problems.add(error.where, error.what)
            else:
                pictures[row] = ImageOps.fit(picture, (_SIDE, _SIDE))
    counts = [sum(sign * one.gained(label) > 0 for one in held) for sign in (1, -1)]
    heading = (
        f"Everyday scenes in two wordings: base and {label}",
        f"Base finds a close picture for {len(held)} of {len(everyday_pairs())} scenes. With"
        f" {label}, both wordings find more pictures in common for {counts[0]}, and fewer for"
        f" {counts[1]}.",
        f"Shown: {len(shown)} of these {len(held)}, at equal steps from the greatest gain to the"
        " greatest loss. Blue: found with both wordings.",
    )
    write_sheet(path, columns, pictures, heading, _SIDE)


def _compare_queries(
    base: "DualEncoder",
    tuned: "DualEncoder",
    index: Index,
    queries: Sequence[_WordedQuery],
    report: SwapReport,
    cutoff: float | None,
) -> SwapReport:
    """The report, including how the results of the queries and their scores change."""
    from paraclip.models.features import encode_texts

    texts = list(dict.fromkeys(t for query in queries for t in (query.text, *query.wordings)))
    place = {text: row for row, text in enumerate(texts)}
    vectors = [encode_texts(model, texts).numpy() for model in (base, tuned)]
    rows = np.array([place[query.text] for query in queries])
    found = [nearest_rows(one, index.vectors, report.k) for one in vectors]
    old, new = ((one[rows], best[rows]) for one, (_, best) in zip(vectors, found, strict=True))
    scores = _compare_scores(old, new, index.vectors, cutoff)
    before, after = (places for places, _ in found)
    shared = shared_results(before[rows], after[rows]) / report.k
    pairs = np.array(
        [(place[query.text], place[word]) for query in queries for word in query.wordings]
    ).reshape(-1, 2)
    consistency = None
    if len(pairs):
        first, second = (
            average_overlap(found[pairs[:, 0]], found[pairs[:, 1]]) for found in (before, after)
        )
        consistency = (float(first.mean()), float(second.mean()))

    def shown(found: Integers, query: int) -> list[str]:
        ranked = found[rows[query]].tolist()
        return [index.paths[row] if index.paths else str(row + 1) for row in ranked]

    changes = [
        _Change(queries[one].text, float(shared[one]), shown(before, one), shown(after, one))
        for one in np.argsort(shared, kind="stable")[:_LISTED].tolist()
    ]
    return replace(
        report,
        queries=len(queries),
        overlap=float(shared.mean()),
        wordings=len(pairs),
        consistency=consistency,
        changes=changes,
        scores=scores,
    )


def _compare_scores(
    before: tuple[Float, Float], after: tuple[Float, Float], pool: Float, cutoff: float | None
) -> ScoreShift:
    """Compare the similarities of queries with a pool [pictures, width] by two text encoders.

    `before` and `after` are unit vectors of the queries [queries, width] and the similarities of
    their first results [queries, k]; the cut-off is the user's for the base.
    """
    random = np.random.default_rng(0)
    chosen = np.sort(random.permutation(len(before[0]))[:_MOST_SCORED])
    (first, best), (second, new) = ([one[chosen] for one in both] for both in (before, after))
    count, shifts = len(chosen), new - best
    draws = random.multinomial(count, np.full(count, 1 / count), _RESAMPLES).astype(np.float32)
    resampled = draws @ shifts / count
    return ScoreShift(
        count,
        best.mean(axis=0).tolist(),
        new.mean(axis=0).tolist(),
        [
            interval(float(one.mean()), drawn)
            for one, drawn in zip(shifts.T, resampled.T, strict=True)
        ],
        None if cutoff is None else _move_cutoff(cutoff, first, second, pool, draws),
    )


def _move_cutoff(cutoff: float, before: Float, after: Float, pool: Float, draws: Float) -> Cutoff:
    """The cut-off that lets the same number of results through after as `cutoff` before."""
    passing, counts = np.zeros(len(before), np.float32), np.zeros((len(after), len(_EDGES)))
    for start in range(0, len(pool), _BLOCK):
        block = np.asarray(pool[start : start + _BLOCK], np.float32)
        passing += (before @ block.T >= cutoff).sum(axis=1)
        places = (
            ((after @ block.T + 1) * (len(_EDGES) // 2)).astype(np.int64).clip(0, len(_EDGES) - 1)
        )
        places += len(_EDGES) * np.arange(len(after))[:, None]
        counts += np.bincount(places.ravel(), minlength=counts.size).reshape(counts.shape)
    above = counts[:, ::-1].cumsum(axis=1).astype(np.float32)  # results at or above each edge
    if not 0 < passing.sum() < len(before) * len(pool):
        return Cutoff(cutoff, None, float(passing.mean()))

    def same_number(weights: Float) -> Float:
        wanted, reached = weights @ passing, weights @ above
        return np.array(
            [np.interp(*one, _EDGES[::-1]) for one in zip(wanted, reached, strict=True)]
        )

    value = same_number(np.ones((1, len(before)), np.float32))[0]
    return Cutoff(cutoff, interval(float(value), same_number(draws)), float(passing.mean()))
