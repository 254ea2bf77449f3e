"""Drift of the vectors when weights are shortened, and the limits on it.

Towers differ. In a tower with sharp attention (large logits, a softmax close to one and zero), a
rounding error in the queries and keys of the first block moves the attention to other words, and
later blocks amplify this. Only a measurement on the model itself shows it.
"""

import json
from copy import deepcopy
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from paraclip.errors import UserError
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import encode_texts
from paraclip.starter import QUERIES

_LEAST = {"--half": ("float16", 0.999), "--int8": ("int8", 0.99)}
"""The weights that an option writes, and the lowest cosine that is accepted."""
_QUERY_PAIRS = 30  # of a query and its rewording
_AWKWARD = ("", "a", "two dogs " * 60, "A YOUNG Child's café", "日本の猫 🐈", "3 red cars; 2 blue")
_AT_ONCE = 16  # texts in a batch

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Drift:
    """Cosines of shortened vectors with the float ones, over the texts of `probes`."""

    weights: str  # `int8` or `float16`
    lowest: float  # lowest cosine over the texts
    mean: float
    texts: int  # number of texts

    def __str__(self) -> str:
        """The drift as a sentence."""
        return (
            f"Vectors of {self.weights} weights against float: cosine {self.lowest:.4f} at the"
            f" lowest and {self.mean:.4f} on average of {self.texts} texts."
        )


@cache
def probes() -> tuple[str, ...]:
    """Texts for the measurement: held-out queries of the starter set, then unusual texts."""
    lines = QUERIES.read_text(encoding="utf-8").splitlines()[:_QUERY_PAIRS]
    rows = [json.loads(line) for line in lines]
    return (*(row[key] for row in rows for key in ("query", "rewording")), *_AWKWARD)


def check_vectors(model: DualEncoder, name: str) -> None:
    """Raise UserError for a model with damaged weights, whose text vectors have no direction."""
    lengths = encode_texts(model, list(_AWKWARD), _AT_ONCE).norm(dim=1)
    if not bool((lengths.isfinite() & (lengths > 0)).all()):
        what = "has vectors of texts that are zero, NaN or infinite"
        raise UserError(name, what, "Train it again, or use an earlier checkpoint.")


def check_half(model: DualEncoder) -> Drift:
    """The drift of a model's text vectors with 16-bit weights, computed in float32.

    Raises:
        UserError: a weight exceeds 16-bit floats, or the vectors are too far from the float ones.
    """
    for name, value in model.state_dict().items():  # of both towers, which are both written
        if value.is_floating_point() and not bool(torch.isfinite(value.half()).all()):
            what = f"weights of {name} exceed the range of 16-bit floats"
            raise UserError("--half", what, "Leave --half out.")
    half = deepcopy(model)
    with torch.no_grad():
        for value in half.text_tower.parameters():
            value.copy_(value.half().float())
    shortened, floats = (
        encode_texts(one, list(probes()), _AT_ONCE).numpy() for one in (half, model)
    )
    return check_drift("--half", shortened, floats)


def check_drift(option: str, shortened: Vectors, floats: Vectors) -> Drift:
    """The drift of vectors [texts, width] from float ones.

    Raises:
        UserError: it is more than the option, `--half` or `--int8`, may cause.
    """
    weights, least = _LEAST[option]
    one, other = np.asarray(shortened, np.float64), np.asarray(floats, np.float64)
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosines = (one * other).sum(axis=1) / lengths
    # A vector of zeros or NaN has no direction, and NaN would pass a comparison.
    cosines = np.where(np.isfinite(cosines), cosines, -1)
    lowest, mean = float(cosines.min()), float(cosines.mean())
    if round(lowest, 6) < least:  # to the digits that are reported
        what = (
            f"changes vectors of this model to a cosine of {lowest:.4f} with the float ones, and"
            f" {least} is the least"
        )
        raise UserError(option, what, f"Leave {option} out.")
    return Drift(weights, round(lowest, 6), round(mean, 6), len(cosines))
