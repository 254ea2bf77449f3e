"""Interfaces of benchmarks, metrics and scores."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from paraclip.evaluation.scoring import metrics
from paraclip.evaluation.scoring.bootstrap import sampled_spearman
from paraclip.evaluation.scoring.vectors import Arithmetic
from paraclip.models.encoder import DualEncoder

Float = NDArray[np.floating]
Integer = NDArray[np.integer]

LOWER_IS_BETTER = frozenset(("first result changes",))
"""Names of the metrics for which lower is better; for all others, higher is better."""

Role = Literal["robust", "standard"]
"""Whether tuning should improve a benchmark ("robust") or must not degrade it ("standard")."""

Statistic = Literal["mean", "spearman", "pearson", "sampled_spearman"]
VALUES: dict[str, Callable[[Float], float]] = {
    "mean": metrics.mean,
    "spearman": metrics.spearman,
    "pearson": metrics.pearson,
    "sampled_spearman": sampled_spearman,
}


@dataclass(frozen=True, eq=False)
class Metric:
    """A metric with its value for each item, for computing intervals and differences.

    Args:
        name: name in the report, including k ("AO@10").
        items: [items] for a mean, [items, 2] for a correlation (similarity, gold score), [items, 3]
            for a sampled one (with the number of the query).
        statistic: statistic computed over the items.
        groups: group numbers [items], for a mean over groups (macro); or numbers of group and
            part [items, 2], with equal weights for groups and for the parts within each group
            (tasks and their subsets).
        clusters: cluster numbers [items]; items of one cluster are resampled together.
        headline: whether the metric is in the short table and the plot.
    """

    name: str
    items: Float
    statistic: Statistic = "mean"
    groups: Integer | None = None
    clusters: Integer | None = None
    headline: bool = True

    def value(self) -> float:
        """Return the value, 0 to 1 (correlations: -1 to 1); NaN if undefined."""
        parts = [VALUES[self.statistic](self.items[members]) for members in self.members()]
        return float(np.average(parts, weights=self.shares()))

    def members(self) -> Iterator[Integer]:
        """Yield the item indices of each group (or part), or of all items without groups."""
        if self.groups is None:
            yield np.arange(len(self.items))
            return
        groups = self.groups.reshape(len(self.groups), -1)
        for group in np.unique(groups, axis=0):
            yield np.flatnonzero((groups == group).all(axis=1))

    def shares(self) -> Float:
        """Return the weight of each group (or part), in the order of `members`; they sum to 1."""
        if self.groups is None or self.groups.ndim == 1:
            parts = 1 if self.groups is None else len(np.unique(self.groups))
            return np.full(parts, 1 / parts)
        _, owners, sizes = np.unique(
            np.unique(self.groups, axis=0)[:, 0], return_inverse=True, return_counts=True
        )
        shares: Float = 1 / (len(sizes) * sizes[owners])
        return shares


def numbered(names: Sequence[str]) -> Integer:
    """Return an integer for each name [items], equal for equal names; used for clusters."""
    numbers: Integer = np.unique(names, return_inverse=True)[1]
    return numbers


def grouped(
    name: str, items: Float, groups: Integer, labels: Sequence[str], clusters: Integer | None,
    headline: bool = True,
) -> list[Metric]:  # fmt: skip
    """Return the macro mean over groups, the micro mean over items, and the mean of each group."""
    results = [
        Metric(name, items, groups=groups, clusters=clusters, headline=headline),
        Metric(f"{name} micro", items, clusters=clusters, headline=False),
    ]
    for number in np.unique(groups):
        own = groups == number
        together = None if clusters is None else clusters[own]
        label = f"{name} {labels[number]}"
        results.append(Metric(label, items[own], clusters=together, headline=False))
    return results


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one model on one benchmark.

    Args:
        metrics: metrics, in the order of the report.
        arrays: further arrays per item, saved with the report (rankings for the example browser).
        notes: notes for the report ("3 of 100 pictures left out").
    """

    metrics: list[Metric]
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Benchmark(Protocol):
    """One benchmark on one data set, with the same items in the same order for every model.

    Attributes:
        name: name on the command line.
        pool: description of what is searched or compared, with its size.
        data: JSON-serialisable facts for the report: sources, hashes, sizes.
        pictures: references of the pictures used; empty for text benchmarks.
        role: "standard" for retrieval and classification, which tuning must not degrade.
        how: precision and batch size of the vectors.
    """

    name: str
    pool: str
    data: dict[str, Any]
    pictures: tuple[str, ...]
    role: Role
    how: Arithmetic

    def score(self, model: DualEncoder, cache: Path | None) -> Scores:
        """Score a model; image features are cached in the folder `cache`, if given.

        Raises:
            UserError: if the data or the model's vectors cannot be scored.
        """
        ...


@dataclass(frozen=True, eq=False)
class Shown:
    """Examples of a benchmark that ranks pictures for two wordings of each query.

    Args:
        texts: both wordings of each pair.
        kinds: kind of rewording of each pair; empty strings if there is only one kind.
        arrays: names in `Scores.arrays` of the rankings [pairs, k] of first and second wording.
        references: paths or URLs of the pool's pictures; empty for a pool of vectors.
        answers: pool position of each pair's correct picture; empty where none is known.
    """

    texts: Sequence[tuple[str, str]]
    kinds: Sequence[str]
    arrays: tuple[str, str]
    references: Sequence[str]
    answers: Sequence[int] = ()


@runtime_checkable
class Showing(Protocol):
    """A benchmark whose pairs can be shown in the example browser."""

    def pairs_shown(self, scores: Scores) -> Shown:
        """Return the pairs, in the order of the arrays of `scores` (the same for all models)."""
        ...
