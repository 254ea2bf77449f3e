"""Vectors of a model for a benchmark, checked to be finite; unreadable pictures are skipped."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from paraclip.arrays import Float, Integers
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import encode_images, encode_texts

MOST_NAMED = 20


@dataclass(frozen=True)
class Arithmetic:
    """How vectors are computed."""

    precision: str = "fp32"  # fp32 or bf16 (autocast)
    batch_size: int = 256  # number of texts per batch
    # largest share of unreadable pictures that is skipped without an error
    max_broken: float = 0.01


def text_vectors(model: DualEncoder, texts: Sequence[str], how: Arithmetic, label: str) -> Float:
    """Return the unit vectors of texts, float32 [texts, width].

    Raises:
        UserError: if a vector is not finite.
    """
    found = encode_texts(model, list(texts), how.batch_size, label, how.precision)
    vectors = found.numpy()
    refuse_infinite(vectors, "the model's text vectors")
    return vectors


def image_vectors(
    model: DualEncoder, references: Sequence[str], cache: Path | None, how: Arithmetic
) -> tuple[Float, Integers, list[str]]:
    """Return the unit vectors of the readable pictures.

    Returns:
        Vectors, float32 [good, width]; their indices in `references` [good]; and notes on the
        pictures that were skipped.

    Raises:
        UserError: if more pictures are unreadable than `max_broken` allows, none is readable, or
            a vector is not finite.
    """
    refuse_blind(model)
    problems = Problems(how.max_broken)
    vectors = encode_images(model, references, cache, problems, how.precision).numpy()
    problems.check(len(set(references)))
    broken = np.isnan(vectors).all(axis=1)
    if len({references[row] for row in np.flatnonzero(broken).tolist()}) > problems.count:
        refuse_infinite(vectors, "the model's image vectors")
    good = np.flatnonzero(~broken)
    if not len(good):
        raise UserError("pictures", "none can be read", "Replace them.")
    kept = vectors[good]
    refuse_infinite(kept, "the model's image vectors")
    return kept, good, left_out(problems, len(references))


def refuse_blind(model: DualEncoder) -> None:
    """Raise an error early for a model without an image tower."""
    model.preprocess(Image.new("RGB", (model.image_size, model.image_size)))


def reads_pictures(model: DualEncoder) -> bool:
    """Return whether a model has an image tower."""
    try:
        refuse_blind(model)
    except UserError:
        return False
    return True


def left_out(problems: Problems, total: int, things: str = "pictures") -> list[str]:
    """Return a note that lists the first 20 unreadable pictures, or nothing if there are none."""
    if not problems.count:
        return []
    named = "; ".join(f"{where}: {what}" for where, what in problems.listed[:MOST_NAMED])
    more = f"; {problems.count - MOST_NAMED:,} more" if problems.count > MOST_NAMED else ""
    return [f"{problems.count:,} of {total:,} {things} left out: {named}{more}"]


def refuse_infinite(vectors: Float, what: str, start: int = 0) -> None:
    """Raise if a vector contains NaN or infinity; `start` is the number of the first row."""
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        which = f"{len(bad)} of {len(vectors):,} are not finite, the first is number"
        hint = "The weights or the file are corrupt; create them again."
        raise UserError(what, f"{which} {start + int(bad[0])}", hint)
