"""Paraphrased retrieval: do two wordings of a query find the same pictures?

AO@k and JS@k of the paper (arXiv 2402.15120), over one fixed pool; formulas in `metrics.py`.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paraclip.errors import UserError
from paraclip.evaluation import metrics
from paraclip.evaluation.benchmark import Metric, Scores
from paraclip.evaluation.pairs import Pairs
from paraclip.evaluation.pool import Pool
from paraclip.evaluation.ranking import top_k
from paraclip.evaluation.vectors import Arithmetic, image_vectors, text_vectors
from paraclip.models.encoder import DualEncoder

Integer = NDArray[np.int64]


class ParaphrasedRetrieval:
    """The benchmark on one set of pairs and one pool.

    Args:
        pairs: captions and their other wordings.
        pool: pictures to search.
        k: results looked at.
        how: arithmetic of the vectors.

    Raises:
        UserError: the pool holds fewer than k pictures.
    """

    name = "paraphrased-retrieval"

    def __init__(
        self, pairs: Pairs, pool: Pool, k: int = 10, how: Arithmetic | None = None
    ) -> None:
        if k < 1 or len(pool) < k:
            what = f"k = {k} does not fit a pool of {len(pool):,} pictures"
            raise UserError(pool.name, what, "Give a larger pool or another --k.")
        self.pairs, self.searched, self.k, self.how = pairs, pool, k, how or Arithmetic()
        self.pool = f"{len(pairs):,} pairs of {pairs.name}, over {pool.describe()}"
        self.data: dict[str, Any] = {
            "pairs": pairs.name, "pairs_hash": pairs.hash, "pairs_skipped": pairs.skipped,
            "pool": pool.name, "pool_size": len(pool), "pool_hash": pool.hash, "k": k,
        }  # fmt: skip

    def score(self, model: DualEncoder, cache: Path | None) -> Scores:
        """AO@k and JS@k; the rankings [pairs, k] of both wordings stand in `arrays`."""
        pool, places, notes = self.pool_vectors(model, cache)
        first = places[top_k(self.texts(model, self.pairs.captions), pool, self.k)]
        second = places[top_k(self.texts(model, self.pairs.paraphrases), pool, self.k)]
        found = [
            Metric(f"AO@{self.k}", metrics.average_overlap(first, second)),
            Metric(f"JS@{self.k}", metrics.jaccard(first, second)),
        ]
        rankings = {"caption_ranking": first, "paraphrase_ranking": second}
        return Scores(found, rankings, notes)

    def pool_vectors(
        self, model: DualEncoder, cache: Path | None
    ) -> tuple[NDArray[np.floating], Integer, list[str]]:
        """Vectors of the pool, their pool positions, and notes on pictures left out."""
        if self.searched.vectors is None:
            return image_vectors(model, self.searched.references, cache, self.how)
        return self.searched.vectors, np.arange(len(self.searched)), []

    def texts(self, model: DualEncoder, texts: tuple[str, ...]) -> NDArray[np.floating]:
        """Unit vectors of one wording of each pair."""
        return text_vectors(model, texts, self.how, "wordings")
