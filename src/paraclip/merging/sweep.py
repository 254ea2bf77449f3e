"""An alpha sweep: mixtures of base and tuned, each scored on the same items."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Benchmark, Metric, Role
from paraclip.evaluation.scoring.bootstrap import Interval, interval, resample
from paraclip.evaluation.scoring.kept_scores import score_once
from paraclip.merging.knee import Figure, knee
from paraclip.merging.merge import merge
from paraclip.models.encoder import DualEncoder
from paraclip.progress import bar

Float = NDArray[np.floating]


@dataclass(frozen=True)
class Sweep:
    """What a sweep found.

    Args:
        alphas: shares of tuned, rising from 0 (base) to 1 (tuned).
        figures: every headline figure along them.
        robust: mean change of the robust figures (over the figures of a benchmark, then over
            benchmarks) from base, points with intervals, one an alpha.
        standard: the same of the standard figures.
        place: of the knee among the alphas.
        benchmarks: facts about the data of each.
        notes: what a reader of the figures must know.
    """

    alphas: tuple[float, ...]
    figures: tuple[Figure, ...]
    robust: tuple[Interval, ...]
    standard: tuple[Interval, ...]
    place: int
    benchmarks: dict[str, dict[str, Any]]
    notes: tuple[str, ...] = ()

    @property
    def alpha(self) -> float:
        """The knee."""
        return self.alphas[self.place]


@dataclass(frozen=True)
class Scoring:
    """How a sweep is scored.

    Args:
        standard: names of the benchmarks that must not fall; the others are to gain.
        folder: where every alpha's scores are kept, so that a killed sweep goes on.
        cache: folder of image features.
        resamples: bootstrap draws.
        seed: of the draws.
        image_tower: mix image towers that differ too.
    """

    standard: tuple[str, ...]
    folder: Path
    cache: Path | None = None
    resamples: int = 1000
    seed: int = 0
    image_tower: bool = False


def sweep(
    base: DualEncoder,
    tuned: DualEncoder,
    alphas: Sequence[float],
    benchmarks: Sequence[Benchmark],
    how: Scoring,
) -> Sweep:
    """Score mixtures of base and tuned and find the knee.

    Args:
        base: before tuning.
        tuned: after tuning.
        alphas: shares of tuned, each 0 to 1; 0 and 1 are added where they are missing.
        benchmarks: at least one standard and one other.
        how: see `Scoring`.

    Raises:
        UserError: base and tuned do not belong together, a share is out of range, one of the two
            kinds of benchmark is missing.

    Source: Wortsman et al. 2022 (WiSE-FT), section 4; the rule of the knee is in `knee.py`.
    """
    shares = rising(alphas)
    check_roles([benchmark.name for benchmark in benchmarks], how.standard)
    curves = [Curve(benchmark, role_of(benchmark, how)) for benchmark in benchmarks]
    with bar("sweep", len(shares) * len(curves), "score") as moving:
        for alpha in shares:
            mixed = merge(base, tuned, alpha, how.image_tower)
            for curve in curves:
                moving.set_postfix_str(f"{curve.benchmark.name}, alpha {alpha:g}")
                curve.add(score_once(curve.benchmark, mixed, how.folder, how.cache))
                moving.update()
    return assemble(shares, curves, how)


def rising(alphas: Sequence[float]) -> tuple[float, ...]:
    """The shares in order, each once, base and tuned among them.

    Raises:
        UserError: a share is outside 0 to 1.
    """
    for alpha in alphas:
        if not 0 <= alpha <= 1:
            raise UserError("--sweep", f"{alpha} is outside 0 to 1", "Give shares such as 0.5.")
    return tuple(sorted({0.0, *map(float, alphas), 1.0}))


def check_roles(names: Sequence[str], standard: Sequence[str]) -> None:
    """Refuse a sweep that could not tell a price from a gain."""
    found = [name for name in names if name in standard]
    if not found:
        what = f"none of {', '.join(names)} is a standard task, so no share could cost anything"
        raise UserError("--benchmarks", what, "Add image-text-retrieval, or name it: --standard.")
    if len(found) == len(names):
        what = f"{', '.join(names)} are all standard tasks, so nothing could gain"
        raise UserError("--benchmarks", what, "Add paraphrased-retrieval or sugar-crepe-pp.")


def role_of(benchmark: Benchmark, how: Scoring) -> Role:
    """Whether a benchmark is to gain or not to fall."""
    return "standard" if benchmark.name in how.standard else "robust"


class Curve:
    """The headline metrics of one benchmark along the alphas.

    Args:
        benchmark: whose.
        role: what it is for.
    """

    def __init__(self, benchmark: Benchmark, role: Role) -> None:
        self.benchmark, self.role = benchmark, role
        self.points: list[list[Metric]] = []
        self.notes: list[str] = []

    def add(self, scores: Any) -> None:
        """The scores at the next alpha."""
        self.points.append([metric for metric in scores.metrics if metric.headline])
        self.notes += [note for note in scores.notes if note not in self.notes]

    def figures(self, resamples: int, seed: int) -> Iterator[tuple[Figure, Float]]:
        """Each figure with the draws of its change from base [alphas, resamples], in points."""
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


def assemble(shares: tuple[float, ...], curves: Sequence[Curve], how: Scoring) -> Sweep:
    """Figures, means of both roles and the knee."""
    figures: list[Figure] = []
    together: dict[Role, list[tuple[Float, Float]]] = {"robust": [], "standard": []}
    for number, curve in enumerate(curves):  # another seed each: their items are independent
        found = list(curve.figures(how.resamples, how.seed + number))
        figures += [figure for figure, _ in found]
        kept = [(figure, drawn) for figure, drawn in found if figure.defined()]
        if kept:
            values = np.mean([[c.value for c in figure.changes] for figure, _ in kept], axis=0)
            together[curve.role].append((values, np.mean([drawn for _, drawn in kept], axis=0)))
    check_defined(together)
    facts = {c.benchmark.name: {**c.benchmark.data, "pool": c.benchmark.pool} for c in curves}
    notes = tuple(f"{c.benchmark.name}: {note}" for c in curves for note in c.notes)
    robust, standard = mean_changes(together["robust"]), mean_changes(together["standard"])
    return Sweep(shares, tuple(figures), robust, standard, knee(figures), facts, notes)


def check_defined(together: dict[Role, list[tuple[Float, Float]]]) -> None:
    """Refuse where no figure of a role has a value."""
    for role, found in together.items():
        if not found:
            what = f"no figure of the {role} benchmarks is defined at every share"
            raise UserError("sweep", what, "Give more data.")


def mean_changes(found: Sequence[tuple[Float, Float]]) -> tuple[Interval, ...]:
    """Mean over benchmarks of the changes [alphas] and their draws [alphas, resamples]."""
    values = np.mean([value for value, _ in found], axis=0)
    drawn = np.mean([draws for _, draws in found], axis=0)
    return tuple(interval(float(v), d) for v, d in zip(values, drawn, strict=True))
