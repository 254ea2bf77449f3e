"""Crisscrossed Captions, text to text: human similarity of two captions, and what is retrieved.

Parekh et al. 2021 (https://github.com/google-research-datasets/Crisscrossed-Captions). The captions
of a pair describe one picture (`c2c_cocaption`: two people, one scene) or two similar pictures
(`c2c_isim`); its score is the mean of five people's ratings from 0 to 5. A model that returns the
same pictures for every query fails graded consistency. Formula: README.md.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paraclip.compute.exact_search import top_k
from paraclip.data.captions import BrokenRow, Problems, clean_text, require_columns
from paraclip.data.rows import Values, good_rows
from paraclip.errors import UserError
from paraclip.evaluation import metrics
from paraclip.evaluation.benchmark import (
    Arithmetic,
    Scores,
    find_source,
    left_out,
    numbered,
    text_vectors,
)
from paraclip.evaluation.benchmarks.paraphrased_retrieval import checked_cutoffs
from paraclip.evaluation.pictures import Pool, image_vectors, read_pool, refuse_missing
from paraclip.evaluation.statistics import Metric
from paraclip.files import file_hash

if TYPE_CHECKING:
    from paraclip.models.encoder import DualEncoder

_K = 10
_THRESHOLDS = (4.0, 4.5)  # least mean ratings of two wordings of one scene
_SAME_PICTURE = "c2c_cocaption"
_COLUMNS = ("image_1", "image_2", "caption", "caption2", "score", "sampling")
_MOST = 5.0
_GET = (
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


def _read_pair(values: Values, where: str) -> _Judged:
    """Make a pair from a row; raises BrokenRow for a score or text that is none."""
    require_columns(values, _COLUMNS, where, _GET)
    try:
        score = float(values["score"])
    except (TypeError, ValueError):
        score = math.nan
    if not 0 <= score <= _MOST:
        raise BrokenRow(f"the score is not from 0 to 5: {str(values['score'])[:20]!r}")
    texts = clean_text(values["caption"], "caption"), clean_text(values["caption2"], "caption2")
    pictures = str(values["image_1"]), str(values["image_2"])
    return _Judged(pictures, texts, score, values["sampling"] == _SAME_PICTURE)


class CrissCrossed:
    """CxC-STS, consistency on people's pairs, and graded consistency; UserError for few pairs."""

    name = "cxc"

    def __init__(self, file: Path, pool: Pool, how: Arithmetic) -> None:
        problems = Problems(how.max_broken)
        self.judged, skipped = good_rows(file, _read_pair, problems, _GET)
        if len(self.judged) < 3:
            raise UserError(file, "contains fewer than three pairs", _GET)
        self.searched, self.how, self.pictures = pool, how, pool.references
        self.notes = left_out(problems, len(self.judged) + skipped, "pairs")
        checked_cutoffs((_K,), pool)
        refuse_missing(pool.references, how.max_broken)
        self.score_of_pair = np.array([pair.score for pair in self.judged])
        same = np.array([pair.same_picture for pair in self.judged])
        # which pairs are of one picture and have at least this score
        self.at_least = {least: same & (self.score_of_pair >= least) for least in _THRESHOLDS}
        self.clusters = numbered([pair.images[0] for pair in self.judged])
        self.queries = numbered([pair.texts[0] for pair in self.judged])
        counts = {f"{least:g}": int(own.sum()) for least, own in self.at_least.items()}
        sizes = ", ".join(f"{count:,} of one picture at {x} or more" for x, count in counts.items())
        self.pool = f"{len(self.judged):,} pairs ({sizes}), over {pool.describe()}"
        self.data: dict[str, Any] = {
            "pairs_hash": file_hash(file), "pairs": len(self.judged), "pairs_at_least": counts,
            "k": _K, **pool.facts(),
        }  # fmt: skip

    def score(self, model: "DualEncoder", cache: Path | None) -> Scores:
        """Encode every caption once, search the pool and compute the metrics."""
        images, places, notes = image_vectors(model, self.pictures, cache, self.how)
        known: dict[str, int] = {}
        sides = [[known.setdefault(text, len(known)) for text in one.texts] for one in self.judged]
        first, second = np.array(sides).T  # rows of `vectors` [pairs]
        vectors = text_vectors(model, list(known), self.how, "CxC")
        # Pool positions [texts, k]: `places` are those of the pictures that could be read.
        ranked = places[top_k(vectors, images, _K, label="search")]
        overlap = metrics.average_overlap(ranked[first], ranked[second])
        shared = metrics.jaccard(ranked[first], ranked[second])
        cosines = metrics.cosine(vectors[first], vectors[second])
        judged = np.stack([cosines, self.score_of_pair, self.queries], axis=1)  # [pairs, 3]
        graded = np.stack([overlap, self.score_of_pair], axis=1)  # [pairs, 2]
        results = [
            Metric("CxC-STS", judged, "sampled_spearman", clusters=self.queries),
            Metric("graded consistency", graded, "spearman", clusters=self.clusters),
        ]
        results += [
            Metric(f"{name}@{_K} CxC ≥ {least:g}", items[own], clusters=self.clusters[own])
            for least, own in self.at_least.items()
            for name, items in (("AO", overlap), ("JS", shared))
        ]
        plain, label = judged[:, :2], "CxC-STS, all pairs"
        results.append(Metric(label, plain, "spearman", clusters=self.clusters, headline=False))
        return Scores(results, notes=[*self.notes, *notes])


def load(data: Path | None, how: Arithmetic) -> CrissCrossed:
    """Load the pairs from the data folder, over the pictures of Flickr8k."""
    file, pictures = (find_source(data, one, _GET) for one in ("cxc/sts.csv", "flickr8k/images"))
    return CrissCrossed(file, read_pool(pictures), how)
