"""Diversity of the paraphrases of a run, measured on a random sample of its triples."""

import random
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from paraclip.data.triples import TEXTS
from paraclip.errors import UserError
from paraclip.paraphrase.language.words import is_content, root, words

SAMPLE = 1000  # triples; distinct-n decreases with their number, so it is always reported
BLEU_REFERENCES = 100  # other paraphrases to which each is compared
BLEU_TEXTS = 200
LEAST_TAGGED = 30  # minimum number of triples for which the tagger is loaded
PAIRS = (*pairwise(TEXTS), (TEXTS[0], TEXTS[2]))


class Reservoir:
    """A uniform random sample of a stream (Vitter 1985, algorithm R).

    Args:
        size: maximum number of rows.
    """

    def __init__(self, size: int = SAMPLE) -> None:
        self.rows: list[Mapping[str, Any]] = []
        self._size, self._seen, self._random = size, 0, random.Random(0)

    def add(self, row: Mapping[str, Any]) -> None:
        """Offer one more row."""
        self._seen += 1
        if len(self.rows) < self._size:
            self.rows.append(row)
            return
        place = self._random.randrange(self._seen)
        if place < self._size:
            self.rows[place] = row


def diversity_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Measures of a sample of triples; None for those that cannot be computed.

    Returns:
        rows: number of triples in the sample.
        distinct_1, distinct_2: share of distinct words and word pairs over all of them, by text
            (Li et al. 2016).
        self_bleu: mean BLEU of a paraphrase against others, by text (Zhu et al. 2018); 0 to 100.
        lexical_distance: 1 − Jaccard similarity of the roots of content words, by pair of texts.
        syntactic_distance: edit distance of part-of-speech tags over the longer length, by pair;
            None without the extra `tags`, and for fewer than 30 triples.
    """
    texts = {name: [str(row[name]) for row in rows] for name in TEXTS}
    return {
        "rows": len(rows),
        "distinct_1": {name: distinct(texts[name], 1) for name in TEXTS},
        "distinct_2": {name: distinct(texts[name], 2) for name in TEXTS},
        "self_bleu": {name: self_bleu(texts[name]) for name in TEXTS[1:]},
        "lexical_distance": over_pairs(texts, lexical_distance),
        "syntactic_distance": syntactic_distances(texts),
    }


def distinct(texts: Sequence[str], length: int) -> float | None:
    """Share of distinct word n-grams among all n-grams."""
    tokens = [words(text) for text in texts]
    grams = [
        tuple(row[start : start + length])
        for row in tokens
        for start in range(len(row) - length + 1)
    ]
    return round(len(set(grams)) / len(grams), 4) if grams else None


def self_bleu(texts: Sequence[str]) -> float | None:
    """Mean sentence BLEU (sacrebleu) of texts against others of the sample, 0 to 100."""
    if len(texts) < 2:
        return None
    from sacrebleu.metrics.bleu import BLEU

    bleu = BLEU(effective_order=True)
    chosen = random.Random(0)
    scores = []
    for place in chosen.sample(range(len(texts)), min(BLEU_TEXTS, len(texts))):
        others = [text for other, text in enumerate(texts) if other != place]
        others = chosen.sample(others, min(BLEU_REFERENCES, len(others)))
        scores.append(bleu.sentence_score(texts[place], others).score)
    return round(float(sum(scores)) / len(scores), 2)


def over_pairs(texts: Mapping[str, Sequence[Any]], distance: Any) -> dict[str, float | None]:
    """The mean distance of each pair of texts."""
    return {
        f"{one} to {other}": mean(
            [distance(*pair) for pair in zip(texts[one], texts[other], strict=True)]
        )
        for one, other in PAIRS
    }


def mean(values: Sequence[float]) -> float | None:
    """The mean, rounded to four digits; None without values."""
    return round(sum(values) / len(values), 4) if values else None


def lexical_distance(one: str, other: str) -> float:
    """1 − Jaccard similarity of the roots of content words, 0 to 1."""
    first, second = ({root(w) for w in words(text) if is_content(w)} for text in (one, other))
    union = first | second
    return 1 - len(first & second) / len(union) if union else 0.0


def syntactic_distances(texts: Mapping[str, Sequence[str]]) -> dict[str, float | None] | None:
    """Distances of the tag sequences; None without spaCy and for few triples."""
    if len(texts[TEXTS[0]]) < LEAST_TAGGED:
        return None
    from paraclip.paraphrase.language.tagger import SpacyTagger

    try:
        tagger = SpacyTagger()
    except UserError:
        return None
    tags = {name: [[tag for _, tag in row] for row in tagger.tag(texts[name])] for name in TEXTS}
    return over_pairs(tags, edit_distance)


def edit_distance(one: Sequence[str], other: Sequence[str]) -> float:
    """Levenshtein distance over the longer length, 0 to 1."""
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, right in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (left != right))
    return row[-1] / max(len(one), len(other), 1)
