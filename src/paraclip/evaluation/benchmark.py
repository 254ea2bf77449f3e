"""Interfaces of benchmarks and scores."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paraclip.arrays import Float, Integers
from paraclip.evaluation.statistics import Metric
from paraclip.evaluation.vectors import Arithmetic
from paraclip.models.encoder import DualEncoder


def numbered(names: ArrayLike) -> Integers:
    """Return an integer for each name [items], equal for equal names; used for clusters."""
    numbers: Integers = np.unique(names, return_inverse=True)[1]
    return numbers


def grouped(
    name: str, items: Float, groups: Integers, labels: Sequence[str], clusters: Integers,
    headline: bool = True,
) -> list[Metric]:  # fmt: skip
    """Return the macro mean over groups, the micro mean over items, and the mean of each group."""
    results = [
        Metric(name, items, groups=groups, clusters=clusters, headline=headline),
        Metric(f"{name} micro", items, clusters=clusters, headline=False),
    ]
    for number in np.unique(groups):
        own = groups == number
        label = f"{name} {labels[number]}"
        results.append(Metric(label, items[own], clusters=clusters[own], headline=False))
    return results


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one model on one benchmark."""

    metrics: list[Metric]  # metrics, in the order of the report
    # further arrays per item, saved with the report (rankings for the example browser)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    # notes for the report ("3 of 100 pictures left out")
    notes: list[str] = field(default_factory=list)


class Benchmark(Protocol):
    """One benchmark on one data set, with the same items in the same order for every model.

    Attributes:
        name: name on the command line.
        pool: description of what is searched or compared, with its size.
        data: JSON-serialisable facts for the report: sources, hashes, sizes.
        pictures: references of the pictures used; empty for text benchmarks.
        how: precision and batch size of the vectors.
    """

    name: str
    pool: str
    data: dict[str, Any]
    pictures: tuple[str, ...]
    how: Arithmetic

    def score(self, model: DualEncoder, cache: Path | None) -> Scores:
        """Score a model; image features are cached in the folder `cache`, if given.

        Raises:
            UserError: if the data or the model's vectors cannot be scored.
        """
        ...


@dataclass(frozen=True, eq=False)
class Shown:
    """Examples of a benchmark that ranks pictures for two wordings of each query."""

    texts: Sequence[tuple[str, str]]  # both wordings of each pair
    kinds: Sequence[str]  # kind of rewording of each pair; empty strings if there is only one kind
    # names in `Scores.arrays` of the rankings [pairs, k] of first and second wording
    arrays: tuple[str, str]
    references: Sequence[str]  # paths or URLs of the pool's pictures; empty for a pool of vectors
    # pool position of each pair's correct picture; empty where none is known
    answers: Sequence[int] = ()


@runtime_checkable
class Showing(Protocol):
    """A benchmark whose pairs can be shown in the example browser."""

    def pairs_shown(self, scores: Scores) -> Shown:
        """Return the pairs, in the order of the arrays of `scores` (the same for all models)."""
        ...
