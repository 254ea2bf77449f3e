"""The figures themselves, as plain functions of arrays; every one returns a value for each item."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Float = NDArray[np.floating]
Integer = NDArray[np.integer]


def average_overlap(first: Integer, second: Integer) -> Float:
    """AO@k of two ranked lists: (1/k) sum over d = 1..k of |A[:d] and B[:d]| / d.

    Source: arXiv 2402.15120, after Fagin et al. 2003 and Webber et al. 2010.

    Args:
        first: pool positions [items, k], best first, no position twice in a row.
        second: the same for the other wording.

    Returns:
        [items], each 0 to 1.
    """
    averaged: Float = agreement(first, second).mean(axis=1)
    return averaged


def jaccard(first: Integer, second: Integer) -> Float:
    """JS@k of two ranked lists: |A and B| / |A or B|; arguments as for `average_overlap`."""
    shared = shared_results(first, second)
    value: Float = shared / (2 * first.shape[1] - shared)
    return value


def rank_biased_overlap(first: Integer, second: Integer, p: float = 0.9) -> Float:
    """Extrapolated rank-biased overlap of two ranked lists (Webber et al. 2010, equation 32).

    (|A and B| / k) p^k + ((1 - p) / p) sum over d = 1..k of (|A[:d] and B[:d]| / d) p^d: what lies
    past depth k is taken to agree as much as the lists do at depth k. 1 for equal lists.

    Args:
        first: pool positions [items, k], best first, no position twice in a row.
        second: the same for the other wording.
        p: 0 to 1, how far down a reader goes; with 0.9 the first ten places weigh 86 %.

    Returns:
        [items], each 0 to 1.
    """
    agreed = agreement(first, second)
    k = first.shape[1]
    weights = p ** np.arange(1, k + 1)
    value: Float = agreed[:, -1] * p**k + (1 - p) / p * (agreed @ weights)
    return value


def first_changes(first: Integer, second: Integer) -> Float:
    """1 where the two lists [items, k] begin with different results, else 0 [items]."""
    changed: Float = (first[:, 0] != second[:, 0]).astype(np.float64)
    return changed


def agreement(first: Integer, second: Integer) -> Float:
    """|A[:d] and B[:d]| / d of two ranked lists at every depth d = 1..k [items, k]."""
    items, k = first.shape
    # A result at place i of A and j of B (from 0) is shared at every depth past max(i, j).
    places = np.maximum(np.arange(k), places_in(first, second))
    met = np.zeros((items, k + 1), np.int64)
    np.add.at(met, (np.arange(items)[:, None], np.minimum(places, k)), 1)
    shared: Float = met[:, :k].cumsum(axis=1) / np.arange(1, k + 1)
    return shared


def places_in(first: Integer, second: Integer) -> Integer:
    """Place from 0 in the row of `second` of each result of `first` [items, k]; k if not there."""
    items, k = first.shape
    # Rows are told apart by a step that is larger than any position, so one search serves all.
    step = 1 + max(first.max(initial=0), second.max(initial=0))
    rows = step * np.arange(items)[:, None]
    order = np.argsort(second, axis=1)
    sorted_keys = (np.take_along_axis(second, order, axis=1) + rows).ravel()
    keys = (first + rows).ravel()
    found = np.minimum(np.searchsorted(sorted_keys, keys), items * k - 1)
    places: Integer = np.where(sorted_keys[found] == keys, order.ravel()[found], k)
    return places.reshape(items, k)


def shared_results(first: Integer, second: Integer) -> Integer:
    """How many results both lists hold, for each item [items]."""
    counted: Integer = (places_in(first, second) < first.shape[1]).sum(axis=1)
    return counted


def first_relevant(relevant: NDArray[np.bool_]) -> Integer:
    """Place from 0 of the first right result [items]; k where there is none.

    Args:
        relevant: [items, k], whether the result at that place is right.
    """
    place: Integer = np.where(relevant.any(axis=1), relevant.argmax(axis=1), relevant.shape[1])
    return place


def recall(places: Integer, k: int) -> Float:
    """R@k for each item [items]: 1 where the first right result is among the first k, else 0."""
    return (places < k).astype(np.float64)


def cosine(first: Float, second: Float) -> Float:
    """Cosine of each row of unit vectors [items, width] with the row beside it, in float64."""
    product: Float = (first.astype(np.float64) * second.astype(np.float64)).sum(axis=1)
    return product


def nearer(anchor: Float, near: Float, far: Float) -> Float:
    """1 where the anchor is nearer to `near` than to `far`; a tie is wrong.

    Args:
        anchor: unit vectors [items, width]: of the pictures, or of the captions.
        near: what should be nearer [items, width].
        far: what should not [items, width].

    Returns:
        [items], each 0 or 1.
    """
    return (cosine(anchor, near) > cosine(anchor, far)).astype(np.float64)


def text_only_test(caption: Float, paraphrase: Float, negative: Float) -> Float:
    """TOT of SugarCrepe++: 1 where the paraphrases are nearer to each other than to the negative.

    sim(caption, paraphrase) must beat both sim(caption, negative) and sim(paraphrase, negative);
    a tie is wrong. Arguments are unit vectors [items, width].
    """
    near = cosine(caption, paraphrase)
    far = np.maximum(cosine(caption, negative), cosine(paraphrase, negative))
    return (near > far).astype(np.float64)


def image_text_test(image: Float, caption: Float, paraphrase: Float, negative: Float) -> Float:
    """ITT of SugarCrepe++: 1 where the picture is nearer to both wordings than to the negative.

    A tie is wrong. Arguments are unit vectors [items, width].
    """
    both: Float = nearer(image, caption, negative) * nearer(image, paraphrase, negative)
    return both


def mean(items: Float) -> float:
    """The mean of the items; NaN where there is none."""
    return float(items.mean()) if len(items) else float("nan")


def spearman(pairs: Float) -> float:
    """Rank correlation of the two columns of [items, 2]; NaN where a column is constant."""
    return _correlation(stats.spearmanr, pairs)


def pearson(pairs: Float) -> float:
    """Linear correlation of the two columns of [items, 2]; NaN where a column is constant."""
    return _correlation(stats.pearsonr, pairs)


def _correlation(function: Callable[..., Any], pairs: Float) -> float:
    if len(pairs) < 2:
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a constant column: the NaN says it
        return float(function(pairs[:, 0], pairs[:, 1]).statistic)
