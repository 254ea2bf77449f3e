"""`swap_check`: does the index come from the base, and what does the tuned text encoder change?"""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from paraclip.arrays import Float, Integers
from paraclip.data.images import picture_files
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.evaluation.metrics import average_overlap, shared_results
from paraclip.exact_search import nearest, top_k
from paraclip.files import read_bounded, text_lines
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import encode_images, encode_texts, image_space
from paraclip.models.loading import find_device, loaded_model
from paraclip.starter import QUERIES
from paraclip.swap_checking.config import SwapCheckConfig
from paraclip.swap_checking.indexes import Index, IndexAddress, read_index
from paraclip.swap_checking.scores import Scores, compare_scores

_SAME = 0.9
"""Minimum median cosine, and minimum share of pictures that find their own row first, for vectors
from the base's image tower. Another tower gives about 0 for both. Previews, another decoder or 16
bits reduce the cosine by a few hundredths."""
EXACT = 0.99
_LISTED = 10
_MOST_QUERIES = 100_000
_EXAMPLE = "Write one query per line; other wordings may follow after tabs."


@dataclass(frozen=True)
class _WordedQuery:
    """A query of the user."""

    text: str
    wordings: tuple[str, ...] = ()  # others with the same meaning


@dataclass(frozen=True)
class Origin:
    """How well vectors match an image tower."""

    pictures: int  # number of pictures that were embedded again
    median: float  # median cosine of stored and new vectors
    lowest: float  # lowest of these cosines
    first: float  # share of pictures whose own row, or a copy of it, is nearest to the new vector

    @property
    def same(self) -> bool:
        """Whether the vectors come from this image tower."""
        return self.median >= _SAME and self.first >= _SAME


@dataclass(frozen=True)
class _Change:
    """How the results of one query change."""

    query: str
    overlap: float  # share of its first results that base and tuned have in common
    before: list[str]  # first results with the base, as paths or row numbers, best first
    after: list[str]  # the same with the tuned model


@dataclass(frozen=True)
class SwapReport:
    """The result of `swap_check`."""

    store: str  # kind of the index
    rows: int  # number of vectors
    width: int  # of the vectors
    k: int  # number of results that were compared
    origin: Origin | None  # of the vectors; None if no picture could be opened
    queries: int = 0  # number of queries
    overlap: float | None = None  # mean share of results in common, 0 to 1; None without queries
    wordings: int = 0  # number of pairs of a query and another wording
    # AO@k of these pairs with base and tuned, 0 to 1; None without wordings
    consistency: tuple[float, float] | None = None
    changes: list[_Change] = field(default_factory=list)  # by overlap, the least first
    scores: Scores | None = None  # of the results; None without queries and cut-off


