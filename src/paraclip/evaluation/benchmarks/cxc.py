"""Crisscrossed Captions, text to text: human similarity of two captions, and what is retrieved.

Parekh et al. 2021 (https://github.com/google-research-datasets/Crisscrossed-Captions, free for any
purpose; the captions are COCO's, CC BY 4.0). The captions of a pair describe one picture
(`c2c_cocaption`: two people, one scene) or two similar pictures (`c2c_isim`). Each pair has a
score, the mean of five people's ratings from 0 to 5. Three properties are measured:
CxC-STS       Do cosines agree with the scores? Rank correlation over samples of the captions.
pairs         Do two people's wordings of one scene retrieve the same pictures? AO@k and JS@k of the
              pairs of one picture with a score of at least 4, and of at least 4.5.
graded        Do more similar captions retrieve more similar results? Rank correlation of AO@k with
consistency   the score. A model that returns the same pictures for every query fails it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paraclip.data.captions import BrokenRow, clean_text, require_columns
from paraclip.data.problems import Problems
from paraclip.data.rows import Values, good_rows
from paraclip.errors import UserError
from paraclip.evaluation import metrics
from paraclip.evaluation.benchmark import (
    Arithmetic,
    Scores,
    image_vectors,
    left_out,
    numbered,
    text_vectors,
)
from paraclip.evaluation.benchmarks.paraphrased_retrieval import checked_cutoffs
from paraclip.evaluation.pictures import Pool, read_pool, refuse_missing
from paraclip.evaluation.statistics import Metric
from paraclip.exact_search import top_k
from paraclip.files import file_hash
from paraclip.models.encoder import DualEncoder

_K = 10
_THRESHOLDS = (4.0, 4.5)
_SAME_PICTURE = "c2c_cocaption"
_COLUMNS = ("image_1", "image_2", "caption", "caption2", "score", "sampling")
_MOST = 5.0
NEEDS = ("cxc/sts.csv", "flickr8k/images")
GET = (
    "Join data/sts_test.csv of https://github.com/google-research-datasets/Crisscrossed-Captions "
    "with COCO's captions into cxc/sts.csv (image_1, image_2, caption, caption2, score, sampling), "
    "and get Flickr8k's pictures into flickr8k/images/ of the data folder."
)


@dataclass(frozen=True)
class _Judged:
    """One pair of captions."""

    images: tuple[str, str]  # names of their pictures
    texts: tuple[str, str]  # both captions; the first is the query
    score: float  # mean of people's similarity, 0 to 5
    same_picture: bool  # whether both describe the same picture


def _read_judged(file: Path, problems: Problems) -> list[_Judged]:
    """Read the pairs, at least three."""

    def judge(values: Values, where: str) -> _Judged:
        require_columns(values, _COLUMNS, where, GET)
        try:
            score = float(values["score"])
        except (TypeError, ValueError):
            score = math.nan
        if not 0 <= score <= _MOST:
            raise BrokenRow(f"the score is not from 0 to 5: {str(values['score'])[:20]!r}")
        texts = clean_text(values["caption"], "caption"), clean_text(values["caption2"], "caption2")
        pictures = str(values["image_1"]), str(values["image_2"])
        return _Judged(pictures, texts, score, values["sampling"] == _SAME_PICTURE)

    judged, _ = good_rows(file, judge, problems, GET)
    if len(judged) < 3:
        raise UserError(file, "contains fewer than three pairs", GET)
    return judged


class _CrissCrossed:
    """CxC-STS, consistency on people's pairs, and graded consistency.

    `hash` is that of the file of pairs; `notes` are on skipped pairs.
    """

    name = "cxc"

    def __init__(
        self, judged: list[_Judged], pool: Pool, hash: str, how: Arithmetic, notes: Sequence[str]
    ) -> None:
        self.judged, self.searched, self.how, self.notes = judged, pool, how, notes
        checked_cutoffs((_K,), pool)
        refuse_missing(pool.references, self.how.max_broken)
        self.pictures = pool.references
        self.score_of_pair = np.array([pair.score for pair in judged])
        self.same = np.array([pair.same_picture for pair in judged])
        self.clusters = numbered([pair.images[0] for pair in judged])
        self.queries = numbered([pair.texts[0] for pair in judged])
        counts = {f"{least:g}": int(self.at_least(least).sum()) for least in _THRESHOLDS}
        sizes = ", ".join(f"{count:,} of one picture at {x} or more" for x, count in counts.items())
        self.pool = f"{len(judged):,} pairs ({sizes}), over {pool.describe()}"
        self.data: dict[str, Any] = {
            "pairs_hash": hash, "pairs": len(judged), "pairs_at_least": counts, "k": _K,
            **pool.facts(),
        }  # fmt: skip

    def at_least(self, least: float) -> NDArray[np.bool_]:
        """Return which pairs [pairs] are of one picture and have at least this score."""
        return self.same & (self.score_of_pair >= least)

    def score(self, model: DualEncoder, cache: Path | None) -> Scores:
        """Encode every caption once, search the pool and compute the metrics."""
        images, places, notes = image_vectors(model, self.searched.references, cache, self.how)
        known: dict[str, int] = {}
        sides = np.array([[known.setdefault(text, len(known)) for text in pair.texts]
                          for pair in self.judged])  # fmt: skip
        vectors = text_vectors(model, list(known), self.how, "CxC")
        ranked = places[top_k(vectors, images, _K, label="search")]
        first, second = sides.T
        overlap = metrics.average_overlap(ranked[first], ranked[second])
        shared = metrics.jaccard(ranked[first], ranked[second])
        cosines = metrics.cosine(vectors[first], vectors[second])
        judged = np.stack([cosines, self.score_of_pair, self.queries], axis=1)
        graded = np.stack([overlap, self.score_of_pair], axis=1)
        results = [
            Metric("CxC-STS", judged, "sampled_spearman", clusters=self.queries),
            Metric("graded consistency", graded, "spearman", clusters=self.clusters),
        ]
        for least in _THRESHOLDS:
            own = self.at_least(least)
            for name, items in (("AO", overlap), ("JS", shared)):
                label = f"{name}@{_K} CxC ≥ {least:g}"
                results.append(Metric(label, items[own], clusters=self.clusters[own]))
        plain, label = judged[:, :2], "CxC-STS, all pairs"
        results.append(Metric(label, plain, "spearman", clusters=self.clusters, headline=False))
        return Scores(results, notes=[*self.notes, *notes])


def load(data: Path, how: Arithmetic) -> _CrissCrossed:
    """Load the pairs from the data folder, over the pictures of Flickr8k."""
    file = data / NEEDS[0]
    problems = Problems(how.max_broken)
    judged = _read_judged(file, problems)
    notes = left_out(problems, len(judged) + problems.count, "pairs")
    return _CrissCrossed(judged, read_pool(data / NEEDS[1]), file_hash(file), how, notes)
