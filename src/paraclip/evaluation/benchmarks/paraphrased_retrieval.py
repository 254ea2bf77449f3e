"""Paraphrased retrieval: do two wordings of a query find the same pictures?

Reports AO@k and JS@k of the paper (arXiv 2402.15120) over a fixed pool, rank-biased overlap, and
the share of queries whose first result changes. The formulas are in `metrics.py`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paraclip.arrays import Integers
from paraclip.data.images import pictures_hash
from paraclip.errors import UserError
from paraclip.evaluation import metrics
from paraclip.evaluation.benchmark import Role, Scores, Shown
from paraclip.evaluation.pairs import Pairs
from paraclip.evaluation.pictures import Pool, refuse_missing
from paraclip.evaluation.statistics import Metric
from paraclip.evaluation.vectors import Arithmetic, image_vectors, text_vectors
from paraclip.exact_search import top_k
from paraclip.models.encoder import DualEncoder

RBO_DEPTH = 50  # ranks used by rank-biased overlap: with p = 0.9 they carry 99.9 % of the weight


class ParaphrasedRetrieval:
    """Paraphrased retrieval on one set of pairs and one pool.

    Args:
        pairs: captions and their paraphrases.
        pool: pictures to search.
        k: number of results to compare; one number or several.
        how: how vectors are computed.
        answers: pool position of each pair's correct picture, to mark it in examples.
        name: name of the benchmark.

    Raises:
        UserError: if the pool has fewer than k pictures, or too many of them are missing.
    """

    role: Role = "robust"

    def __init__(
        self,
        pairs: Pairs,
        pool: Pool,
        k: int | tuple[int, ...] = 10,
        how: Arithmetic | None = None,
        answers: Sequence[int] = (),
        name: str = "paraphrased-retrieval",
    ) -> None:
        self.pairs, self.searched, self.how = pairs, pool, how or Arithmetic()
        self.answers, self.name = answers, name
        self.cutoffs = checked_cutoffs((k,) if isinstance(k, int) else k, pool)
        self.k = max(self.cutoffs)
        refuse_missing(pool.references, self.how.max_broken)
        self.pictures = pool.references
        self.pool = f"{len(pairs):,} pairs of {pairs.name}, over {pool.describe()}"
        self.data: dict[str, Any] = {
            "pairs": pairs.name, "pairs_hash": pairs.hash, "pairs_skipped": pairs.skipped,
            "pool": pool.name, "pool_size": len(pool), "pool_hash": pool.hash,
            "pictures_hash": pictures_hash(self.pictures), "k": list(self.cutoffs),
        }  # fmt: skip

    def score(self, model: DualEncoder, cache: Path | None) -> Scores:
        """Compute AO@k, JS@k, RBO and the share of first results that change.

        `arrays` holds the first `k` results of both rankings [pairs, k], for the largest `k`.
        """
        pool, places, notes = self.pool_vectors(model, cache)
        depth = max(self.k, min(RBO_DEPTH, len(pool)))
        texts = text_vectors(
            model, [*self.pairs.captions, *self.pairs.paraphrases], self.how, "wordings"
        )
        ranked = places[top_k(texts, pool, depth, label="search")]
        first, second = ranked[: len(self.pairs)], ranked[len(self.pairs) :]
        rankings = {
            "caption_ranking": first[:, : self.k], "paraphrase_ranking": second[:, : self.k]
        }  # fmt: skip
        return Scores(self.found(first, second), rankings, notes)

    def found(self, first: Integers, second: Integers) -> list[Metric]:
        """Return the metrics of two rankings [pairs, depth].

        The pairs of one picture are resampled together.
        """
        items = {}
        for k in self.cutoffs:
            items[f"AO@{k}"] = metrics.average_overlap(first[:, :k], second[:, :k])
            items[f"JS@{k}"] = metrics.jaccard(first[:, :k], second[:, :k])
        headlines = set(items)
        items["RBO (p = 0.9)"] = metrics.rank_biased_overlap(first, second)
        items["first result changes"] = metrics.first_changes(first, second)
        clusters = self.pairs.clusters
        return [
            Metric(name, values, clusters=clusters, headline=name in headlines)
            for name, values in items.items()
        ]

    def pairs_shown(self, scores: Scores) -> Shown:
        """Return every pair, for the example browser."""
        texts = list(zip(self.pairs.captions, self.pairs.paraphrases, strict=True))
        arrays = ("caption_ranking", "paraphrase_ranking")
        return Shown(texts, [""] * len(texts), arrays, self.searched.references, self.answers)

    def pool_vectors(
        self, model: DualEncoder, cache: Path | None
    ) -> tuple[NDArray[np.floating], Integers, list[str]]:
        """Return the vectors of the pool, their pool positions, and notes on skipped pictures."""
        if self.searched.vectors is None:
            return image_vectors(model, self.searched.references, cache, self.how)
        note = f"it is not known which model made the vectors of {self.searched.name}"
        return self.searched.vectors, np.arange(len(self.searched)), [note]


def checked_cutoffs(cutoffs: tuple[int, ...], pool: Pool) -> tuple[int, ...]:
    """Return the unique values of k in ascending order."""
    for k in cutoffs or (0,):
        if k < 1 or len(pool) < k:
            what = f"k = {k} does not fit a pool of {len(pool):,} pictures"
            raise UserError(pool.name, what, "Give a larger pool or another --k.")
    return tuple(sorted(set(cutoffs)))
