"""Linguistic variations: does a query find the same pictures however it is worded?

This is the first open question of the ParaCLIP paper (arXiv 2402.15120, limitations): robustness to
variations other than paraphrases. Each caption has several rewordings, one per kind (lexical,
syntactic, telegraphic, verbose, colloquial, technical, typo), and a contrast: nearly the same words
with a different meaning. Three properties are measured for each kind; none is enough alone:

consistency     AO@k and JS@k of the rewording against the plain caption over a pool. A model that
                answers every query with the same pictures gets 100 %; the margin, AO@k minus that
                with the contrast, is then 0.
accuracy        R@k and MRR: is the caption's picture among the first k results of the rewording?
                Also the difference from the R@k of the plain caption, and whether both find it.
discrimination  Is the contrast less similar? Text: sim(caption, rewording) > sim(caption,
                contrast). Picture: sim(image, rewording) > sim(image, contrast). A tie counts as
                wrong.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paraclip.arrays import Float, Integers
from paraclip.data.images import PictureNames
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.evaluation import metrics
from paraclip.evaluation.benchmark import (
    Arithmetic,
    Scores,
    Shown,
    image_vectors,
    left_out,
    text_vectors,
)
from paraclip.evaluation.benchmarks.paraphrased_retrieval import checked_cutoffs
from paraclip.evaluation.pairs import Wording, Wordings
from paraclip.evaluation.pictures import Pool
from paraclip.evaluation.statistics import Metric
from paraclip.exact_search import top_k
from paraclip.models.encoder import DualEncoder

_BESIDE = (" plain caption", " contrast")
"""Name suffixes of the metrics that involve no rewording and serve as a reference."""


@dataclass(frozen=True, eq=False)
class _Answers:
    """Results of a model for each of the T rewordings, over all items and kinds."""

    plain: Integers  # results of the plain caption [T, k], pool positions, best first
    reworded: Integers  # results of the rewording [T, k]
    contrast: Integers  # results of the contrast [T, k]
    owners: Integers  # pool position of the caption's picture [T]
    # cosines [T, 4]: caption with rewording, caption with contrast, picture with rewording, picture
    # with contrast
    similar: Float


class Variations:
    """The benchmark on one set of wordings and one pool.

    Args:
        k: number of results; one number or several, of which the headlines use the smallest.
        headlines: names of the metrics in the short table; None: consistency, accuracy and
            discrimination for the smallest k.

    Raises:
        UserError: if the pool has fewer than k pictures, holds only vectors, or lacks more of the
            captions' pictures than `how.max_broken` allows (fewer are skipped with a note).
    """

    def __init__(
        self,
        name: str,
        wordings: Wordings,
        pool: Pool,
        k: int | tuple[int, ...] = 10,
        how: Arithmetic = Arithmetic(),
        headlines: Sequence[str] | None = None,
    ) -> None:
        self.name, self.searched, self.how, self.headlines = name, pool, how, headlines
        self.pictures = pool.references
        self.cutoffs = checked_cutoffs((k,) if isinstance(k, int) else k, pool)
        self.k = max(self.cutoffs)
        self.notes: list[str] = []
        self.kept, self.owners = self._find_pictures(wordings)
        self.wordings = wordings
        rows = [
            (number, kind, text)
            for number, item in enumerate(self.kept)
            for kind, text in item.rewordings
        ]
        self.item = np.array([number for number, _, _ in rows])
        self.kind = np.array([wordings.kinds.index(kind) for _, kind, _ in rows])
        self.reworded = [text for _, _, text in rows]
        self.pool = f"{len(self.kept):,} captions of {wordings.name} in {len(rows):,} rewordings, "
        self.pool += f"over {pool.describe()}"
        many = Counter(kind for _, kind, _ in rows)
        if len({many[kind] for kind in wordings.kinds}) > 1:
            listed = ", ".join(f"{kind} {many[kind]:,}" for kind in wordings.kinds)
            self.notes.append(f"rewordings of each kind: {listed}")
        self.data: dict[str, Any] = {
            "wordings": wordings.name, "wordings_hash": wordings.hash,
            "wordings_skipped": wordings.skipped + len(wordings) - len(self.kept),
            "kinds": list(wordings.kinds), "k": list(self.cutoffs), **pool.facts(),
        }  # fmt: skip

    def _find_pictures(self, wordings: Wordings) -> tuple[list[Wording], Integers]:
        """Return the items whose picture is in the pool, and its pool position."""
        if self.searched.vectors is not None:
            what = "is a pool of vectors, in which no caption's own picture can be found"
            raise UserError(self.searched.name, what, "Name a folder of pictures.")
        pictures = PictureNames(self.searched.references, "", by_number=True)
        position = {path: number for number, path in enumerate(self.searched.references)}
        problems, kept, owners = Problems(self.how.max_broken), [], []
        for item in wordings.items:
            path = pictures.find(item.image, item.where)
            if path is None:
                problems.add(item.where, f"the pool has no picture {item.image!r}")
                continue
            kept.append(item)
            owners.append(position[path])
        problems.check(len(wordings))
        if not kept:
            what = f"contains the picture of none of the {len(wordings):,} captions"
            raise UserError(self.searched.name, what, "Name the pool of these pictures.")
        self.notes += left_out(problems, len(wordings), "captions")
        return kept, np.array(owners, np.int64)

    def score(self, model: DualEncoder, cache: Path | None) -> Scores:
        """Compute the metrics of each kind and their means over kinds (the headlines)."""
        images, good, notes = image_vectors(model, self.searched.references, cache, self.how)
        rows = np.flatnonzero(np.isin(self.owners, good)[self.item])
        if not len(rows):
            what = f"the pictures of all {len(self.kept):,} captions are broken"
            raise UserError(self.searched.name, what, "Replace them.")
        answers = self.answers(model, images, good, rows)
        item, kind = self.item[rows], self.kind[rows]
        guesses = ", ".join(f"R@{k} {k / len(images):.2%}" for k in self.cutoffs)
        notes = [*self.notes, *notes, f"a blind guess gets {guesses}, discrimination 50 %"]
        rankings = {
            "item": item, "kind": kind, "caption_ranking": answers.plain,
            "rewording_ranking": answers.reworded, "contrast_ranking": answers.contrast,
        }  # fmt: skip
        judged: dict[str, Float] = {}
        for k in self.cutoffs:
            judged |= _metrics_at(answers, k)
        return Scores(self.figures(judged, item, kind), rankings, notes)

    def pairs_shown(self, scores: Scores) -> Shown:
        """Return the caption and rewording of each ranking, for the example browser."""
        reworded = dict(zip(zip(self.item, self.kind, strict=True), self.reworded, strict=True))
        queries = list(zip(scores.arrays["item"], scores.arrays["kind"], strict=True))
        texts = [(self.kept[item].caption, reworded[item, kind]) for item, kind in queries]
        kinds = [self.wordings.kinds[kind] for _, kind in queries]
        arrays = ("caption_ranking", "rewording_ranking")
        answers = [int(self.owners[item]) for item, _ in queries]
        return Shown(texts, kinds, arrays, self.searched.references, answers)

    def answers(
        self, model: DualEncoder, images: Float, good: Integers, rows: Integers
    ) -> _Answers:
        """Encode and search the rewordings `rows`."""
        number = self.item[rows]
        texts = [self.kept[index].caption for index in number]
        texts += [self.reworded[row] for row in rows]
        texts += [self.kept[index].contrast for index in number]
        vectors = text_vectors(model, texts, self.how, self.name)
        plain, reworded, contrast = vectors.reshape(3, len(rows), -1)
        own = images[np.searchsorted(good, self.owners[number])]
        similar = [
            metrics.cosine(plain, reworded), metrics.cosine(plain, contrast),
            metrics.cosine(own, reworded), metrics.cosine(own, contrast),
        ]  # fmt: skip
        first, second, third = (
            good[top_k(part, images, self.k)] for part in (plain, reworded, contrast)
        )
        return _Answers(first, second, third, self.owners[number], np.stack(similar, axis=1))

    def figures(self, judged: dict[str, Float], item: Integers, kind: Integers) -> list[Metric]:
        """Return the means over kinds, the means of each kind, and the reference metrics."""
        varied = [name for name in judged if not name.endswith(_BESIDE)]
        pictures = self.owners[item]  # the captions of one picture are resampled together
        first, headlines = self.cutoffs[0], self.headlines
        if headlines is None:
            headlines = f"AO@{first}", f"R@{first}", "text discrimination", "picture discrimination"
        results = [
            Metric(name, judged[name], groups=kind, clusters=pictures, headline=name in headlines)
            for name in varied
        ]
        for number in np.unique(kind):
            own, label = kind == number, self.wordings.kinds[number]
            results += [
                Metric(f"{name} {label}", judged[name][own], clusters=pictures[own], headline=False)
                for name in varied
            ]
        _, once = np.unique(item, return_index=True)
        beside = [name for name in judged if name not in varied]
        return results + [
            Metric(name, judged[name][once], clusters=pictures[once], headline=name in headlines)
            for name in beside
        ]


def _metrics_at(found: _Answers, k: int) -> dict[str, Float]:
    """Return every metric of each rewording [T] in the first k, by its name in the report."""
    plain, reworded, contrast = (
        ranked[:, :k] for ranked in (found.plain, found.reworded, found.contrast)
    )
    ranks = [
        metrics.first_relevant(ranked == found.owners[:, None])
        for ranked in (plain, reworded, contrast)
    ]
    right, right_reworded, right_contrast = (metrics.recall(own, k) for own in ranks)
    overlap = metrics.average_overlap(plain, reworded)
    against_contrast = metrics.average_overlap(plain, contrast)
    caption, against, picture, denied = found.similar.T
    return {
        f"AO@{k}": overlap,
        f"JS@{k}": metrics.jaccard(plain, reworded),
        f"R@{k}": right_reworded,
        f"R@{k} change": right_reworded - right,
        f"R@{k} both ways": right_reworded * right,
        f"MRR@{k}": metrics.reciprocal_rank(ranks[1], k),
        f"AO@{k} margin": overlap - against_contrast,
        "text discrimination": (caption > against).astype(np.float64),
        "picture discrimination": (picture > denied).astype(np.float64),
        f"R@{k} plain caption": right,
        f"R@{k} contrast": right_contrast,
        f"AO@{k} contrast": against_contrast,
        f"JS@{k} contrast": metrics.jaccard(plain, contrast),
    }