def read_queries(path: str) -> list[_WordedQuery]:
    """Read the queries of a text file; empty lines are skipped.

    Raises:
        UserError: the file is missing, cannot be read, is not UTF-8, is empty, or has more than
            100,000 lines.
    """
    try:
        lines = text_lines(read_bounded(path).decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise UserError(path, "there is no such file", "Check the path.") from error
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", _EXAMPLE) from error
    except UnicodeDecodeError as error:
        raise UserError(path, "is not UTF-8", _EXAMPLE) from error
    if len(lines) > _MOST_QUERIES:
        raise UserError(path, f"has more than {_MOST_QUERIES:,} lines", "Take a sample of them.")
    parts = [[part.strip() for part in line.split("\t")] for line in lines if line.strip()]
    queries = [_WordedQuery(first, tuple(filter(None, rest))) for first, *rest in parts if first]
    if not queries:
        raise UserError(path, "holds no queries", _EXAMPLE)
    return queries


def swap_check(
    base: DualEncoder,
    tuned: DualEncoder,
    index: Index,
    queries: Sequence[_WordedQuery] = (),
    *,
    pictures: str | None = None,
    sample: int = 16,
    k: int = 10,
    cutoff: float | None = None,
) -> SwapReport:
    """Compare an index with its base, and the results of queries before and after a swap.

    See `SwapCheckConfig` for the arguments. Without queries, the cut-off is moved for the held-out
    queries of the starter set.

    Raises:
        UserError: base and tuned have different image towers, the index has vectors of another
            width, or there is nothing to check.
    """
    if image_space(base) != image_space(tuned):
        what = "its image tower or preprocessing is not that of the base"
        hint = "The index would be void: tune only the text encoder."
        raise UserError(tuned.architecture.name, what, hint)
    width = base.architecture.embed_dim
    if index.vectors.shape[1] != width:
        what = f"its vectors have {index.vectors.shape[1]} numbers, and those of the base {width}"
        raise UserError("--index", what, "Name the model that made the index.")
    origin = find_origin(base, index.vectors, find_pictures(index.paths or [], pictures), sample)
    if origin is None and not queries and cutoff is None:
        hint = "Give --pictures FOLDER (or --paths FILE), or --queries FILE."
        raise UserError("--index", "none of its pictures can be opened", hint)
    k = min(k, len(index.vectors))
    report = SwapReport(index.kind, len(index.vectors), width, k, origin)
    if queries:
        return _compare_queries(base, tuned, index, queries, report, cutoff)
    if cutoff is not None:
        lines = QUERIES.read_text(encoding="utf-8").splitlines()
        starter = [_WordedQuery(json.loads(line)["query"]) for line in lines]
        scores = _compare_queries(base, tuned, index, starter, report, cutoff).scores
        return replace(report, scores=scores)
    return report


def check_configured(
    base: DualEncoder | Path | str, tuned: DualEncoder | Path | str, config: SwapCheckConfig
) -> SwapReport:
    """See `swap_check`; the options name the index and the queries, which are read before models
    given by name are loaded."""
    find_device(config.device)
    queries = read_queries(config.queries) if config.queries else ()
    find_pictures((), config.pictures)
    place = IndexAddress(config.index, config.paths, config.table, config.column)
    index = read_index(place, config.store)
    ours, theirs = (loaded_model(one, config.device) for one in (base, tuned))
    return swap_check(
        ours, theirs, index, queries, pictures=config.pictures,
        sample=config.sample, k=config.k, cutoff=config.cutoff,
    )  # fmt: skip


def find_origin(
    base: DualEncoder, vectors: Float, pictures: Mapping[int, str], sample: int = 16
) -> Origin | None:
    """Embed a sample of an index's pictures again; None if none can be opened.

    Args:
        base: the model that should have made the index.
        vectors: unit vectors of the index [rows, width].
        pictures: files by row, as found by `find_pictures`.
        sample: number of pictures to embed.
    """
    if not pictures:
        return None
    chosen = np.random.default_rng(0).permutation(list(pictures))[:sample]
    files = [pictures[row] for row in chosen.tolist()]
    again = encode_images(base, files, problems=Problems(max_share=1.0)).numpy()
    opened = np.isfinite(again).all(axis=1)
    if not opened.any():
        return None
    again, stored = again[opened], vectors[chosen[opened]]
    cosines = (again * stored).sum(axis=1)
    nearest = vectors[top_k(again, vectors, 1)[:, 0]]
    own = (nearest * stored).sum(axis=1) >= EXACT  # copies count as well
    return Origin(len(stored), float(np.median(cosines)), float(cosines.min()), float(own.mean()))


def find_pictures(paths: Sequence[str], folder: str | None = None) -> dict[int, str]:
    """Path of each row's picture that exists: the given one, or the file of its name in the folder,
    unless several rows or files have this name."""
    if folder is None:
        return {row: path for row, path in enumerate(paths) if os.path.isfile(path)}
    if not os.path.isdir(folder):
        raise UserError(folder, "there is no such folder", "Name the folder of the pictures.")
    files = picture_files(Path(folder))
    in_folder = Counter(file.name for file in files)
    in_index = Counter(os.path.basename(path) for path in set(paths))
    certain = {
        file.name: str(file) for file in files if in_folder[file.name] == in_index[file.name] == 1
    }
    names = map(os.path.basename, paths)
    return {row: certain[name] for row, name in enumerate(names) if name in certain}


def _compare_queries(
    base: DualEncoder,
    tuned: DualEncoder,
    index: Index,
    queries: Sequence[_WordedQuery],
    report: SwapReport,
    cutoff: float | None,
) -> SwapReport:
    """The report, including how the results of the queries and their scores change."""
    texts = list(dict.fromkeys(t for query in queries for t in (query.text, *query.wordings)))
    place = {text: row for row, text in enumerate(texts)}
    vectors = [encode_texts(model, texts).numpy() for model in (base, tuned)]
    rows = np.array([place[query.text] for query in queries])
    found = [nearest(one, index.vectors, report.k) for one in vectors]
    old, new = ((one[rows], best[rows]) for one, (_, best) in zip(vectors, found, strict=True))
    scores = compare_scores(old, new, index.vectors, cutoff)
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
