"""Queries as people type them, and their right pictures: the third and the fourth report."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paraclip.data.reading import read_captions

QUERIES = Path(__file__).parent / "queries.jsonl"
FOURTH = Path(__file__).parents[1] / "fourth" / "queries.jsonl"
"""The same rows with repaired groups, for the fourth report."""
KINDS = (
    "one_word", "two_words", "three_or_four_words", "question", "plural", "phrase_without_article",
)  # fmt: skip
POOLS = ("flickr8k", "coco")

Concepts = Sequence[Sequence[str]]
"""Groups of words; a caption names a query if it has a word of each."""
Found = Mapping[str, set[tuple[str, int]]]
"""The captions (picture, number) that have a word."""


@dataclass(frozen=True)
class Query:
    """A row of a file, with the pictures that people's captions make right for it.

    Attributes:
        wording: another way to type `query`.
        contrast: a query of the same form with another meaning.
        less_common: the word of `wording` that is not an everyday one, or empty.
        concepts: groups of words and short phrases.
        right: file names of the right pictures, sorted.
        doubtful: those that one caption names and no other supports: neither right nor wrong.
    """

    id: str
    kind: str
    pool: str
    query: str
    wording: str
    contrast: str
    less_common: str
    concepts: tuple[tuple[str, ...], ...]
    right: tuple[str, ...]
    doubtful: tuple[str, ...]


def read_queries(data: Path, path: Path = QUERIES) -> list[Query]:
    """The queries with their right pictures, which the captions of the research data decide."""
    rows = read_rows(path)
    captions = {pool: captions_of(data, pool) for pool in POOLS}
    found = {
        pool: find_words(
            captions[pool],
            {word for row in rows if row["pool"] == pool for group in row["concepts"]
             for word in group},
        )
        for pool in POOLS
    }  # fmt: skip
    made = []
    for row in rows:
        right, doubtful = judge_pictures(row["concepts"], found[row["pool"]])
        concepts = tuple(map(tuple, row["concepts"]))
        made.append(Query(**{**row, "concepts": concepts}, right=right, doubtful=doubtful))
    return made


def read_rows(path: Path = QUERIES) -> list[dict[str, Any]]:
    """The rows of a file, without pictures."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def captions_of(data: Path, pool: str) -> dict[str, list[str]]:
    """The captions of each picture of a pool, by file name."""
    if pool == "coco":
        entries = json.loads((data / "coco" / "captions.json").read_text("utf-8"))
        return {entry["file_name"]: entry["captions"] for entry in entries}
    captions: dict[str, list[str]] = {}
    for row in read_captions(str(data / "flickr8k" / "captions.csv")):
        captions.setdefault(Path(row.image_id).name, []).append(row.caption)
    return captions


def find_words(captions: Mapping[str, Iterable[str]], wanted: set[str]) -> Found:
    """The captions that have each wanted word or phrase, as whole words in any case."""
    longest = max((len(word.split()) for word in wanted), default=0)
    found: dict[str, set[tuple[str, int]]] = {word: set() for word in wanted}
    for picture, texts in captions.items():
        for number, text in enumerate(texts):
            words = re.findall("[a-z0-9]+", text.lower())
            for start in range(len(words)):
                for end in range(start + 1, min(start + longest, len(words)) + 1):
                    phrase = " ".join(words[start:end])
                    if phrase in found:
                        found[phrase].add((picture, number))
    return found


def judge_pictures(concepts: Concepts, found: Found) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The right and the doubtful pictures of a query.

    A picture is right if one of its captions has a word of every group, and another one has a word
    of every group, or of all groups but one where there are several. It is doubtful if only the
    first holds.
    """
    named: Counter[tuple[str, int]] = Counter()
    for group in concepts:
        named.update({caption for word in group for caption in found[word]})
    groups: dict[str, list[int]] = defaultdict(list)
    for (picture, _), count in named.items():
        groups[picture].append(count)
    right: list[str] = []
    doubtful: list[str] = []
    for picture, counts in sorted(groups.items()):
        best, second = sorted([*counts, 0], reverse=True)[:2]
        if best == len(concepts):
            supported = second >= max(len(concepts) - 1, 1)
            (right if supported else doubtful).append(picture)
    return tuple(right), tuple(doubtful)
