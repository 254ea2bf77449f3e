"""Means of a grid's figures over seeds, and their differences from base, control and reference.

Intervals and differences come from one bootstrap: all cells use the same draws of the items, and
seeds are drawn as a second level. The p-values of a table form one family for Holm's correction, or
those of the declared goals alone.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from paraclip.arrays import Float
from paraclip.evaluation import statistics
from paraclip.evaluation.compare import Stored
from paraclip.evaluation.statistics import (
    Metric,
    draw_weights,
    holm,
    interval,
    over_seeds,
    p_value,
    resample,
)
from paraclip.files import atomic_path, file_hash
from study.cells import Row

LEVEL = 0.05
CODE = file_hash(statistics.__file__)
"""In the names of kept resamples, which other code would not draw."""
FEWER = 36_000
"""Resamples of what is no plain mean, where a mean has a million."""
BLOCK = 4096
"""Resamples that are multiplied at a time."""
CONSISTENCY = "AO@10"
"""The figure for which the shares of pairs that gain and lose are stored."""
Key = tuple[str, str]
"""Benchmark and name of a figure."""
Figure = Mapping[str, Any]
"""A figure of a row as it is stored: `row`, `kind`, `seeds`, `benchmark`, `figure`, `value` with
its interval, and `against`, its differences from other rows."""
Metrics = Mapping[Key, Metric]
"""The figures of a cell with their items."""
Scored = Mapping[str, Mapping[int | None, Metrics]]
"""Figures of the finished cells by row and seed; base has the seed None."""


def metrics_of(stored: Stored, label: str, wanted: Iterable[Key]) -> Metrics:
    """The wanted figures of a report's model, as far as they were scored."""
    lines = {(section.name, line.name): line
             for section in stored.report.sections for line in section.lines}  # fmt: skip
    return {key: stored.metric(key[0], lines[key], label) for key in wanted if key in lines}


def units_of(metrics: Metrics) -> dict[str, dict[str, int]]:
    """How many items, or clusters of them, a resample draws; by benchmark and figure."""
    found: dict[str, dict[str, int]] = {}
    for (benchmark, figure), one in metrics.items():
        drawn = one.items if one.clusters is None else np.unique(one.clusters)
        found.setdefault(benchmark, {})[figure] = len(drawn)
    return found


@dataclass(frozen=True)
class Draws:
    """Resamples of the figures of cells, kept in a folder: those of correlations take long."""

    resamples: int
    folder: Path
    seed: int = 0

    def of(self, metric: Metric) -> tuple[float, Float]:
        """Value and resamples [resamples] of a figure of a cell, in percent."""
        parts = (metric.items, metric.groups, metric.clusters)
        sums = [crc32(np.ascontiguousarray(part)) for part in parts if part is not None]
        name = "-".join(f"{one:08x}" for one in (*sums, crc32(metric.name.encode())))
        path = self.folder / f"{name}-{self.resamples}-{self.seed}-{CODE}.npy"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.save(file, 100 * resample(metric, self.resamples, self.seed))
        return 100 * metric.value(), np.load(path, allow_pickle=False)

    def of_all(self, metrics: Sequence[Metric]) -> list[tuple[float, Float]]:
        """The same for several cells."""
        return [self.of(metric) for metric in metrics]


@dataclass(frozen=True)
class ManyDraws(Draws):
    """Draws for a million resamples of means: those of all cells at once, and none is kept.

    All cells have the same items, so that the sums of the drawn items are one product of the draws
    with the sums of each cell's clusters. The result is that of `resample` but for rounding. What
    is no plain mean has `FEWER` resamples, which the intervals of correlations need no more of.
    """

    def of_all(self, metrics: Sequence[Metric]) -> list[tuple[float, Float]]:
        """Value and resamples of a figure of several cells, with the same draws."""
        one = metrics[0]
        if one.statistic != "mean" or one.groups is not None:
            return Draws(min(FEWER, self.resamples), self.folder, self.seed).of_all(metrics)
        clusters = np.arange(len(one.items)) if one.clusters is None else one.clusters
        units = np.unique(clusters, return_inverse=True)[1]
        often = drawn_units(int(units.max()) + 1, self.resamples, self.seed)
        sums = [np.bincount(units), *(np.bincount(units, metric.items) for metric in metrics)]
        columns = np.stack(sums, axis=1).astype(np.float64)  # [units, 1 + cells]
        made = np.concatenate([
            often[start : start + BLOCK].astype(np.float64) @ columns
            for start in range(0, self.resamples, BLOCK)
        ])  # fmt: skip
        means = 100 * made[:, 1:].T / made[:, 0]
        if len(columns) < 2:
            means[:] = np.nan  # one item says nothing about others
        return [(100 * metric.value(), row) for metric, row in zip(metrics, means, strict=True)]


