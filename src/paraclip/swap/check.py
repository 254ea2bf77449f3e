"""`swap_check`: does the index come from the base, and what does the tuned text encoder change?"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paraclip.data.images import SUFFIXES
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.evaluation.scoring.metrics import average_overlap, shared_results
from paraclip.evaluation.scoring.ranking import top_k
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import encode_images, encode_texts
from paraclip.models.image_space import image_space
from paraclip.swap.config import SwapCheckConfig
from paraclip.swap.queries import Query, read_queries
from paraclip.swap.stores.index import Index
from paraclip.swap.stores.table import read_index

SAME = 0.9
"""Minimum median cosine, and minimum share of pictures that find their own row first, for vectors
from the base's image tower. Another tower gives about 0 for both. Previews, another decoder or 16
bits reduce the cosine by a few hundredths."""
EXACT = 0.99
LISTED = 10


@dataclass(frozen=True)
class Origin:
    """How well vectors match an image tower.

    Args:
        pictures: number of pictures that were embedded again.
        median: median cosine of stored and new vectors.
        lowest: lowest of these cosines.
        first: share of pictures whose own row, or a copy of it, is the nearest to their new vector.
    """

    pictures: int
    median: float
    lowest: float
    first: float

    @property
    def same(self) -> bool:
        """Whether the vectors come from this image tower."""
        return self.median >= SAME and self.first >= SAME


@dataclass(frozen=True)
class Change:
    """How the results of one query change.

    Args:
        query: its text.
        overlap: share of its first results that base and tuned have in common.
        before: first results with the base, as paths or row numbers, best first.
        after: the same with the tuned model.
    """

    query: str
    overlap: float
    before: list[str]
    after: list[str]


@dataclass(frozen=True)
class SwapReport:
    """The result of `swap_check`.

    Args:
        store: kind of the index.
        rows: number of vectors.
        width: width of the vectors.
        k: number of results that were compared.
        origin: origin of the vectors; None if no picture could be opened.
        queries: number of queries.
        overlap: mean share of results in common, 0 to 1; None without queries.
        wordings: number of pairs of a query and another wording.
        consistency: AO@k of these pairs with base and tuned, 0 to 1; None without wordings.
        changes: the queries with the least overlap, ascending.
    """

    store: str
    rows: int
    width: int
    k: int
    origin: Origin | None
    queries: int = 0
    overlap: float | None = None
    wordings: int = 0
    consistency: tuple[float, float] | None = None
    changes: list[Change] = field(default_factory=list)


def swap_check(base: DualEncoder, tuned: DualEncoder, config: SwapCheckConfig) -> SwapReport:
    """Compare an index with its base, and the results of queries before and after a swap.

    Args:
        base: the model that made the index.
        tuned: the model that would embed the queries.
        config: names the index, the queries and the pictures.

    Raises:
        UserError: base and tuned have different image towers, the index is broken or has vectors
            of another width, or there is nothing to check.
    """
    if image_space(base) != image_space(tuned):
        what = "its image tower or preprocessing is not that of the base"
        raise UserError(config.model, what, "The index would be void: tune only the text encoder.")
    queries = read_queries(config.queries) if config.queries else []
    index = read_index(config)
    width = base.architecture.embed_dim
    if index.vectors.shape[1] != width:
        what = f"its vectors have {index.vectors.shape[1]} numbers, and those of the base {width}"
        raise UserError("--index", what, "Name the model that made the index.")
    origin = find_origin(base, index, config)
    if origin is None and not queries:
        hint = "Give --pictures FOLDER (or --paths FILE), or --queries FILE."
        raise UserError("--index", "none of its pictures can be opened", hint)
    k = min(config.k, len(index.vectors))
    report = SwapReport(index.kind, len(index.vectors), width, k, origin)
    return compare_queries(base, tuned, index, queries, report) if queries else report


def find_origin(base: DualEncoder, index: Index, config: SwapCheckConfig) -> Origin | None:
    """Embed a sample of the index's pictures again; None if none can be opened."""
    reachable = reachable_pictures(index, config)
    if not reachable:
        return None
    rows = np.array(sorted(reachable))
    chosen = np.random.default_rng(config.seed).permutation(rows)[: config.sample]
    problems = Problems(max_share=1.0)
    again = encode_images(
        base, [reachable[row] for row in chosen.tolist()], problems=problems
    ).numpy()
    opened = np.isfinite(again).all(axis=1)
    if not opened.any():
        return None
    again, stored = again[opened], index.vectors[chosen[opened]]
    cosines = (again * stored).sum(axis=1)
    nearest = index.vectors[top_k(again, index.vectors, 1)[:, 0]]
    own = (nearest * stored).sum(axis=1) >= EXACT  # copies count as well
    return Origin(len(stored), float(np.median(cosines)), float(cosines.min()), float(own.mean()))


