"""The placebo: paraphrases that say nothing about the caption they stand beside."""

from collections.abc import Mapping, Sequence

import numpy as np

from paraclip.training.losses import CAPTION, PARAPHRASE_1, PARAPHRASE_2


def shuffled_paraphrases(texts: Mapping[str, Sequence[str]], seed: int) -> dict[str, list[str]]:
    """The same texts, every row with the paraphrases of two other rows.

    Rows are put in a circle by the seed; paraphrase_1 comes from the next row and paraphrase_2 from
    the one after it, so that neither L2 nor L3 ties a text to its own paraphrase. Rows of one text
    (`--replay`) have no paraphrases and stay.

    Args:
        texts: N texts under each of caption, paraphrase_1 and paraphrase_2.
        seed: decides the circle.
    """
    found = {name: list(of_rows) for name, of_rows in texts.items()}
    whole = zip(*(texts[name] for name in (CAPTION, PARAPHRASE_1, PARAPHRASE_2)), strict=True)
    reworded = np.flatnonzero([len(set(row)) > 1 for row in whole])
    circle = np.random.default_rng([seed, 0x91AC]).permutation(reworded)
    for name, distance in ((PARAPHRASE_1, 1), (PARAPHRASE_2, 2)):
        for row, other in zip(circle, np.roll(circle, -distance), strict=True):
            found[name][row] = texts[name][other]
    return found
