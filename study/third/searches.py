"""What the third report measures: typed queries, people's captions and an LLM's rewordings.

Every set searches for texts in a pool of pictures and keeps the first twenty results of each text
with their scores, so that fusion, churn and hubs can be computed from finished cells.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paraclip.arrays import Float, Integers
from paraclip.compute.exact_search import nearest_rows
from paraclip.evaluation import metrics
from paraclip.evaluation.benchmark import Arithmetic, Scores, text_vectors
from paraclip.evaluation.benchmarks.image_text_retrieval import Gallery, ImageTextRetrieval
from paraclip.evaluation.pairs import Wordings
from paraclip.evaluation.pictures import Pool, image_vectors
from paraclip.evaluation.statistics import Metric
from paraclip.files import text_hash
from paraclip.models.encoder import DualEncoder
from study.third.queries import KINDS, Query
from study.wordings import words

CUTOFF = 10
RBO_DEPTH = 50
DEPTH = 60
"""Of a ranking: no typed query has more right pictures."""
KEPT = 20
"""Results of each text that are stored with their scores."""
KNOWN, NEW = "words that base a knows", "a new word"
COMMON, UNCOMMON = "common words", "a less common word"


@dataclass(frozen=True, eq=False)
class Rankings:
    """What a model finds for each text.

    Args:
        places: positions in the pool, best first [texts, depth].
        relevant: which of them are right pictures of the text [texts, depth].
        rank: 0-based rank of the first right picture [texts]; depth if there is none.
    """

    places: Integers
    relevant: NDArray[np.bool_]
    rank: Integers

    def agreement(self, first: Integers, second: Integers) -> dict[str, Float]:
        """AO@10, JS@10 and RBO between the texts of these numbers [pairs]."""
        one, other = self.places[first], self.places[second]
        deep, least = RBO_DEPTH, CUTOFF
        return {
            f"AO@{least}": metrics.average_overlap(one[:, :least], other[:, :least]),
            f"JS@{least}": metrics.jaccard(one[:, :least], other[:, :least]),
            "RBO": metrics.rank_biased_overlap(one[:, :deep], other[:, :deep]),
        }

    def hits(self, texts: Integers) -> Float:
        """Whether a right picture is among the first ten, 0 or 1 [texts]."""
        return metrics.recall(self.rank[texts], CUTOFF)


Compared = tuple[Integers, Integers, Integers | None]
"""Numbers of the first texts and of the second ones [pairs], and the clusters of the pairs."""


class Searches(ABC):
    """Texts that are searched for in a pool of pictures.

    Args:
        name: of the set.
        pool: the pictures.
        texts: all texts; equal ones are encoded once.
        right: positions of the right pictures of each text; empty where none is known.
        described: what the texts are, for the report.
        left_out: positions of pictures that are left out of each text's ranking.
    """

    def __init__(
        self, name: str, pool: Pool, texts: Sequence[str], right: Sequence[Sequence[int]],
        described: str, how: Arithmetic, left_out: Sequence[Sequence[int]] = (),
    ) -> None:  # fmt: skip
        self.name, self.how, self.pictures = name, how, pool.references
        self.texts, self.right = list(texts), list(right)
        self.left_out = list(left_out) or [()] * len(self.texts)
        self.pool = f"{described}, over {pool.describe()}"
        asked = [*self.texts, *map(str, self.right), *map(str, self.left_out)]
        self.data: dict[str, Any] = {"texts_hash": text_hash("\n".join(asked)), **pool.facts()}

    def score(self, model: DualEncoder, cache: Path | None) -> Scores:
        """Search for all texts."""
        images, good, notes = image_vectors(model, self.pictures, cache, self.how)
        number = {text: place for place, text in enumerate(dict.fromkeys(self.texts))}
        encoded = text_vectors(model, list(number), self.how, self.name)
        most = max(map(len, self.left_out))
        depth = min(DEPTH, len(images) - most)
        places, scores = nearest_rows(encoded, images, depth + most)
        rows = np.array([number[text] for text in self.texts])
        places, scores = _without(good[places[rows]], scores[rows], self.left_out, depth)
        relevant = np.stack(
            [np.isin(found, right) for found, right in zip(places, self.right, strict=True)]
        )
        found = Rankings(places, relevant, metrics.first_relevant(relevant))
        known = np.array([len(right) > 0 for right in self.right])
        arrays = first_results(places, scores, np.where(known, found.rank, -1))
        return Scores(self.figures(found), arrays, notes)

    @abstractmethod
    def figures(self, found: Rankings) -> list[Metric]:
        """The figures of a set."""

    @abstractmethod
    def compared(self) -> dict[str, Compared]:
        """The texts whose agreement is measured, by the name of its figure."""


def first_results(places: Integers, scores: Float, rank: Integers) -> dict[str, NDArray[Any]]:
    """The arrays that are stored of each text.

    Args:
        places: positions in the pool, best first [texts, depth].
        scores: cosines with them [texts, depth].
        rank: 0-based rank of the first right picture [texts]; -1 where none is known.
    """
    return {
        "first_places": places[:, :KEPT].astype(np.uint16),
        "first_scores": scores[:, :KEPT].astype(np.float32),
        "first_rank": rank.astype(np.int16),
    }


def _without(
    places: Integers, scores: Float, left_out: Sequence[Sequence[int]], depth: int
) -> tuple[Integers, Float]:
    """The first `depth` results of each text and their scores, without those that are left out."""
    kept = [
        np.flatnonzero(~np.isin(found, left))[:depth]
        for found, left in zip(places, left_out, strict=True)
    ]
    chosen = np.stack(kept)
    return np.take_along_axis(places, chosen, 1), np.take_along_axis(scores, chosen, 1)


def _made(
    items: Mapping[str, Float], clusters: Integers | None, part: Any = slice(None), of: str = ""
) -> list[Metric]:
    """Metrics of the items, or of a part of them, whose name follows a comma."""
    more = f", {of}" if of else ""
    own = None if clusters is None else clusters[part]
    return [
        Metric(f"{name}{more}", values[part], clusters=own, headline=not of)
        for name, values in items.items()
    ]


class TypedQueries(Searches):
    """Short queries with another way to type each, and a contrast; several pictures may be right.

    A *hit* is any right picture among the first ten; *R-precision*, for a query with R right
    pictures, their share of the first R results. Doubtful pictures are in no ranking.
    """

    def __init__(self, name: str, rows: Sequence[Query], pool: Pool, how: Arithmetic) -> None:
        place = {Path(one).name: number for number, one in enumerate(pool.references)}
        right = [[place[one] for one in row.right if one in place] for row in rows]
        doubtful = [[place[one] for one in row.doubtful if one in place] for row in rows]
        self.rows = rows
        super().__init__(
            name, pool,
            [getattr(row, field) for field in ("query", "wording", "contrast") for row in rows],
            [*right, *right, *[[]] * len(rows)],
            f"{len(rows):,} typed queries, another wording and a contrast of each", how,
            doubtful * 3,
        )  # fmt: skip

    def figures(self, found: Rankings) -> list[Metric]:
        """All rows, those of each kind, and those with and without a less common word."""
        query, wording, contrast = self._numbers()
        hit, other = found.hits(query), found.hits(wording)
        items = {
            "hit@10 query": hit, "hit@10 wording": other, "hit@10 both": hit * other,
            "R-precision query": self._precision(found, query),
            "R-precision wording": self._precision(found, wording),
            **found.agreement(query, wording),
            "AO@10 contrast": found.agreement(query, contrast)["AO@10"],
        }  # fmt: skip
        items["AO@10 margin"] = items["AO@10"] - items["AO@10 contrast"]
        made = _made(items, None)
        kinds = np.array([row.kind for row in self.rows])
        rare = np.array([bool(row.less_common) for row in self.rows])
        parts = {kind: kinds == kind for kind in KINDS} | {COMMON: ~rare, UNCOMMON: rare}
        for name, part in parts.items():
            made += _made(items, None, part, name) if part.any() else []
        return made

    def compared(self) -> dict[str, Compared]:
        """Query and wording, query and contrast."""
        query, wording, contrast = self._numbers()
        return {"AO@10": (query, wording, None), "AO@10 contrast": (query, contrast, None)}

    def _numbers(self) -> Integers:
        """The numbers of queries, wordings and contrasts among the texts [3, rows]."""
        return np.arange(3 * len(self.rows)).reshape(3, -1)

    def _precision(self, found: Rankings, texts: Integers) -> Float:
        """The R-precision of the texts [texts]."""
        count = np.array([len(self.right[text]) for text in texts])
        among = np.arange(found.places.shape[1]) < count[:, None]
        shares: Float = (found.relevant[texts] & among).sum(axis=1) / count
        return shares


class PeoplesCaptions(Searches):
    """All captions that people wrote of each picture, the same number of each.

    *All right*: every caption of a picture finds it. *Worst*: the least of a picture's captions, or
    of its pairs of captions. The change is that of the other captions against the first.
    """

    def __init__(self, name: str, shown: Gallery, pool: Pool, how: Arithmetic) -> None:
        place = {Path(one).name: number for number, one in enumerate(pool.references)}
        texts: dict[int, list[str]] = {}
        for owner, text in zip(shown.owners, shown.captions, strict=True):
            texts.setdefault(owner, []).append(text)
        self.count = min(map(len, texts.values()))
        self.owners = np.array([place[Path(shown.references[owner]).name] for owner in texts])
        super().__init__(
            name, pool, [text for found in texts.values() for text in found[: self.count]],
            [[owner] for owner in self.owners.tolist() for _ in range(self.count)],
            f"{self.count} captions of each of {len(texts):,} pictures of {shown.name}", how,
        )  # fmt: skip

    def figures(self, found: Rankings) -> list[Metric]:
        """Figures of captions, of pairs of captions, and of pictures."""
        numbers = np.arange(len(self.texts)).reshape(-1, self.count)  # [pictures, captions]
        hits = found.hits(numbers.ravel()).reshape(numbers.shape)
        first, second, of_pairs = self.compared()["AO@10"]
        pairs = found.agreement(first, second)
        pairs["R@10 both ways"] = found.hits(first) * found.hits(second)
        reciprocal = metrics.reciprocal_rank(found.rank[numbers], CUTOFF)
        whole = {
            "R@10 caption 1": hits[:, 0], "R@10 all right": hits.min(axis=1),
            "MRR@10 worst": reciprocal.min(axis=1),
            "AO@10 worst": pairs["AO@10"].reshape(len(numbers), -1).min(axis=1),
        }  # fmt: skip
        others = {
            "R@10 other captions": hits[:, 1:].ravel(),
            "R@10 change": (hits[:, 1:] - hits[:, :1]).ravel(),
        }
        per = {one: np.repeat(self.owners, one) for one in (1, self.count, self.count - 1)}
        return [
            *_made({"R@10": hits.ravel()}, per[self.count]),
            *_made(whole, per[1]), *_made(others, per[self.count - 1]),
            *_made(pairs, of_pairs),
        ]  # fmt: skip

    def compared(self) -> dict[str, Compared]:
        """All pairs of a picture's captions."""
        numbers = np.arange(len(self.texts)).reshape(-1, self.count)
        places = np.array(list(combinations(range(self.count), 2)))  # [pairs of a picture, 2]
        first, second = (numbers[:, column].ravel() for column in places.T)
        return {"AO@10": (first, second, np.repeat(self.owners, len(places)))}


