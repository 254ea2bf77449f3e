"""What a text encoder finds in an index, measured without labels, with scenes that no run learns.

A scene is searched for in its own words, in another wording, and as a text with another meaning.
That two wordings find the same pictures is no proof that these are right: any two texts that land
in one place agree. So agreement stands beside how often another wording finds the picture that a
judge, a frozen model, ranks first for the scene, and beside the agreement with the other meaning.

Shape suffixes: N scenes; G pictures of width D; K = 10 results.
"""

import math
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from paraclip.arrays import Float, Integers
from paraclip.compute.exact_search import top_k
from paraclip.evaluation.metrics import average_overlap
from paraclip.evaluation.statistics import Interval, mean_interval
from paraclip.starter import TEXTS
from paraclip.starter.scenes import scenes

if TYPE_CHECKING:
    from torch import Tensor


Encode = Callable[[Sequence[str]], "Tensor"]
"""A model's `encode_texts`."""
K = 10
COUNT = 500
"""Scenes: the interval of the change of a share is about five points wide."""
ALIKE, CONTRAST, KEPT = "alike", "another meaning", "kept"
FIRST = "first picture of "
"""Names of the measures; the last one is followed by the name of its judge."""
HUBS_LOWERED = 0.5
"""Share of a picture's popularity among texts that a judge's logits lose; chosen in the study."""
_BLOCK = 8192  # pictures at a time
_SEED = 0x5CE9E


@dataclass(frozen=True)
class SceneQueries:
    """N held-out scenes as queries."""

    texts: Sequence[str]
    rewordings: Sequence[str]  # of the same meaning, one each
    kinds: Sequence[str]  # of the rewordings
    contrasts: Sequence[str]  # with another meaning, one each
    wordings: Sequence[Sequence[str]]  # all of the same meaning, of which a judge takes the mean

    def every(self) -> list[str]:
        """All texts."""
        return [*self.texts, *self.rewordings, *self.contrasts, *chain(*self.wordings)]


def scene_queries(count: int = COUNT) -> SceneQueries:
    """Held-out scenes, always the same."""
    rows, rng = scenes(count, seed=_SEED, held_out=True), random.Random(_SEED)
    rows = [row for row in rows if row["contrasts"]]
    worded = [
        [
            *zip(row["kinds"], (row[name] for name in TEXTS), strict=True),
            *((one["kind"], one["text"]) for one in row["wordings"]),
        ]
        for row in rows
    ]
    asked = [rng.choice(of_row[1:]) for of_row in worded]
    return SceneQueries(
        texts=[of_row[0][1] for of_row in worded],
        rewordings=[text for _, text in asked],
        kinds=[kind for kind, _ in asked],
        contrasts=[rng.choice(row["contrasts"])["text"] for row in rows],
        wordings=[[text for _, text in of_row] for of_row in worded],
    )


class Answers(NamedTuple):
    """The first K pictures that a model finds for N scenes, as rows of the index [N, K]."""

    texts: Integers
    rewordings: Integers
    contrasts: Integers


def search_scenes(encode: Encode, pictures_GD: Float, queries: SceneQueries) -> Answers:
    """What a model finds for the scenes, by its function that embeds texts."""
    asked = (queries.texts, queries.rewordings, queries.contrasts)
    every = [text for texts in asked for text in texts]
    vectors = encode(every).numpy()
    return Answers(*np.split(top_k(vectors, pictures_GD, min(K, len(pictures_GD))), len(asked)))


@dataclass(frozen=True)
class Reading:
    """What a model finds for N scenes.

    `ALIKE` is AO@10 of a scene and its rewording; `CONTRAST`, AO@10 of a scene and a text with
    another meaning; `FIRST` and a judge's name, whether its first picture for the scene is among
    the first ten of the rewording; `KEPT`, AO@10 of the scene with this model and with base.
    """

    values: Mapping[str, Float]  # [N] by name, 0 to 1
    kinds: Sequence[str]  # [N], of the rewordings

    def means(self) -> dict[str, float]:
        """The mean of each measure, and of agreement by kind of rewording."""
        by_kind = defaultdict[str, list[float]](list)
        for kind, value in zip(self.kinds, self.values[ALIKE].tolist(), strict=True):
            by_kind[f"{ALIKE}, {kind}"].append(value)
        means = {name: float(values.mean()) for name, values in self.values.items()}
        return means | {name: float(np.mean(of_kind)) for name, of_kind in sorted(by_kind.items())}

    def change(self, base: "Reading", name: str) -> Interval:
        """The difference of a measure from base, paired, with its 95 % interval over scenes."""
        return mean_interval(self.values[name] - base.values[name])


def read_answers(
    found: Answers, base: Answers, queries: SceneQueries, firsts: Mapping[str, Integers]
) -> Reading:
    """The measures of a model from what it finds, what base finds, and the picture [N] that each
    judge ranks first, by its name."""
    judged = {
        f"{FIRST}{name}": (found.rewordings == first_N[:, None]).any(axis=1).astype(np.float64)
        for name, first_N in firsts.items()
    }
    return Reading(
        {
            ALIKE: average_overlap(found.texts, found.rewordings),
            CONTRAST: average_overlap(found.texts, found.contrasts),
            **judged,
            KEPT: average_overlap(base.texts, found.texts),
        },
        queries.kinds,
    )


