"""What a benchmark is: a name, a pool, and scores for every item of a model."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from paraclip.evaluation.scoring import metrics
from paraclip.evaluation.scoring.vectors import Arithmetic
from paraclip.models.encoder import DualEncoder

Float = NDArray[np.floating]
Integer = NDArray[np.integer]

LOWER_IS_BETTER = frozenset(("first result changes",))
"""Names of the metrics of which less is better; of all others more is."""

Role = Literal["robust", "standard"]
"""Whether tuning should raise a benchmark's figures, or must not lower them."""

Statistic = Literal["mean", "spearman", "pearson"]
VALUES: dict[str, Callable[[Float], float]] = {
    "mean": metrics.mean,
    "spearman": metrics.spearman,
    "pearson": metrics.pearson,
}


@dataclass(frozen=True, eq=False)
class Metric:
    """A figure as what each item gives to it, so that intervals and differences can be made.

    Args:
        name: with its k, as it stands in the report ("AO@10").
        items: [items] for a mean, [items, 2] for a correlation (similarity, gold score).
        statistic: what is made of the items.
        groups: [items] group numbers, where the figure is the mean over groups (macro); or
            [items, 2] numbers of group and of part, where each group counts as much as another
            and within it each part (tasks, and the subsets of each).
        clusters: [items] numbers; items of one cluster are resampled together.
        headline: stands in the short table and the plot.
    """

    name: str
    items: Float
    statistic: Statistic = "mean"
    groups: Integer | None = None
    clusters: Integer | None = None
    headline: bool = True

    def value(self) -> float:
        """The figure, 0 to 1 (correlations -1 to 1); NaN where it is not defined."""
        parts = [VALUES[self.statistic](self.items[members]) for members in self.members()]
        return float(np.average(parts, weights=self.shares()))

    def members(self) -> Iterator[Integer]:
        """Item numbers of each group (or part); of all items where there are no groups."""
        if self.groups is None:
            yield np.arange(len(self.items))
            return
        groups = self.groups.reshape(len(self.groups), -1)
        for group in np.unique(groups, axis=0):
            yield np.flatnonzero((groups == group).all(axis=1))

    def shares(self) -> Float:
        """What each group (or part) gives to the figure, in the order of `members`; sums to 1."""
        if self.groups is None or self.groups.ndim == 1:
            parts = 1 if self.groups is None else len(np.unique(self.groups))
            return np.full(parts, 1 / parts)
        _, owners, sizes = np.unique(
            np.unique(self.groups, axis=0)[:, 0], return_inverse=True, return_counts=True
        )
        shares: Float = 1 / (len(sizes) * sizes[owners])
        return shares


def numbered(names: Sequence[str]) -> Integer:
    """A number for each name [items], the same for equal names: clusters of one picture."""
    numbers: Integer = np.unique(names, return_inverse=True)[1]
    return numbers


@dataclass(frozen=True, eq=False)
class Scores:
    """What one model got in one benchmark.

    Args:
        metrics: in the order of the report.
        arrays: more for each item, kept beside the report (rankings for a browser of examples).
        notes: what a reader of the figures must know ("3 of 100 pictures are broken").
    """

    metrics: list[Metric]
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Benchmark(Protocol):
    """One benchmark on one set of data. The same items in the same order for every model.

    Attributes:
        name: as the command line calls it.
        pool: what is searched or compared, with its size, in words.
        data: JSON-able facts for the report: sources, hashes, sizes.
        pictures: references of the pictures that are looked at; none of a benchmark of text.
        role: "standard" for retrieval and classification, which tuning must not harm.
        how: precision and batch size of the vectors.
    """

    name: str
    pool: str
    data: dict[str, Any]
    pictures: tuple[str, ...]
    role: Role
    how: Arithmetic

    def score(self, model: DualEncoder, cache: Path | None) -> Scores:
        """Score a model; image features are kept in the folder `cache` where one is given.

        Raises:
            UserError: the data or the model's vectors cannot be scored.
        """
        ...


@dataclass(frozen=True, eq=False)
class Shown:
    """What a person is shown of a benchmark that ranks pictures for two wordings of each query.

    Args:
        texts: both wordings of each pair.
        kinds: what sort of rewording each is; empty where there is one sort only.
        arrays: names in `Scores.arrays` of the rankings [pairs, k] of first and second wording.
        references: pictures of the pool, paths or URLs; empty where it is of vectors alone.
    """

    texts: Sequence[tuple[str, str]]
    kinds: Sequence[str]
    arrays: tuple[str, str]
    references: Sequence[str]


@runtime_checkable
class Showing(Protocol):
    """A benchmark whose pairs go into the browser of examples."""

    def pairs_shown(self, scores: Scores) -> Shown:
        """The pairs, in the order of the arrays of `scores` (of any model: all have the same)."""
        ...
