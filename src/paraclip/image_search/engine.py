"""Queries with words and pictures, answered by one or several models over one index."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from paraclip.arrays import Float
from paraclip.data.images import open_image
from paraclip.errors import UserError
from paraclip.evaluation.metrics import average_overlap, cutoff_above, jaccard, shared_results
from paraclip.image_search.snapshot import Hit, open_pool
from paraclip.image_search.towers import (
    LONGEST_QUERY,
    TextTower,
    TorchTower,
    model_stamp,
    open_tower,
)
from paraclip.starter import unrelated_texts
from paraclip.store import IndexFacts, Store, vectors_of

_DEPTH = 10  # depth of the overlaps
_MOST = 1_000_000  # pictures of a huge index that unrelated texts are compared with


@dataclass(frozen=True)
class Query:
    """A query; at least one part is not empty."""

    text: str = ""
    plus: tuple[str, ...] = ()  # further texts whose vectors are added
    minus: tuple[str, ...] = ()  # texts whose vectors are subtracted
    picture: Float | None = None  # unit vector [width] of a picture

    @property
    def texts(self) -> list[str]:
        """All texts, truncated to a length that models can read."""
        return [one[:LONGEST_QUERY] for one in (self.text, *self.plus, *self.minus) if one.strip()]

    @property
    def is_text(self) -> bool:
        """Whether the query is one text; similarities of others are on another scale."""
        return self.picture is None and self.texts == [self.text[:LONGEST_QUERY]]


@dataclass(frozen=True)
class ModelHits:
    """Results of a query by one model."""

    hits: list[Hit]  # best first; those that are not close are marked
    cutoff: float | None  # the similarity that close results exceed; None: all are close


@dataclass(frozen=True)
class Overlap:
    """Agreement of two rankings.

    Args:
        depth: number of results of each ranking that are compared.
        ao, js: AO and JS at this depth, in percent.
        shared: number of results in both.
    """

    depth: int
    ao: float
    js: float
    shared: int


def combine_vectors(query: Query, vectors: Sequence[Float]) -> Float:
    """The unit vector of a query: the sum of its parts' vectors, minus those to avoid.

    `vectors` are the unit vectors [width] of `query.texts`. Raises UserError if there are no parts,
    or they cancel each other.
    """
    if not vectors and query.picture is None:
        raise _empty_query()
    added = len(vectors) - sum(bool(text.strip()) for text in query.minus)  # `texts` has no blanks
    parts = [*vectors[:added], *(-vector for vector in vectors[added:])]
    total = np.sum([*parts, *([] if query.picture is None else [query.picture])], axis=0)
    length = float(np.linalg.norm(total))
    if not length > 1e-6:  # or NaN
        raise UserError("query", "its parts cancel each other", "Leave one of them out.")
    return np.asarray(total / length, np.float32)


def _empty_query() -> UserError:
    return UserError("query", "it is empty", "Describe a picture, or give one with --image.")


def measure_overlap(first: Sequence[str], second: Sequence[str]) -> Overlap:
    """AO and JS of two rankings of ids, at depth 10 or less."""
    depth = min(_DEPTH, len(first), len(second))
    if not depth:
        return Overlap(0, 0.0, 0.0, 0)
    numbers = {one: number for number, one in enumerate([*first, *second])}
    ranks = [np.array([[numbers[one] for one in ids[:depth]]]) for ids in (first, second)]
    ao, js = average_overlap(*ranks)[0], jaccard(*ranks)[0]
    return Overlap(depth, 100 * float(ao), 100 * float(js), int(shared_results(*ranks)[0]))


def choose_models(facts: IndexFacts, given: str | None) -> dict[str, str]:
    """Names of models by label, from `--models`: labels of the index, or LABEL=MODEL.

    Without any, the index's tuned model, else its base. Raises UserError for an unknown label.
    """
    if given is None:
        best = "tuned" if "tuned" in facts.models else next(iter(facts.models))
        return {best: facts.models[best]}
    chosen: dict[str, str] = {}
    for word in filter(None, (part.strip() for part in given.split(","))):
        label, equals, name = word.partition("=")
        if not equals and label not in facts.models:
            known = ", ".join(facts.models)
            hint = f"The index has {known}; name another model as {label}=MODEL."
            raise UserError("--models", f"the index has no model {label!r}", hint)
        if equals and not (label and name):
            raise UserError("--models", f"{word!r} is not LABEL=MODEL", "As in tuned=FILE.")
        chosen[label] = name if equals else facts.models[label]
    if not chosen:
        raise UserError("--models", "names no model", "Give labels, as in base,tuned.")
    return chosen


def search_index(
    query: str,
    index: str,
    *,
    image: str | None = None,
    plus: Sequence[str] = (),
    minus: Sequence[str] = (),
    models: str | None = None,
    k: int = 10,
    cutoff: float | Literal["auto"] | None = None,
) -> tuple[dict[str, ModelHits], IndexFacts]:
    """The first k results of each model, and the facts of the index.

    See `SearchConfig` for the arguments. `cutoff="auto"` applies if the query is one text.

    Raises:
        UserError: the query is empty, or the index, a model or the picture cannot be used.
    """
    asked = Query(query, tuple(plus), tuple(minus))
    if not (asked.texts or image):  # before models are loaded
        raise _empty_query()
    store = Store(index)
    facts, _, pool = open_pool(store)
    names = choose_models(facts, models)
    towers = {label: open_tower(name, facts, store.where) for label, name in names.items()}
    if image:
        tower = next(iter(towers.values()))
        if not isinstance(tower, TorchTower):  # any will do: they have one image tower
            tower = TorchTower(tower.name)
        picture = tower.embed_image(open_image(image, tower.model.image_size))
        asked = replace(asked, picture=picture)
    vectors = [
        combine_vectors(asked, list(tower.embed(asked.texts)) if asked.texts else [])
        for tower in towers.values()
    ]
    if cutoff == "auto":
        cutoffs = measure_cutoffs(store, facts, towers) if asked.is_text else {}
    else:
        cutoffs = {} if cutoff is None else dict.fromkeys(towers, cutoff)
    answers = {}
    for label, hits in zip(towers, pool.nearest(np.stack(vectors), k), strict=True):
        answers[label] = ModelHits(mark_close(hits, cutoffs.get(label)), cutoffs.get(label))
    return answers, facts


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
