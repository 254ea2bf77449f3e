"""The cut-offs of an index's models, above which a result is close (see `evaluation.unrelated`)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from paraclip.arrays import Float
from paraclip.evaluation.unrelated import cutoff_above, unrelated_texts
from paraclip.image_search.snapshot import Hit
from paraclip.image_search.towers import TextTower, model_stamp
from paraclip.store import IndexFacts, Store, vectors_of

_MOST = 1_000_000  # pictures of a huge index in which the best ones are looked for


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
    best, seen = np.full(len(queries), -np.inf), 0  # best [models x texts]
    for part in store.batches(("vector",)):
        best = np.maximum(best, (queries @ vectors_of(part).T).max(axis=1, initial=-np.inf))
        if (seen := seen + len(part)) >= _MOST:
            break
    by_model = best.reshape(len(models), len(texts))
    return {stamp: cutoff_above(one) for stamp, one in zip(models, by_model, strict=True) if seen}
