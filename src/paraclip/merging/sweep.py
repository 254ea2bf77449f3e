"""An alpha sweep: mixtures of base and tuned, each scored on the same items."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Benchmark, Role
from paraclip.evaluation.kept_scores import keep_scores
from paraclip.evaluation.statistics import Interval, Metric, interval, resample
from paraclip.merging.knee import Figure, knee
from paraclip.merging.merge import merge
from paraclip.models.encoder import DualEncoder
from paraclip.progress import bar

Float = NDArray[np.floating]


@dataclass(frozen=True)
class Sweep:
    """Result of a sweep."""

    alphas: tuple[float, ...]  # shares of tuned, rising from 0 (base) to 1 (tuned)
    figures: tuple[Figure, ...]  # every headline figure over the alphas
    # mean change of the robust figures from base (over the figures of a benchmark, then over
    # benchmarks), with intervals, one per alpha
    robust: tuple[Interval, ...]
    standard: tuple[Interval, ...]  # the same for the standard figures
    knee_index: int  # index of the knee among the alphas
    benchmarks: dict[str, dict[str, Any]]  # facts about the data of each
    notes: tuple[str, ...] = ()  # on the figures

    @property
    def alpha(self) -> float:
        """The knee."""
        return self.alphas[self.knee_index]


@dataclass(frozen=True)
class SweepOptions:
    """Options of a sweep."""

    standard: tuple[str, ...]  # names of the benchmarks that must not fall; the others should gain
    folder: Path  # folder of the stored scores of every alpha, from which a killed sweep resumes
    cache: Path | None = None  # folder of image features
    resamples: int = 1000  # bootstrap draws
    seed: int = 0  # seed of the draws
    image_tower: bool = False  # merge image towers that differ


def sweep(
    base: DualEncoder,
    tuned: DualEncoder,
    alphas: Sequence[float],
    benchmarks: Sequence[Benchmark],
    options: SweepOptions,
) -> Sweep:
    """Score mixtures of base and tuned and find the knee.

    Args:
        base: before tuning.
        tuned: after tuning.
        alphas: shares of tuned, each 0 to 1; 0 and 1 are added.
        benchmarks: at least one standard and one other.
        options: see `SweepOptions`.

    Raises:
        UserError: base and tuned do not fit, a share is out of range, or one of the two kinds of
            benchmark is missing.

    Source: Wortsman et al. 2022 (WiSE-FT), section 4; the rule of the knee is in `knee.py`.
    """
    alphas = rising(alphas)
    check_roles([benchmark.name for benchmark in benchmarks], options.standard)
    curves = [
        Curve(benchmark, "standard" if benchmark.name in options.standard else "robust")
        for benchmark in benchmarks
    ]
    with bar("sweep", len(alphas) * len(curves), "score") as progress:
        for alpha in alphas:
            merged = merge(base, tuned, alpha, options.image_tower)
            for curve in curves:
                progress.set_postfix_str(f"{curve.benchmark.name}, alpha {alpha:g}")
                kept = keep_scores(curve.benchmark, merged, options.folder, options.cache)
                curve.add(kept.scores)
                progress.update()
    return assemble_sweep(alphas, curves, options)


def rising(alphas: Sequence[float]) -> tuple[float, ...]:
    """The sorted shares without duplicates, base and tuned included."""
    for alpha in alphas:
        if not 0 <= alpha <= 1:
            raise UserError("--sweep", f"{alpha} is outside 0 to 1", "Give shares such as 0.5.")
    return tuple(sorted({0.0, *map(float, alphas), 1.0}))


def check_roles(names: Sequence[str], standard: Sequence[str]) -> None:
    """Check that there are both standard and other benchmarks."""
    present = [name for name in names if name in standard]
    if not present:
        what = f"none of {', '.join(names)} is a standard task, so no share could cost anything"
        raise UserError("--benchmarks", what, "Add image-text-retrieval, or name it: --standard.")
    if len(present) == len(names):
        what = f"{', '.join(names)} are all standard tasks, so nothing could gain"
        raise UserError("--benchmarks", what, "Add paraphrased-retrieval or sugar-crepe-pp.")


class Curve:
    """The headline metrics of one benchmark over the alphas.

    Args:
        benchmark: the benchmark.
        role: whether it should gain or only not fall.
    """

    def __init__(self, benchmark: Benchmark, role: Role) -> None:
        self.benchmark, self.role = benchmark, role
        self.points: list[list[Metric]] = []
        self.notes: list[str] = []

    def add(self, scores: Any) -> None:
        """Add the scores of the next alpha."""
        self.points.append([metric for metric in scores.metrics if metric.headline])
        self.notes += [note for note in scores.notes if note not in self.notes]

    def figures(self, resamples: int, seed: int) -> Iterator[tuple[Figure, Float]]:
        """Each figure, and the draws of its change from base [alphas, resamples] in points."""
        for column in zip(*self.points, strict=True):
            values = [100 * metric.value() for metric in column]
            drawn = np.stack([100 * resample(metric, resamples, seed) for metric in column])
            changed = drawn - drawn[0]
            spread = tuple(interval(v, d) for v, d in zip(values, drawn, strict=True))
            changes = tuple(
                interval(v - values[0], d) for v, d in zip(values, changed, strict=True)
            )
            name = self.benchmark.name
            yield Figure(name, column[0].name, self.role, spread, changes), changed


def assemble_sweep(
    alphas: tuple[float, ...], curves: Sequence[Curve], options: SweepOptions
) -> Sweep:
    """Figures, means of both roles and the knee."""
    figures: list[Figure] = []
    by_role: dict[Role, list[tuple[Float, Float]]] = {"robust": [], "standard": []}
    for number, curve in enumerate(curves):  # different seeds: the items are independent
        drawn = list(curve.figures(options.resamples, options.seed + number))
        figures += [figure for figure, _ in drawn]
        defined = [(figure, draws) for figure, draws in drawn if figure.defined()]
        if defined:
            values = np.mean([[c.value for c in figure.changes] for figure, _ in defined], axis=0)
            by_role[curve.role].append((values, np.mean([draws for _, draws in defined], axis=0)))
    if role := next((role for role, changes in by_role.items() if not changes), None):
        what = f"no figure of the {role} benchmarks is defined at every share"
        raise UserError("sweep", what, "Give more data.")
    facts = {c.benchmark.name: {**c.benchmark.data, "pool": c.benchmark.pool} for c in curves}
    notes = tuple(f"{c.benchmark.name}: {note}" for c in curves for note in c.notes)
    robust, standard = mean_changes(by_role["robust"]), mean_changes(by_role["standard"])
    return Sweep(alphas, tuple(figures), robust, standard, knee(figures), facts, notes)


def mean_changes(changes: Sequence[tuple[Float, Float]]) -> tuple[Interval, ...]:
    """Mean over benchmarks of changes [alphas] and their draws [alphas, resamples]."""
    values = np.mean([value for value, _ in changes], axis=0)
    drawn = np.mean([draws for _, draws in changes], axis=0)
    return tuple(interval(float(v), d) for v, d in zip(values, drawn, strict=True))
