"""What unrelated texts get from pictures, so that "nothing close" can be said.

Every query has a best picture. Close results have a higher similarity than the best ones of texts
that no picture shows: the first half of a caption of the starter set with the second half of
another, since a broad index may have a picture for each caption alone. The cut-off is made of the
median and the lower half of these similarities, which a few texts that fit hardly move. Every model
has a cut-off of its own. docs/benchmarks.md has the errors for things that are present, and absent.
"""

import json
import random
from functools import cache

import numpy as np

from paraclip.arrays import Float
from paraclip.starter import TRIPLES

_TEXTS = 300
SPREADS = 0.75
"""Height of the cut-off over the median, in distances to the 16 % quantile: docs/benchmarks.md."""


def cutoff_above(best: Float, spreads: float = SPREADS) -> float:
    """The cut-off from the best similarities of unrelated texts [texts]."""
    low, median = np.quantile(best, (0.16, 0.5))  # a standard deviation apart, if normal
    return float(median + spreads * (median - low))


@cache
def unrelated_texts() -> list[str]:
    """Texts that no picture shows, always the same."""
    lines = random.Random(0).sample(TRIPLES.read_text(encoding="utf-8").splitlines(), _TEXTS)
    captions = [json.loads(line)["caption"].split() for line in lines]
    pairs = zip(captions, [*captions[1:], captions[0]], strict=True)
    return [" ".join([*one[: len(one) // 2], *two[len(two) // 2 :]]) for one, two in pairs]
