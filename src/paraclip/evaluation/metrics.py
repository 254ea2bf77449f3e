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

    A result at place i of A and j of B (from 0) is shared at every depth past max(i, j), so it
    adds the sum of 1/d over those depths.

    Args:
        first: pool positions [items, k], best first, no position twice in a row.
        second: the same for the other wording.

    Returns:
        [items], each 0 to 1.
    """
    k = first.shape[1]
    tails = np.cumsum(1.0 / np.arange(k, 0, -1))[::-1]
    places = np.maximum(np.arange(k)[:, None], np.arange(k)[None, :])
    same = first[:, :, None] == second[:, None, :]
    weighted: Float = np.einsum("nij,ij->n", same, tails[places] / k)
    return weighted


def jaccard(first: Integer, second: Integer) -> Float:
    """JS@k of two ranked lists: |A and B| / |A or B|; arguments as for `average_overlap`."""
    shared = shared_results(first, second)
    value: Float = shared / (2 * first.shape[1] - shared)
    return value


def shared_results(first: Integer, second: Integer) -> Integer:
    """How many results both lists hold, for each item [items]."""
    counted: Integer = (first[:, :, None] == second[:, None, :]).sum(axis=(1, 2))
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


def text_only_test(caption: Float, paraphrase: Float, negative: Float) -> Float:
    """TOT of SugarCrepe++: 1 where the paraphrases are nearer to each other than to the negative.

    sim(caption, paraphrase) must beat both sim(caption, negative) and sim(paraphrase, negative);
    a tie is wrong. Arguments are unit vectors [items, width].
    """
    near = cosine(caption, paraphrase)
    far = np.maximum(cosine(caption, negative), cosine(paraphrase, negative))
    return (near > far).astype(np.float64)


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
