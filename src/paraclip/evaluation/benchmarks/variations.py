"""Linguistic variations: does a query find the same pictures however it is worded?

This is the first open question of the ParaCLIP paper (arXiv 2402.15120, limitations): robustness to
variations other than paraphrases. Consistency, accuracy and discrimination are measured for each
kind of rewording; none is enough alone: a model that answers every query with the same pictures is
consistent, and its margin (AO@k minus that with the contrast) is 0. A tie counts as wrong. Formula:
docs/guide/evaluate.md.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paraclip.arrays import Float, Integers
from paraclip.compute.exact_search import top_k
from paraclip.data.captions import Problems
from paraclip.data.images import PictureNames
from paraclip.errors import UserError
from paraclip.evaluation import benchmark, metrics
from paraclip.evaluation.benchmarks.paraphrased_retrieval import checked_cutoffs
from paraclip.evaluation.pairs import KINDS, Wording, Wordings, read_wordings
from paraclip.evaluation.pictures import Pool, image_vectors, read_pool
from paraclip.evaluation.statistics import Metric

if TYPE_CHECKING:
    from paraclip.models.encoder import DualEncoder

_BESIDE = (" plain caption", " contrast")
"""Name suffixes of the metrics that involve no rewording and serve as a reference."""

_GET = (
    "Name a file with --wordings and its pictures with --pool, or put Flickr8k's pictures into "
    "flickr8k/images/ and rewordings into paraphrases/variations.jsonl of the data folder."
)


class Variations:
    """The benchmark on one set of wordings and one pool, for one or several numbers `k` of results,
    of which the headlines use the largest.

    Raises UserError for a pool that has fewer than k pictures, holds only vectors, or lacks more of
    the captions' pictures than `how.max_broken` allows (fewer are skipped with a note).
    """

    def __init__(
        self,
        name: str,
        wordings: Wordings,
        pool: Pool,
        k: int | tuple[int, ...] = 10,
        how: benchmark.Arithmetic = benchmark.Arithmetic(),
    ) -> None:
        self.name, self.searched, self.how = name, pool, how
        self.pictures, self.wordings = pool.references, wordings
        self.cutoffs = checked_cutoffs((k,) if isinstance(k, int) else k, pool)
        self.kept, self.owners, self.notes = self._find_pictures()
        rows = [
            (number, kind, text)
            for number, item in enumerate(self.kept)
            for kind, text in item.rewordings
        ]
        # Of each of T rewordings [T]: the number of its caption in `kept`, and that of its kind.
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

    def _find_pictures(self) -> tuple[list[Wording], Integers, list[str]]:
        """Return the items whose picture is in the pool, its position, and notes on the others."""
        if self.searched.vectors is not None:
            what = "is a pool of vectors, in which no caption's own picture can be found"
            raise UserError(self.searched.name, what, "Name a folder of pictures.")
        pictures = PictureNames(self.pictures, "", by_number=True)
        position = {path: number for number, path in enumerate(self.pictures)}
        problems, kept, owners = Problems(self.how.max_broken), [], []
        for item in self.wordings.items:
            path = pictures.find(item.image, item.where)
            if path is None:
                problems.add(item.where, f"the pool has no picture {item.image!r}")
                continue
            kept.append(item)
            owners.append(position[path])
        problems.check(len(self.wordings))
        if not kept:
            what = f"contains the picture of none of the {len(self.wordings):,} captions"
            raise UserError(self.searched.name, what, "Name the pool of these pictures.")
        notes = benchmark.left_out(problems, len(self.wordings), "captions")
        return kept, np.array(owners, np.int64), notes

    def score(self, model: "DualEncoder", cache: Path | None) -> benchmark.Scores:
        """Compute the metrics of each kind and their means over kinds (the headlines)."""
        images, good, notes = image_vectors(model, self.pictures, cache, self.how)
        rows = np.flatnonzero(np.isin(self.owners, good)[self.item])
        if not len(rows):
            what = f"the pictures of all {len(self.kept):,} captions are broken"
            raise UserError(self.searched.name, what, "Replace them.")
        item, kind = self.item[rows], self.kind[rows]
        texts = [self.kept[index].caption for index in item]
        texts += [self.reworded[row] for row in rows]
        texts += [self.kept[index].contrast for index in item]
        # [3, T, width]; a caption, equal for all of its rewordings, is encoded once.
        vectors = benchmark.text_vectors(model, texts, self.how, self.name).reshape(
            3, len(rows), -1
        )
        plain, reworded, contrast = vectors
        own = images[np.searchsorted(good, self.owners[item])]  # [T, width]; `good` ascends
        discriminated = {
            f"{what} discrimination":
                (metrics.cosine(one, reworded) > metrics.cosine(one, contrast)).astype(np.float64)
            for what, one in (("text", plain), ("picture", own))
        }  # fmt: skip
        ranked = [good[top_k(part, images, self.cutoffs[-1])] for part in vectors]
        judged: dict[str, Float] = {}
        for k in self.cutoffs:
            judged |= _metrics_at(k, self.owners[item], ranked, discriminated)
        guesses = ", ".join(f"R@{k} {k / len(images):.2%}" for k in self.cutoffs)
        notes = [*self.notes, *notes, f"a blind guess gets {guesses}, discrimination 50 %"]
        names = ("caption_ranking", "rewording_ranking", "contrast_ranking")
        arrays = {"item": item, "kind": kind, **dict(zip(names, ranked, strict=True))}
        both = [(self.kept[self.item[row]].caption, self.reworded[row]) for row in rows]
        kinds = [self.wordings.kinds[number] for number in kind]
        owners = self.owners[item].tolist()
        shown = benchmark.Shown(both, kinds, (ranked[0], ranked[1]), self.pictures, owners)
        return benchmark.Scores(self.figures(judged, item, kind), arrays, notes, shown)

    def figures(self, judged: dict[str, Float], item: Integers, kind: Integers) -> list[Metric]:
        """Return the means over kinds, the means of each kind, and the reference metrics."""
        varied = [name for name in judged if not name.endswith(_BESIDE)]
        pictures = self.owners[item]  # the captions of one picture are resampled together
        last = self.cutoffs[-1]
        headlines = f"AO@{last}", f"R@{last}", "text discrimination", "picture discrimination"
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
        _, once = np.unique(item, return_index=True)  # a reference has one value per caption
        beside = [name for name in judged if name not in varied]
        return results + [
            Metric(name, judged[name][once], clusters=pictures[once], headline=False)
            for name in beside
        ]


def _metrics_at(
    k: int, owners: Integers, rankings: Sequence[Integers], discriminated: Mapping[str, Float]
) -> dict[str, Float]:
    """Every metric of each of T rewordings [T], by its name in the report, from the pool position
    of the caption's picture [T] and the results of plain caption, rewording and contrast [T, k or
    more]."""
    plain, reworded, contrast = (ranked[:, :k] for ranked in rankings)
    ranks = [metrics.first_relevant(own[:, :k] == owners[:, None]) for own in rankings]
    right, right_reworded, right_contrast = (metrics.recall(own, k) for own in ranks)
    overlap = metrics.average_overlap(plain, reworded)
    against_contrast = metrics.average_overlap(plain, contrast)
    return {
        f"AO@{k}": overlap,
        f"JS@{k}": metrics.jaccard(plain, reworded),
        f"R@{k}": right_reworded,
        f"R@{k} change": right_reworded - right,
        f"R@{k} both ways": right_reworded * right,
        f"MRR@{k}": metrics.reciprocal_rank(ranks[1], k),
        f"AO@{k} margin": overlap - against_contrast,
        **discriminated,
        f"R@{k} plain caption": right,
        f"R@{k} contrast": right_contrast,
        f"AO@{k} contrast": against_contrast,
        f"JS@{k} contrast": metrics.jaccard(plain, contrast),
    }


def load_variations(
    data: Path | None, how: benchmark.Arithmetic, wordings: str | None, pool: str | None,
    images: str | None, k: tuple[int, ...],
) -> Variations:  # fmt: skip
    """Read reworded captions and a pool; a file that `--wordings` names may define any kinds."""
    file = benchmark.find_source(data, "paraphrases/variations.jsonl", _GET, "--wordings", wordings)
    pictures = benchmark.find_source(data, "flickr8k/images", _GET, "--pool", pool)
    kinds = KINDS if wordings is None else None  # None: those of the file
    read = read_wordings(file, kinds, Problems(how.max_broken))
    return Variations("variations", read, read_pool(pictures, images), k, how)