def reachable_pictures(index: Index, config: SwapCheckConfig) -> dict[int, str]:
    """Path of the picture by row, for rows whose picture exists.

    In `--pictures`, a picture is found by its file name, unless several rows or files have it.
    """
    paths = index.paths or []
    if config.pictures is None:
        return {row: path for row, path in enumerate(paths) if os.path.isfile(path)}
    by_name = pictures_by_name(config.pictures)
    of_index = Counter(os.path.basename(path) for path in set(paths))
    names = [os.path.basename(path) for path in paths]
    return {
        row: by_name[name]
        for row, name in enumerate(names)
        if name in by_name and of_index[name] == 1
    }


def pictures_by_name(folder: str) -> dict[str, str]:
    """Path of each picture below a folder by its file name, without names that occur twice.

    Raises:
        UserError: there is no such folder.
    """
    if not os.path.isdir(folder):
        raise UserError(folder, "there is no such folder", "Name the folder of the pictures.")
    files = [file for file in Path(folder).rglob("*") if file.suffix.lower() in SUFFIXES]
    counts = Counter(file.name for file in files)
    return {file.name: str(file) for file in files if counts[file.name] == 1}


def compare_queries(
    base: DualEncoder,
    tuned: DualEncoder,
    index: Index,
    queries: Sequence[Query],
    report: SwapReport,
) -> SwapReport:
    """The report, including how the results of the queries change."""
    texts = list(dict.fromkeys(t for query in queries for t in (query.text, *query.wordings)))
    place = {text: row for row, text in enumerate(texts)}
    before, after = (ranked(model, texts, index, report.k) for model in (base, tuned))
    rows = np.array([place[query.text] for query in queries])
    shared = shared_results(before[rows], after[rows]) / report.k
    pairs = np.array(
        [(place[query.text], place[word]) for query in queries for word in query.wordings]
    ).reshape(-1, 2)
    consistency = None
    if len(pairs):
        scores = [
            average_overlap(found[pairs[:, 0]], found[pairs[:, 1]]) for found in (before, after)
        ]
        consistency = (float(scores[0].mean()), float(scores[1].mean()))
    most = np.argsort(shared, kind="stable")[:LISTED]
    changes = [
        Change(
            queries[row].text,
            float(shared[row]),
            shown(before[rows[row]], index),
            shown(after[rows[row]], index),
        )
        for row in most.tolist()
    ]
    return SwapReport(
        report.store, report.rows, report.width, report.k, report.origin, len(queries),
        float(shared.mean()), len(pairs), consistency, changes,
    )  # fmt: skip


def ranked(model: DualEncoder, texts: Sequence[str], index: Index, k: int) -> NDArray[np.int64]:
    """Rows of the index [texts, k], best first."""
    return top_k(encode_texts(model, texts).numpy(), index.vectors, k)


def shown(rows: NDArray[np.int64], index: Index) -> list[str]:
    """Paths of rows, or their numbers, counted from 1."""
    return [index.paths[row] if index.paths else str(row + 1) for row in rows.tolist()]