@lru_cache(maxsize=1)
def drawn_units(units: int, resamples: int, seed: int) -> NDArray[np.uint8]:
    """How often each unit is drawn [resamples, units], as `resample` draws them."""
    often = np.empty((resamples, units), np.uint8)
    start = 0
    for block in draw_weights(units, resamples, np.random.default_rng([seed, 0])):
        if block.max() > np.iinfo(often.dtype).max:
            raise ValueError("a unit is drawn too often for a byte")
        often[start : start + len(block)] = block
        start += len(block)
    return often


def figures_of(
    rows: Sequence[Row], scored: Scored, wanted: Sequence[Key], draws: Draws,
    family: Collection[tuple[str, Key]] | None = None,
) -> list[Figure]:  # fmt: skip
    """The figures of all scored rows, in percent; wanted ones that were not scored are left out.

    Args:
        rows: of the grid.
        scored: the figures of its cells.
        wanted: which of them, in order.
        draws: of their items.
        family: rows and figures whose differences from base form the family of Holm's correction;
            no others have an adjusted p-value. None: all differences.
    """
    rows = [row for row in rows if row.name in scored]
    known = next(iter(scored[rows[0].name].values()))
    figures: dict[tuple[str, Key], dict[str, Any]] = {}
    for key in (key for key in wanted if key in known):
        cells = {
            (row.name, seed): metrics[key]
            for row in rows
            for seed, metrics in scored[row.name].items()
        }
        drawn = dict(zip(cells, draws.of_all(list(cells.values())), strict=True))
        for row in rows:
            value, resampled = over(drawn, row.name, list(scored[row.name]))
            figures[row.name, key] = {
                "row": row.name, "kind": row.kind,
                "seeds": [seed for seed in scored[row.name] if seed is not None],
                "benchmark": key[0], "figure": key[1],
                "value": vars(interval(value, over_seeds(resampled, draws.seed))),
                "against": [
                    change
                    for other in row.others if other in scored
                    if (change := difference(drawn, row, other, scored, draws.seed))
                ],
            }  # fmt: skip
            if key[1] == CONSISTENCY:
                for change in figures[row.name, key]["against"]:
                    change |= shares_of(scored[row.name], scored[change["row"]], key)
    ordered = [figures[row.name, key] for row in rows for key in wanted if key in known]
    changes = []
    for figure in ordered:
        place = figure["row"], (figure["benchmark"], figure["figure"])
        for change in figure["against"]:
            if family is None or (change["row"] == "base" and place in family):
                changes.append(change)
            else:
                change["adjusted"] = None
    for change, adjusted in zip(changes, holm([one["p"] for one in changes]), strict=True):
        change["adjusted"] = adjusted
    return ordered


def shares_of(
    mine: Mapping[int | None, Metrics], theirs: Mapping[int | None, Metrics], key: Key
) -> dict[str, float]:
    """Which share of the pairs gains and loses against another row, in percent over the seeds."""
    gains = np.concatenate(
        [
            metrics[key].items - theirs[seed if seed in theirs else None][key].items
            for seed, metrics in mine.items()
            if seed in theirs or None in theirs
        ]
    )
    return {"gained": 100 * float((gains > 0).mean()), "lost": 100 * float((gains < 0).mean())}


Drawn = Mapping[tuple[str, int | None], tuple[float, Float]]
"""Value and resamples of one figure by row and seed."""


def difference(
    drawn: Drawn, row: Row, other: str, scored: Scored, seed: int
) -> dict[str, Any] | None:
    """The difference of a row's figure from another's, over the seeds that both have."""
    seeds = [one for one in scored[row.name] if other == "base" or one in scored[other]]
    if not seeds:
        return None
    value, mine = over(drawn, row.name, seeds)
    reference, theirs = over(drawn, other, [None] if other == "base" else seeds)
    changed = over_seeds(mine - theirs, seed)
    return {"row": other, "difference": vars(interval(value - reference, changed)),
            "p": p_value(changed)}  # fmt: skip


def over(drawn: Drawn, name: str, seeds: Sequence[int | None]) -> tuple[float, Float]:
    """The mean over seeds, and the resamples of each seed [seeds, resamples]."""
    found = [drawn[name, seed] for seed in seeds]
    return float(np.mean([value for value, _ in found])), np.stack([one for _, one in found])