def first_pictures(
    texts_ND: "Tensor", pictures_GD: "Tensor", scale: float, lowered_G: "Tensor | None" = None
) -> Integers:
    """The picture [N] that a judge ranks first for the mean of all wordings of each scene,
    `mean_wordings`.

    `scale` is the inverse temperature of its rankings; its logits are lowered by `lowered_G`, by
    default as in R with these texts.
    """
    import torch

    if lowered_G is None:
        lowered_G = HUBS_LOWERED * measure_hubs(texts_ND, pictures_GD, scale)
    parts = (torch.split(one, _BLOCK) for one in (pictures_GD, lowered_G))
    found = [(scale * texts_ND @ part.T - low).max(1) for part, low in zip(*parts, strict=True)]
    block_N = torch.stack([values for values, _ in found]).argmax(0)
    within_N = torch.stack([places for _, places in found]).gather(0, block_N[None])[0]
    return (block_N * _BLOCK + within_N).numpy()


def measure_hubs(texts_BE: "Tensor", bank_GE: "Tensor", scale: float) -> "Tensor":
    """How popular each picture is among texts, [G]: log mean exp of its scaled similarities.

    The mean is over the texts that match some picture best, since texts of what the bank does not
    show have hubs of their own.

    Source: the dynamic inverted softmax of QB-Norm, Bogolin et al. 2022, equation 4.
    """
    import torch

    parts = torch.split(bank_GE, _BLOCK)
    best = torch.cat([(part @ texts_BE.T).argmax(1) for part in parts])
    chosen_bE = texts_BE[np.unique(best.numpy())]
    logs = torch.cat([(scale * part @ chosen_bE.T).logsumexp(1) for part in parts])
    return logs - math.log(len(chosen_bE))


def mean_wordings(encode: Encode, queries: SceneQueries) -> "Tensor":
    """The normalised mean of a model's vectors of the wordings of each scene, [N, D]."""
    import torch
    from torch.nn.functional import normalize

    vectors = encode([*chain(*queries.wordings)])
    parts = torch.split(vectors, [len(of_scene) for of_scene in queries.wordings])
    return normalize(torch.stack([part.sum(0) for part in parts]), dim=-1)


MOST_LOST = 0.02
"""Share of the judges' first pictures that a model may lose; of right pictures, if captions name
them, the lower end of the interval."""
MOST_CONFUSED = 0.5
"""Largest rise of the agreement with another meaning, as a share of the rise of agreement."""


def recommend(
    readings: Mapping[str, Reading], right: Mapping[str, Interval] | None = None
) -> tuple[str, str]:
    """Recommend a model on an index, and the reason in a sentence: the one rule of `train` and
    `swap-check`.

    Of the models that two wordings agree more with than with base, beyond chance, and that confuse
    meanings and lose pictures no more than `MOST_CONFUSED` and `MOST_LOST` allow, it is the one
    whose other wording finds the judges' first pictures most often; if there is none, base. If
    there are captions, `right` is the change of the share of right pictures from base, by model,
    which then decides what is lost, unless they are so few that its interval has no width.
    """
    base, fits, why = readings["base"], dict[str, float](), list[str]()
    for label, reading in readings.items():
        if label == "base":
            continue
        alike, confused = (reading.change(base, name) for name in (ALIKE, CONTRAST))
        judged = [name for name in reading.values if name.startswith(FIRST)]
        changes = {name: reading.change(base, name) for name in judged}
        least = {name: change.value for name, change in changes.items()}
        counted = (right or {}).get(label)
        # NaN has no width, either. What captions say may not be lost even by chance.
        if of_captions := counted is not None and counted.low < counted.high:
            changes, least = {"right pictures": counted}, {"right pictures": counted.low}
        worst = min(least, key=lambda name: least[name])
        if alike.low <= 0:
            why.append(f"two wordings agree no more with {label} ({_points(alike)})")
        elif confused.value > MOST_CONFUSED * alike.value:
            what = f"agreement rises by {_points(alike)}, that of other meanings by"
            why.append(f"with {label}, {what} {_points(confused)}")
        elif least[worst] < -MOST_LOST:
            lost = f"may lose {worst}" if of_captions else f"finds the {worst} less often"
            why.append(f"{label} {lost} ({_points(changes[worst])})")
        else:
            fits[label] = float(np.mean([reading.values[name].mean() for name in judged]))
    if not fits:
        return "base", f"Keep your base: {'; '.join(why)}."
    use = max(fits, key=lambda label: fits[label])
    alike, confused = (readings[use].change(base, name) for name in (ALIKE, CONTRAST))
    agree = f"two wordings agree more than with base, by {_points(alike)} points"
    return use, f"Use {use}: {agree}, and another meaning by {_points(confused)}."


def _points(change: Interval) -> str:
    """A difference in points with its interval."""
    return f"{100 * change.value:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"


def measures_table(measured: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    """Header and rows of a table of `Reading.means` by model, in percent."""
    names = next(iter(measured.values()))
    rows = [[name, *(f"{100 * one[name]:.1f}" for one in measured.values())] for name in names]
    return [["", *measured], *rows]
