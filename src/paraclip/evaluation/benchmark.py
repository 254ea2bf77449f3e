"""Interfaces of benchmarks and scores, and the vectors of their texts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paraclip.arrays import Float, Integers
from paraclip.data.captions import Problems
from paraclip.errors import UserError
from paraclip.evaluation.statistics import Metric

if TYPE_CHECKING:
    from paraclip.models.encoder import DualEncoder


@dataclass(frozen=True)
class Arithmetic:
    """How vectors are computed."""

    precision: str = "fp32"  # fp32 or bf16 (autocast)
    # largest share of unreadable pictures that is skipped without an error
    max_broken: float = 0.01


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
class Shown:
    """Pairs of wordings with the pictures that each finds, for the contact sheet."""

    texts: Sequence[tuple[str, str]]  # both wordings of each pair
    kinds: Sequence[str]  # kind of rewording of each pair; empty strings if there is only one kind
    rankings: tuple[Integers, Integers]  # results of each wording, pool positions [pairs, k]
    references: Sequence[str]  # paths or URLs of the pool's pictures
    # pool position of each pair's correct picture; empty where none is known
    answers: Sequence[int] = ()
    # whether a picture is close to both wordings of each pair; empty where it was not measured
    close: Sequence[bool] = ()


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one model on one benchmark."""

    metrics: list[Metric]  # metrics, in the order of the report
    # further arrays per item, such as rankings, saved with the report
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    # notes for the report ("3 of 100 pictures left out")
    notes: list[str] = field(default_factory=list)
    shown: Shown | None = None  # pairs in the same order for every model, if pictures are ranked


class Benchmark(Protocol):
    """One benchmark on one data set, with the same items in the same order for every model."""

    name: str  # on the command line
    pool: str  # description of what is searched or compared, with its size
    data: dict[str, Any]  # JSON-serialisable facts for the report: sources, hashes, sizes
    pictures: tuple[str, ...]  # references of the pictures used; empty for text benchmarks
    how: Arithmetic  # of the vectors

    def score(self, model: "DualEncoder", cache: Path | None) -> Scores:
        """Score a model; image features are cached in the folder `cache`, if given.

        Raises UserError if the data or the model's vectors cannot be scored.
        """
        ...


class MissingData(UserError):
    """The data of a benchmark is missing; a suite leaves the benchmark out."""


def find_source(
    data: Path | None, default: str | Sequence[str], get: str,
    option: str = "--data", given: str | None = None,
) -> Path:  # fmt: skip
    """Return the source that an option names (`given`), or else the default in the data folder, of
    several the first that exists.

    Raises MissingData, with a sentence on how to get it, if there is no data folder, or no default
    in it.
    """
    if given is not None:
        return Path(given)
    if data is None:
        raise MissingData(option, "no data folder is named", get)
    paths = [data / path for path in ([default] if isinstance(default, str) else default)]
    found = next((path for path in paths if path.exists()), None)
    if found is None:
        raise MissingData(option, f"{' or '.join(map(str, paths))} is missing", get)
    return found


def text_vectors(model: "DualEncoder", texts: Sequence[str], how: Arithmetic, label: str) -> Float:
    """Return the unit vectors of texts, float32 [texts, width]; UserError if one is not finite."""
    from paraclip.models.features import encode_texts

    vectors = encode_texts(model, list(texts), label=label, precision=how.precision).numpy()
    refuse_infinite(vectors, "the model's text vectors")
    return vectors


def left_out(problems: Problems, total: int, things: str = "pictures") -> list[str]:
    """Return a note that lists the first 20 unreadable pictures, or nothing if there are none."""
    if not problems.count:
        return []
    named = "; ".join(problems.named())
    return [f"{problems.count:,} of {total:,} {things} left out: {named}"]


def refuse_infinite(vectors: Float, what: str, start: int = 0) -> None:
    """Raise if a vector contains NaN or infinity; `start` is the number of the first row."""
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        which = f"{len(bad)} of {len(vectors):,} are not finite, the first is number"
        hint = "The weights or the file are corrupt; create them again."
        raise UserError(what, f"{which} {start + int(bad[0])}", hint)
