"""Pairs of wordings with what either model finds for them, out of any benchmark that ranks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paraclip.evaluation.benchmark import Benchmark, Scores
from paraclip.evaluation.metrics import average_overlap
from paraclip.evaluation.paraphrased_retrieval import ParaphrasedRetrieval
from paraclip.evaluation.variations import Variations

Integer = NDArray[np.integer]
Rankings = tuple[Integer, Integer]
"""Pool positions [pairs, k] of the first and of the second wording."""

EACH = 30


@dataclass(frozen=True, eq=False)
class Examples:
    """All pairs of one benchmark.

    Args:
        name: of the benchmark, as the report calls it.
        pool: what is searched, in words.
        references: pictures of the pool, paths or URLs.
        texts: both wordings of each pair.
        kinds: what sort of rewording each is; empty where there is one sort only.
        rankings: of each model by its label.
    """

    name: str
    pool: str
    references: Sequence[str]
    texts: Sequence[tuple[str, str]]
    kinds: Sequence[str]
    rankings: Mapping[str, Rankings]


def examples_of(benchmark: Benchmark, scores: Mapping[str, Scores], name: str) -> Examples | None:
    """The pairs of a benchmark, or None where it ranks no pictures of its own pool.

    Args:
        benchmark: what was run.
        scores: of each model.
        name: of the benchmark in the report.
    """
    if isinstance(benchmark, ParaphrasedRetrieval):
        texts = list(zip(benchmark.pairs.captions, benchmark.pairs.paraphrases, strict=True))
        kinds = [""] * len(texts)
        second = "paraphrase_ranking"
    elif isinstance(benchmark, Variations):
        texts, kinds = reworded(benchmark, next(iter(scores.values())))
        second = "rewording_ranking"
    else:
        return None
    if not benchmark.searched.references or not texts:
        return None
    rankings = {
        label: (found.arrays["caption_ranking"], found.arrays[second])
        for label, found in scores.items()
    }
    return Examples(name, benchmark.pool, benchmark.searched.references, texts, kinds, rankings)


def reworded(benchmark: Variations, scores: Scores) -> tuple[list[tuple[str, str]], list[str]]:
    """Caption and rewording of every ranking, and the kind of rewording."""
    numbers = zip(benchmark.item.tolist(), benchmark.kind.tolist(), strict=True)
    texts = dict(zip(numbers, benchmark.reworded, strict=True))
    asked = list(zip(scores.arrays["item"].tolist(), scores.arrays["kind"].tolist(), strict=True))
    pairs = [(benchmark.kept[item].caption, texts[item, kind]) for item, kind in asked]
    return pairs, [benchmark.wordings.kinds[kind] for _, kind in asked]


def overlaps(rankings: Rankings) -> NDArray[np.floating]:
    """AO@k of each pair [pairs], 0 to 1."""
    return average_overlap(*rankings)


def most_changed(gains: NDArray[np.floating], each: int = EACH) -> list[int]:
    """Numbers of the pairs that gained most and that lost most, at most `each` of either.

    A pair that did not change is never taken. Greatest change first, equal ones by their order.
    """
    order = np.argsort(-gains, kind="stable")
    won = [int(number) for number in order[:each] if gains[number] > 0]
    lost = [int(number) for number in order[::-1][:each] if gains[number] < 0]
    return sorted({*won, *lost}, key=lambda number: (-abs(float(gains[number])), number))
