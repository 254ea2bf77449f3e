"""What the fourth report measures besides: slips of typing, half-truths and relations on pictures.

A consistent model finds the same pictures whatever the case of a query; one that only agrees would
also find them for a text with a wrong detail, or with two things exchanged.
"""

import csv
import html
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paraclip.arrays import Float
from paraclip.compute.exact_search import top_k
from paraclip.evaluation import metrics
from paraclip.evaluation.benchmark import Arithmetic, Benchmark, Scores, text_vectors
from paraclip.evaluation.pairs import Wording
from paraclip.evaluation.pictures import Pool, image_vectors
from paraclip.evaluation.statistics import Metric
from paraclip.files import text_hash
from paraclip.models.encoder import DualEncoder

CUTOFF = 10
SYMMETRIC = ("with", "near", "next to", "beside", "by", "and", "while", "together", "alongside")
"""Last words of relations that hold both ways."""
COLUMNS = ("Entity1", "Relation", "Entity2")


def own_scores(
    model: DualEncoder, benchmark: Benchmark, columns: Sequence[Sequence[str]], cache: Path | None
) -> tuple[list[Float], list[str]]:
    """Cosines of each of a benchmark's pictures with its text of each column; notes on pictures."""
    images, good, notes = image_vectors(model, benchmark.pictures, cache, benchmark.how)
    vectors = (text_vectors(model, one, benchmark.how, benchmark.name)[good] for one in columns)
    return [(images * one).sum(axis=1) for one in vectors], notes


class Slips:
    """Agreement of a text with itself as it is also typed, AO@10: nothing of the meaning changes.

    A full stop at the end, capitals throughout, and two neighbouring letters of its longest word
    exchanged.

    Source: arXiv 2511.04247, where small changes of a query change a fifth of what is found.
    """

    def __init__(self, name: str, texts: Sequence[str], pool: Pool, how: Arithmetic) -> None:
        self.name, self.how, self.pictures = name, how, pool.references
        self.texts = tuple(dict.fromkeys(texts))
        self.pool = f"{len(self.texts):,} texts in three spellings, over {pool.describe()}"
        self.data = {"texts_hash": text_hash("\n".join(self.texts)), **pool.facts()}

    def score(self, model: DualEncoder, cache: Path | None) -> Scores:
        """Search for each text in all spellings."""
        images, good, notes = image_vectors(model, self.pictures, cache, self.how)

        def found(texts: Sequence[str]) -> Float:
            return good[top_k(text_vectors(model, texts, self.how, self.name), images, CUTOFF)]

        plain, spellings = found(self.texts), {
            "full stop": [f"{text.rstrip('.!?')}." for text in self.texts],
            "capitals": [text.upper() for text in self.texts],
            "typing slip": [exchange_letters(text) for text in self.texts],
        }  # fmt: skip
        return Scores(
            [Metric(f"AO@10 {name}", metrics.average_overlap(plain, found(texts)))
             for name, texts in spellings.items()],
            notes=notes,
        )  # fmt: skip


def exchange_letters(text: str) -> str:
    """A text with two neighbouring letters of its longest word exchanged, always the same two."""
    word = max(text.split(), key=len)
    inner = [place for place in range(1, len(word) - 1) if word[place] != word[place + 1]]
    if not inner:
        return f"{text}{text[-1]}"
    at = random.Random(text).choice(inner)
    return text.replace(word, word[:at] + word[at + 1] + word[at] + word[at + 2 :], 1)


class HalfTruths:
    """Whether a picture is nearer to a true text than to one that has a wrong detail.

    The true text is the whole caption, or its short form, which says less than the false one.
    By chance, half of the items are right.

    Source: CS-CLIP, arXiv 2602.23906.
    """

    def __init__(self, name: str, wordings: Sequence[Wording], pool: Pool, how: Arithmetic) -> None:
        place = {Path(one).name: number for number, one in enumerate(pool.references)}
        self.name, self.how = name, how
        self.items = [one for one in wordings if one.image in place]
        self.pictures = tuple(pool.references[place[one.image]] for one in self.items)
        self.pool = f"{len(self.items):,} captions, a short form and a contrast of each"
        texts = [text for one in self.items for text in self._texts(one)]
        self.data = {"texts_hash": text_hash("\n".join([*texts, *self.pictures]))}

    @staticmethod
    def _texts(one: Wording) -> tuple[str, str, str]:
        return one.caption, dict(one.rewordings)["short"], one.contrast

    def score(self, model: DualEncoder, cache: Path | None) -> Scores:
        """Compare the texts of each picture."""
        columns = list(zip(*map(self._texts, self.items), strict=True))
        (caption, short, contrast), notes = own_scores(model, self, columns, cache)
        return Scores(
            [Metric("caption over contrast", (caption > contrast).astype(np.float64)),
             Metric("short over contrast", (short > contrast).astype(np.float64))],
            notes=notes,
        )  # fmt: skip


@dataclass(frozen=True)
class Relation:
    """A relation that people judged true of a picture."""

    picture: str
    first: str
    relation: str
    second: str


def read_relations(folder: Path, pool: Pool) -> list[Relation]:
    """Relations between two different things of the pool's pictures, which are true one way alone.

    Args:
        folder: of `testSplit_AMT.csv` and `valSplit_AMT.csv`, from
            github.com/codecreator2053/VR_ClassifiedDataset.
        pool: Flickr8k's pictures, whose names begin with the number that the files have.
    """
    names = {Path(one).name.partition("_")[0]: one for one in pool.references}
    found: dict[Relation, None] = {}
    for file in ("testSplit_AMT.csv", "valSplit_AMT.csv"):
        with (folder / file).open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                if row["Answer"] == "1" and row["ImageID"] in names:
                    parts = (html.unescape(row[name]).strip(" ,") for name in COLUMNS)
                    found[Relation(names[row["ImageID"]], *parts)] = None
    symmetric = tuple(f" {one}" for one in SYMMETRIC)
    return [
        one for one in found
        if one.first.casefold() != one.second.casefold()
        and not f" {one.relation}".endswith(symmetric)
    ]  # fmt: skip


class Relations:
    """Whether a picture is nearer to a relation that holds than to the two things exchanged.

    Like VG-Relation of ARO (Yuksekgonul et al. 2023), with pictures that no model was trained on.
    By chance, half of the items are right. Items of one picture are drawn together.
    """

    name = "relations"

    def __init__(self, relations: Sequence[Relation], how: Arithmetic) -> None:
        self.relations, self.how = list(relations), how
        self.pictures = tuple(one.picture for one in self.relations)
        count = len(set(self.pictures))
        self.pool = f"{len(self.relations):,} relations on {count:,} pictures"
        texts = [f"{one.first} {one.relation} {one.second}" for one in self.relations]
        self.data = {"texts_hash": text_hash("\n".join([*texts, *self.pictures]))}

    def score(self, model: DualEncoder, cache: Path | None) -> Scores:
        """Compare both orders for each picture."""
        columns = [
            [f"{one.first} {one.relation} {one.second}" for one in self.relations],
            [f"{one.second} {one.relation} {one.first}" for one in self.relations],
        ]
        (true, false), notes = own_scores(model, self, columns, cache)
        clusters = np.unique(self.pictures, return_inverse=True)[1]
        return Scores(
            [Metric("true order", (true > false).astype(np.float64), clusters=clusters)],
            notes=notes,
        )
