"""Paraphrased retrieval: do two wordings of a query find the same pictures?

Reports AO@k and JS@k of the paper (arXiv 2402.15120) over a fixed pool, rank-biased overlap, and
the share of queries whose first result changes. The formulas are in `metrics.py`.

All of these reward two wordings that fail together, and any smoothing of the rankings. Where the
pairs name their picture and the pool contains it, recall of both wordings is reported as well, and
how often both find it; where they have a text of another meaning, so is the overlap that exceeds
that of the caption with this text.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paraclip.arrays import Integers
from paraclip.compute.exact_search import nearest_rows, top_k
from paraclip.data.captions import Problems
from paraclip.data.images import PictureNames
from paraclip.errors import UserError
from paraclip.evaluation import benchmark, metrics
from paraclip.evaluation.benchmarks.sugar_crepe import SUBSETS
from paraclip.evaluation.metrics import cutoff_above
from paraclip.evaluation.pairs import Pairs, read_pairs
from paraclip.evaluation.pictures import Pool, image_vectors, read_pool, refuse_missing
from paraclip.evaluation.statistics import Metric
from paraclip.starter import unrelated_texts

if TYPE_CHECKING:
    from paraclip.models.encoder import DualEncoder

_RBO_DEPTH = 50  # ranks used by rank-biased overlap: with p = 0.9 they carry 99.9 % of the weight
_FLICKR8K = 8_091  # pictures
_GET_PAIRS = (
    "Name a file with two text columns, such as triples.parquet, or get the JSON files of "
    "https://github.com/Sri-Harsha/scpp into sugar_crepe_pp/ of the data folder."
)
_GET_POOL = "Name a folder of pictures, or get Flickr8k's pictures into flickr8k/images/."


class ParaphrasedRetrieval:
    """Paraphrased retrieval on one set of pairs and one pool, for one or several numbers `k` of
    results.

    Raises UserError for a pool of fewer than k pictures, or if too many of them are missing.
    """

    def __init__(
        self,
        pairs: Pairs,
        pool: Pool,
        k: int | tuple[int, ...] = 10,
        how: benchmark.Arithmetic = benchmark.Arithmetic(),
        name: str = "paraphrased-retrieval",
    ) -> None:
        self.name, self.pairs, self.searched, self.how = name, pairs, pool, how
        self.cutoffs = checked_cutoffs((k,) if isinstance(k, int) else k, pool)
        refuse_missing(pool.references, how.max_broken)
        self.pictures = pool.references
        # Pool position of each pair's picture; -1 if it is not known.
        self.own = np.array(_find_answers(pairs, pool), np.int64)
        self.pool = f"{len(pairs):,} pairs of {pairs.name}, over {pool.describe()}"
        self.data: dict[str, Any] = {
            "pairs": pairs.name, "pairs_hash": pairs.hash, "pairs_skipped": pairs.skipped,
            "k": list(self.cutoffs), **pool.facts(),
        }  # fmt: skip

    def score(self, model: "DualEncoder", cache: Path | None) -> benchmark.Scores:
        """Compute AO@k, JS@k, RBO and the share of first results that change.

        `arrays` holds the first `k` results of both rankings [pairs, k], for the largest `k`.
        """
        if self.searched.vectors is None:
            pool, places, notes = image_vectors(model, self.pictures, cache, self.how)
        else:
            pool, places = self.searched.vectors, np.arange(len(self.searched))
            notes = [f"it is not known which model made the vectors of {self.searched.name}"]
        longest = self.cutoffs[-1]
        depth = max(longest, min(_RBO_DEPTH, len(pool)))
        wordings = [*self.pairs.captions, *self.pairs.paraphrases, *self.pairs.negatives]
        texts = benchmark.text_vectors(model, wordings, self.how, "wordings")
        best = top_k(texts, pool, depth, label="search")  # rows of `pool` [texts, depth]
        ranked = places[best]  # positions in the whole pool
        first, second, *negative = ranked.reshape(-1, len(self.pairs), depth)  # [pairs, depth] each
        if known := int((self.own >= 0).sum()):
            notes = [*notes, f"{known:,} of {len(self.pairs):,} pairs name a picture of the pool"]
        found = self._agreement(first, second, *negative)
        found += self._correctness(first, second, places)
        shown = first[:, :longest], second[:, :longest]
        arrays = dict(zip(("caption_ranking", "paraphrase_ranking"), shown, strict=True))
        if not self.pictures:
            return benchmark.Scores(found, arrays, notes)
        pairs = list(zip(self.pairs.captions, self.pairs.paraphrases, strict=True))
        drawn = benchmark.Shown(pairs, [""] * len(pairs), shown, self.pictures)
        if (self.own >= 0).all():
            return benchmark.Scores(found, arrays, notes, replace(drawn, answers=self.own.tolist()))
        # Of captions, then of paraphrases, with their first results; negatives follow.
        similarities = (texts * pool[best[:, 0]]).sum(axis=1)[: 2 * len(pairs)]
        unrelated = benchmark.text_vectors(model, unrelated_texts(), self.how, "unrelated texts")
        cutoff = cutoff_above(nearest_rows(unrelated, pool, 1)[1][:, 0])
        close = (similarities.reshape(2, -1) > cutoff).all(axis=0)
        return benchmark.Scores(found, arrays, notes, replace(drawn, close=close.tolist()))

    def _agreement(
        self, first: Integers, second: Integers, negative: Integers | None = None
    ) -> list[Metric]:
        """Return overlaps of the rankings [pairs, depth] of caption, paraphrase and negative."""
        items = {}
        for k in self.cutoffs:
            items[f"AO@{k}"] = metrics.average_overlap(first[:, :k], second[:, :k])
            items[f"JS@{k}"] = metrics.jaccard(first[:, :k], second[:, :k])
        headlines = set(items)
        items["RBO (p = 0.9)"] = metrics.rank_biased_overlap(first, second)
        items["first result changes"] = (first[:, 0] != second[:, 0]).astype(np.float64)
        if negative is not None:
            for k in self.cutoffs:
                items[f"AO@{k} negative"] = metrics.average_overlap(first[:, :k], negative[:, :k])
                items[f"AO@{k} margin"] = items[f"AO@{k}"] - items[f"AO@{k} negative"]
        clusters = self.pairs.clusters  # the pairs of one picture are resampled together
        return [
            Metric(name, values, clusters=clusters, headline=name in headlines)
            for name, values in items.items()
        ]

    def _correctness(self, first: Integers, second: Integers, places: Integers) -> list[Metric]:
        """Return how often each wording finds the picture of its pair, where it is known."""
        known = np.flatnonzero(np.isin(self.own, places))  # neither -1 nor a broken picture
        if not len(known):
            return []
        own, depth = self.own[known, None], first.shape[1]
        caption, rewording = (
            metrics.first_relevant(ranked[known] == own) for ranked in (first, second)
        )
        items = {}
        for k in self.cutoffs:
            right = [metrics.recall(ranks, k) for ranks in (caption, rewording)]
            items[f"R@{k} caption"], items[f"R@{k} rewording"] = right
            items[f"R@{k} both ways"] = right[0] * right[1]
        items[f"MRR@{depth} rewording"] = metrics.reciprocal_rank(rewording, depth)
        clusters = benchmark.numbered(own.ravel())
        return [Metric(name, x, clusters=clusters, headline=False) for name, x in items.items()]


def checked_cutoffs(cutoffs: tuple[int, ...], pool: Pool) -> tuple[int, ...]:
    """Return the unique values of k in ascending order."""
    for k in cutoffs or (0,):  # none is refused like 0
        if k < 1 or len(pool) < k:
            what = f"k = {k} does not fit a pool of {len(pool):,} pictures"
            raise UserError(pool.name, what, "Give a larger pool or another --k.")
    return tuple(sorted(set(cutoffs)))


def _find_answers(pairs: Pairs, pool: Pool) -> list[int]:
    """Return the pool position of each pair's picture; -1 where the pool has none of its name."""
    names = PictureNames(pool.references, "")
    position = {path: number for number, path in enumerate(pool.references)}
    found: dict[str, int] = {}
    for name in set(pairs.pictures):
        try:
            found[name] = position.get(names.find(name) or "", -1)
        except UserError:  # the name fits several pictures
            found[name] = -1
    return [found[name] for name in pairs.pictures] or [-1] * len(pairs)


