"""What unrelated queries get from an index, so that a search can say "nothing close".

Every query has a best picture. Close results have a higher similarity than the best ones of texts
that no picture shows: the first half of a caption of the starter set with the second half of
another, since a broad index may have a picture for each caption alone. The cut-off is made of the
median and the lower half of these similarities, which a few texts that fit hardly move. Normalising
each query or picture, as by z-scores, told absent from present subjects no better
(docs/benchmarks.md). Every model has a cut-off of its own.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from paraclip.arrays import Float
from paraclip.image_search.snapshot import Hit
from paraclip.image_search.towers import TextTower, model_stamp
from paraclip.starter import TRIPLES
from paraclip.stores import IndexFacts, Store, vectors_of

_TEXTS = 300
_MOST = 1_000_000  # pictures of a huge index in which the best ones are looked for
_SPREADS = 0.75  # chosen on COCO: docs/benchmarks.md


def mark_close(hits: Sequence[Hit], cutoff: float | None) -> list[Hit]:
    """The results, each close or not; without a cut-off, all are close."""
    return [replace(hit, close=cutoff is None or hit.score > cutoff) for hit in hits]


def measure_cutoffs(
    store: Store, facts: IndexFacts, towers: Mapping[str, TextTower]
) -> dict[str, float]:
    """The cut-off of each model by its label; measured now where the index states none."""
    stamps = {label: model_stamp(tower.name) for label, tower in towers.items()}
    embed = {stamps[label]: tower.embed for label, tower in towers.items()}
    missing = {stamp: one for stamp, one in embed.items() if stamp not in facts.cutoffs}
    known = {**facts.cutoffs, **(cutoffs_of(store, missing) if missing else {})}
    return {label: known[stamp] for label, stamp in stamps.items() if stamp in known}


def cutoffs_of(
    store: Store, models: Mapping[str, Callable[[Sequence[str]], Float]]
) -> dict[str, float]:
    """The cut-offs of models by stamp, from one pass over the index; none for an empty one.

    `models` are functions that return unit vectors [texts, width].
    """
    texts = unrelated_texts()
    queries = np.concatenate([embed(texts) for embed in models.values()])
    best, seen = np.full(len(queries), -np.inf), 0
    for part in store.batches(("vector",)):
        best = np.maximum(best, (queries @ vectors_of(part).T).max(axis=1, initial=-np.inf))
        if (seen := seen + len(part)) >= _MOST:
            break
    by_model = best.reshape(len(models), len(texts))
    return {stamp: cutoff_above(one) for stamp, one in zip(models, by_model, strict=True) if seen}


def cutoff_above(best: Float) -> float:
    """The cut-off from the best similarities of unrelated texts [texts]."""
    low, median = np.quantile(best, (0.16, 0.5))  # a standard deviation apart, if normal
    return float(median + _SPREADS * (median - low))


@cache
def unrelated_texts() -> list[str]:
    """Texts that no picture shows, always the same."""
    lines = random.Random(0).sample(TRIPLES.read_text(encoding="utf-8").splitlines(), _TEXTS)
    captions = [json.loads(line)["caption"].split() for line in lines]
    pairs = zip(captions, [*captions[1:], captions[0]], strict=True)
    return [" ".join([*one[: len(one) // 2], *two[len(two) // 2 :]]) for one, two in pairs]
