"""The new wordings of the second and the third report, and what is measured on them alone."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.evaluation.flickr8k import training_captions
from paraclip.arrays import Float, Integers
from paraclip.compute.exact_search import top_k
from paraclip.data.reading import read_captions
from paraclip.evaluation import metrics
from paraclip.evaluation.benchmark import Arithmetic, Scores, text_vectors
from paraclip.evaluation.benchmarks.sugar_crepe import Subset, SugarCrepePlusPlus
from paraclip.evaluation.benchmarks.variations import Variations
from paraclip.evaluation.pairs import Wording, Wordings
from paraclip.evaluation.pictures import Found, Pool, image_vectors
from paraclip.evaluation.statistics import Metric
from paraclip.files import file_hash
from paraclip.models.encoder import DualEncoder

SECOND = Path(__file__).parent / "second" / "wordings.jsonl"
THIRD = Path(__file__).parent / "third" / "wordings.jsonl"
SECOND_KINDS = ("close", "far", "short", "colloquial")
THIRD_KINDS = ("close", "plain", "short", "colloquial")
NEW_WORDINGS = {SECOND: SECOND_KINDS, THIRD: THIRD_KINDS}
"""The files of new wordings with their kinds of rewording."""
CONTRASTS = (
    "object", "action", "colour", "relation", "negation", "count", "attribute", "role", "time",
)  # fmt: skip
"""What the contrasts change; those of the third report never the time."""
ARTICLES = {"a", "an", "the"}


def new_rows(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of a file of new wordings, by the place of each (`second/wordings.jsonl:3`)."""
    lines = path.read_text("utf-8").splitlines()
    place = f"{path.parent.name}/{path.name}"
    return {f"{place}:{n}": json.loads(line) for n, line in enumerate(lines, start=1)}


def read_new_wordings(path: Path, data: Path) -> dict[str, Wordings]:
    """The wordings of a file of `NEW_WORDINGS`, by their pictures: `flickr8k` and `coco`.

    The captions come from the research data; the file has our texts and names the captions.
    """
    captions: dict[str, list[str]] = {}
    for row in read_captions(str(data / "flickr8k" / "captions.csv")):
        captions.setdefault(Path(row.image_id).name, []).append(row.caption)
    for entry in json.loads((data / "coco" / "captions.json").read_text("utf-8")):
        captions[entry["file_name"]] = entry["captions"]
    kinds = NEW_WORDINGS[path]
    return {
        name: Wordings(
            f"{path.parent.name} report, {name}",
            tuple(
                Wording(
                    row["image"],
                    captions[row["image"]][row["caption_index"]],
                    tuple((kind, row[kind]) for kind in kinds),
                    row["contrast"],
                    where,
                )
                for where, row in new_rows(path).items()
                if row["set"] == name
            ),
            kinds,
            file_hash(path),
        )
        for name in ("flickr8k", "coco")
    }


def contrast_kinds() -> dict[str, str]:
    """What each row's contrast changes, by the row's place."""
    return {where: row["contrast_kind"] for path in NEW_WORDINGS
            for where, row in new_rows(path).items()}  # fmt: skip


def words(text: str) -> set[str]:
    """The words of a text, without articles."""
    return {*re.findall(r"[a-z0-9']+", text.lower())} - ARTICLES


def known_words(data: Path) -> set[str]:
    """The words of the 30,000 captions of base *a*'s pre-training."""
    return set[str]().union(*(words(row.caption) for row in training_captions(data)))


class ContrastedWordings(Variations):
    """New wordings, with the margin for each kind of contrast."""

    def figures(self, judged: dict[str, Float], item: Integers, kind: Integers) -> list[Metric]:
        """The figures of all wordings, and `AO@10 margin, KIND` for each kind of contrast."""
        kinds = contrast_kinds()
        named = np.array([kinds[one.where] for one in self.kept])[item]
        margins = judged["AO@10 margin"]
        return super().figures(judged, item, kind) + [
            Metric(f"AO@10 margin, {name}", margins[named == name], groups=kind[named == name],
                   clusters=item[named == name], headline=False)
            for name in sorted(set(named.tolist()))
        ]  # fmt: skip