def load_paraphrased(
    data: Path | None, how: benchmark.Arithmetic, pairs: str | None, columns: tuple[str, ...],
    pool: str | None, images: str | None, k: tuple[int, ...],
) -> ParaphrasedRetrieval:  # fmt: skip
    """Read pairs and a pool; the report says how the default ones differ from the published."""
    if len(columns) not in (0, 2):
        what = f"{len(columns)} columns are named"
        raise UserError("--columns", what, "Name the columns of the first and second wording.")
    folder = benchmark.find_source(data, "sugar_crepe_pp", _GET_PAIRS, "--pairs", pairs)
    pictures = benchmark.find_source(data, "flickr8k/images", _GET_POOL, "--pool", pool)
    first, second = columns or (None, None)
    read = read_pairs(folder, first, second, Problems(how.max_broken))
    searched = read_pool(pictures, images)
    if pool is None and len(searched) != _FLICKR8K:
        searched = replace(searched, name=f"{searched.name}, not the {_FLICKR8K:,} of Flickr8k")
    lacking = [name for name in SUBSETS if not (folder / f"{name}.json").exists()]
    if pairs is None and lacking:
        read = replace(read, name=f"{read.name}, without {', '.join(lacking)}")
    return ParaphrasedRetrieval(read, searched, k, how)