class Reworded(Searches):
    """Captions with rewordings of several kinds, and a contrast.

    Args:
        wordings: the captions.
        changes: what each contrast changes, by the place of its row.
        known: the words that base *a* saw; rewordings with and without another are told apart.
    """

    def __init__(
        self, name: str, wordings: Wordings, pool: Pool, changes: Mapping[str, str],
        known: set[str], how: Arithmetic,
    ) -> None:  # fmt: skip
        items = wordings.items
        place = {Path(one).name: number for number, one in enumerate(pool.references)}
        owners = np.array([place[one.image] for one in items])
        rows = [(number, kind, text) for number, one in enumerate(items)
                for kind, text in one.rewordings]  # fmt: skip
        self.item, self.owners = np.array([number for number, _, _ in rows]), owners
        self.kind = np.array([kind for _, kind, _ in rows])
        self.new = np.array([not words(text) <= known for *_, text in rows])
        self.change = np.array([changes[one.where] for one in items])
        texts = [*(one.caption for one in items), *(text for *_, text in rows)]
        right = [[owner] for owner in (*owners.tolist(), *owners[self.item].tolist())]
        super().__init__(
            name, pool, [*texts, *(one.contrast for one in items)],
            [*right, *[[]] * len(items)],
            f"{len(items):,} captions of {wordings.name} in {len(rows):,} rewordings", how,
        )  # fmt: skip

    def figures(self, found: Rankings) -> list[Metric]:
        """Figures of rewordings (all, by kind, with a new word), captions and contrasts."""
        count = len(self.owners)
        _, reworded, _ = self.compared()["AO@10"]
        caption, contrast, _ = self.compared()["AO@10 contrast"]
        hit, own = found.hits(reworded), found.hits(caption)
        against = found.agreement(caption, contrast)["AO@10"]
        items = {
            **found.agreement(self.item, reworded), "R@10": hit,
            "R@10 both ways": hit * own[self.item], "R@10 change": hit - own[self.item],
            "MRR@10": metrics.reciprocal_rank(found.rank[reworded], CUTOFF),
        }  # fmt: skip
        items["AO@10 margin"] = items["AO@10"] - against[self.item]

        def worst(of_captions: Float, of_rewordings: Float) -> Float:
            least = of_captions.copy()
            np.minimum.at(least, self.item, of_rewordings)
            return least

        reciprocal = metrics.reciprocal_rank(found.rank, CUTOFF)
        whole = {
            "R@10 caption": own, "R@10 all right": worst(own, hit),
            "MRR@10 worst": worst(reciprocal[caption], reciprocal[reworded]),
            "AO@10 worst": worst(np.ones(count), items["AO@10"]), "AO@10 contrast": against,
        }  # fmt: skip
        clusters = self.owners[self.item]
        made = [*_made(items, clusters), *_made(whole, self.owners)]
        parts = {kind: self.kind == kind for kind in dict.fromkeys(self.kind.tolist())}
        parts |= {KNOWN: ~self.new, NEW: self.new}
        for name, part in parts.items():
            made += _made(items, clusters, part, name) if part.any() else []
        margin = {"AO@10 margin": items["AO@10 margin"]}
        for change in sorted(set(self.change.tolist())):
            made += _made(margin, clusters, self.change[self.item] == change, f"change of {change}")
        return made

    def compared(self) -> dict[str, Compared]:
        """Caption and rewording, caption and contrast."""
        count, rows = len(self.owners), len(self.item)
        caption, reworded = np.arange(count), count + np.arange(rows)
        return {
            "AO@10": (self.item, reworded, self.owners[self.item]),
            "AO@10 contrast": (caption, count + rows + caption, self.owners),
        }


class KeptRetrieval(ImageTextRetrieval):
    """Retrieval both ways, with the first results of each caption."""

    def found(
        self, images: Float, texts: Float, owners: Integers
    ) -> tuple[list[Metric], dict[str, Integers]]:
        """The figures, and the first results of each caption beside the ranks."""
        made, _ = super().found(images, texts, owners)
        places, scores = nearest_rows(texts, images, min(DEPTH, len(images)))
        rank = metrics.first_relevant(places == owners[:, None])
        return made, first_results(places, scores, rank)