class AveragedWordings:
    """The rival without training: the vectors of several wordings, averaged when searching.

    A caption and its four rewordings are five texts. `R@10 of G` is the recall of the average of G
    texts, and `AO@10 of G` and `JS@10 of G` compare two averages that have no text in common, of G
    and of at most G texts; each is a mean over all choices of the texts. Five texts allow two
    averages of two, and one of three beside one of two. `AO@10 contrast of G` compares the average
    of G texts with the contrast, which has another meaning.
    """

    def __init__(
        self, name: str, wordings: Wordings, pool: Pool, how: Arithmetic = Arithmetic()
    ) -> None:
        found = Variations(name, wordings, pool, how=how)
        self.name, self.pool, self.how, self.pictures = name, found.pool, found.how, found.pictures
        self.data = {**found.data, "averaged": list(AVERAGED)}
        self.kept, self.owners = found.kept, found.owners

    def score(self, model: DualEncoder, cache: Path | None) -> Scores:
        """Search for the average of each choice of texts."""
        images, good, notes = image_vectors(model, self.pictures, cache, self.how)
        texts = [
            text for one in self.kept for text in (one.caption, *(t for _, t in one.rewordings))
        ]
        vectors = text_vectors(model, texts, self.how, self.name)
        vectors = vectors.reshape(len(self.kept), -1, vectors.shape[1])
        ranked = {
            group: good[top_k(mean_direction(vectors[:, group]), images, 10)]
            for size in AVERAGED for group in combinations(range(vectors.shape[1]), size)
        }  # fmt: skip
        found = [
            Metric(f"R@10 of {size}", np.mean([
                metrics.recall(metrics.first_relevant(one == self.owners[:, None]), 10)
                for group, one in ranked.items() if len(group) == size
            ], axis=0))
            for size in AVERAGED
        ]  # fmt: skip
        for size, other in COMPARED:
            pairs = [(ranked[a], ranked[b]) for a, b in disjoint(ranked, size, other)]
            for name, overlap in (("AO", metrics.average_overlap), ("JS", metrics.jaccard)):
                values = np.mean([overlap(*pair) for pair in pairs], axis=0)
                found.append(Metric(f"{name}@10 of {size}", values))
        contrasts = text_vectors(model, [one.contrast for one in self.kept], self.how, self.name)
        others = good[top_k(contrasts, images, 10)]
        for size in AVERAGED:
            averaged = [one for group, one in ranked.items() if len(group) == size]
            values = np.mean([metrics.average_overlap(one, others) for one in averaged], axis=0)
            found.append(Metric(f"AO@10 contrast of {size}", values))
        return Scores(found, notes=notes)


AVERAGED = (1, 2, 3, 5)
"""Numbers of texts in an average."""
COMPARED = ((1, 1), (2, 2), (3, 2))
"""Numbers of texts in two averages that are compared."""


def mean_direction(vectors: Float) -> Float:
    """The unit vectors [items, width] of the sums of unit vectors [items, texts, width]."""
    summed = vectors.sum(axis=1)
    unit: Float = summed / np.linalg.norm(summed, axis=1, keepdims=True)
    return unit


def disjoint(
    groups: Iterable[tuple[int, ...]], size: int, other: int
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The pairs of groups of these sizes that have nothing in common, each pair once."""
    known = list(groups)
    for first in (one for one in known if len(one) == size):
        for second in (one for one in known if len(one) == other):
            if not set(first) & set(second) and (size != other or first < second):
                yield first, second


def tot_of_wordings(
    wordings: Mapping[str, Wordings], pictures: Sequence[str], how: Arithmetic
) -> SugarCrepePlusPlus:
    """TOT and ITT of caption, rewording and contrast of a file; its kinds are the subsets."""
    parts = list(wordings.values())
    items = [item for part in parts for item in part.items]
    subsets = [
        Subset(
            kind,
            tuple((item.caption, dict(item.rewordings)[kind], item.contrast) for item in items),
            parts[0].hash,
            tuple(item.image for item in items),
        )
        for kind in parts[0].kinds
    ]
    paths = {Path(one).name: one for one in pictures}
    made = SugarCrepePlusPlus(
        subsets, how, Found({item.image: paths[item.image] for item in items})
    )
    made.name, made.pool = "tot-wordings", f"{len(items):,} captions, each with four wordings"
    return made
