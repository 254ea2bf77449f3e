"""Metrics as functions of arrays; most return one value per item. Last, the cut-off of results."""

import warnings

import numpy as np
from numpy.typing import NDArray

from paraclip.arrays import Float, Integers


def average_overlap(first: Integers, second: Integers) -> Float:
    """Average overlap AO@k of two rankings: (1/k) sum over d = 1..k of |A[:d] and B[:d]| / d.

    The rankings are pool positions [items, k], best first, without duplicates in a row; the result
    is [items], each 0 to 1. Source: arXiv 2402.15120, after Fagin et al. 2003 and Webber et al.
    2010.
    """
    averaged: Float = _agreement(first, second).mean(axis=1)
    return averaged


def jaccard(first: Integers, second: Integers) -> Float:
    """Jaccard similarity JS@k of two rankings: |A and B| / |A or B|; see `average_overlap`."""
    shared = shared_results(first, second)
    value: Float = shared / (2 * first.shape[1] - shared)
    return value


def rank_biased_overlap(first: Integers, second: Integers, p: float = 0.9) -> Float:
    """Extrapolated rank-biased overlap of two rankings (Webber et al. 2010, equation 32), as for
    `average_overlap`.

    (|A and B| / k) p^k + ((1 - p) / p) sum over d = 1..k of (|A[:d] and B[:d]| / d) p^d. Beyond
    depth k, the agreement is assumed to equal that at depth k. Equal lists score 1. With a
    persistence p of 0.9, the first ten ranks carry 86 % of the weight.
    """
    agreed = _agreement(first, second)
    k = first.shape[1]
    weights = p ** np.arange(1, k + 1)
    value: Float = agreed[:, -1] * p**k + (1 - p) / p * (agreed @ weights)
    return value


def _agreement(first: Integers, second: Integers) -> Float:
    """Return |A[:d] and B[:d]| / d of two rankings at every depth d = 1..k [items, k]."""
    items, k = first.shape
    # A result with index i in A and j in B is shared at every depth greater than max(i, j).
    places = np.maximum(np.arange(k), _places_in(first, second))
    met = np.zeros((items, k + 1), np.int64)  # the last column: those that are not shared
    # Not `+=`, which adds once where two results are first shared at one depth.
    np.add.at(met, (np.arange(items)[:, None], np.minimum(places, k)), 1)
    shared: Float = met[:, :k].cumsum(axis=1) / np.arange(1, k + 1)
    return shared


def _places_in(first: Integers, second: Integers) -> Integers:
    """Return the index in `second` of each result of `first` [items, k]; k if absent."""
    items, k = first.shape
    # Offset each row by more than the largest position, so that one search covers all rows.
    step = 1 + max(first.max(initial=0), second.max(initial=0))
    rows = step * np.arange(items)[:, None]
    order = np.argsort(second, axis=1)
    sorted_keys = (np.take_along_axis(second, order, axis=1) + rows).ravel()
    keys = (first + rows).ravel()
    # [items * k]; a key above all others has no index, and is not equal to the last of them.
    indices = np.minimum(np.searchsorted(sorted_keys, keys), items * k - 1)
    places: Integers = np.where(sorted_keys[indices] == keys, order.ravel()[indices], k)
    return places.reshape(items, k)


def shared_results(first: Integers, second: Integers) -> Integers:
    """Return the number of results that two rankings share, for each item [items]."""
    counted: Integers = (_places_in(first, second) < first.shape[1]).sum(axis=1)
    return counted


def first_relevant(relevant: NDArray[np.bool_]) -> Integers:
    """Return the 0-based rank of the first correct result [items], given which are [items, k]; k if
    none is."""
    # `argmax` is the first True, and 0 without any.
    rank: Integers = np.where(relevant.any(axis=1), relevant.argmax(axis=1), relevant.shape[1])
    return rank


def recall(places: Integers, k: int) -> Float:
    """Return R@k of each item [items]: 1 if the first correct result is in the first k, else 0."""
    return (places < k).astype(np.float64)


def reciprocal_rank(places: Integers, k: int) -> Float:
    """Return 1 / rank of the first correct result [items]; 0 if it is not in the first k."""
    return np.where(places < k, 1 / (places + 1.0), 0.0)


def cosine(first: Float, second: Float) -> Float:
    """Return the row-wise cosine of two arrays of unit vectors [items, width], in float64."""
    product: Float = (first.astype(np.float64) * second.astype(np.float64)).sum(axis=1)
    return product


def text_only_test(caption: Float, paraphrase: Float, negative: Float) -> Float:
    """TOT of SugarCrepe++: 1 where the paraphrases are closer to each other than to the negative.

    sim(caption, paraphrase) must exceed both sim(caption, negative) and sim(paraphrase, negative);
    a tie counts as wrong. Arguments are unit vectors [items, width].
    """
    near = cosine(caption, paraphrase)
    far = np.maximum(cosine(caption, negative), cosine(paraphrase, negative))
    return (near > far).astype(np.float64)


def image_text_test(image: Float, caption: Float, paraphrase: Float, negative: Float) -> Float:
    """ITT of SugarCrepe++: 1 where the picture is closer to both wordings than to the negative.

    A tie counts as wrong. Arguments are unit vectors [items, width].
    """
    near = np.minimum(cosine(image, caption), cosine(image, paraphrase))
    return (near > cosine(image, negative)).astype(np.float64)


def mean(items: Float) -> float:
    """Return the mean of the items; NaN if there are none."""
    return float(items.mean()) if len(items) else float("nan")


def spearman(pairs: Float) -> float:
    """Return the rank correlation of two columns [items, 2]; NaN if a column is constant."""
    return _correlation("spearmanr", pairs)


def pearson(pairs: Float) -> float:
    """Return the linear correlation of two columns [items, 2]; NaN if a column is constant."""
    return _correlation("pearsonr", pairs)


def _correlation(function: str, pairs: Float) -> float:
    from scipy import stats  # the import takes half a second, too long for a search

    if len(pairs) < 2:
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constant columns give NaN
        return float(getattr(stats, function)(pairs[:, 0], pairs[:, 1]).statistic)


SPREADS = 0.75
"""Height of the cut-off over the median, in distances to the 16 % quantile: docs/benchmarks.md."""


def cutoff_above(best: Float, spreads: float = SPREADS) -> float:
    """The cut-off from the best similarities of unrelated texts [texts].

    Every query has a best picture. Close results have a higher similarity than the best ones of
    texts that no picture shows. The cut-off is made of the median and the lower half of these,
    which a few texts that fit hardly move. Every model has its own. docs/benchmarks.md has its
    errors for what is present, and absent.
    """
    low, median = np.quantile(best, (0.16, 0.5))  # a standard deviation apart, if normal
    return float(median + spreads * (median - low))
