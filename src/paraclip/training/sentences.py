"""S: the rows of a batch are as similar as a frozen sentence encoder, MiniLM, finds them."""

from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from paraclip.arrays import Integers
from paraclip.models.loading import load_model
from paraclip.starter import TEXTS
from paraclip.training.data import Examples, TrainingData, encode_wordings
from paraclip.training.losses import Loss, Vectors, distil

MEANINGS = "meanings"
"""Name in `Vectors.constants`: the wordings' vectors by the sentence encoder, [B, TEXTS, E]."""
SENTENCE_TEMPERATURE = 0.05
PAIRS = sorted(combinations(range(len(TEXTS)), 2), key=lambda pair: pair[1] - pair[0])
"""Wordings, by their places in `TEXTS`, whose similarities are compared with the encoder's."""


class Sentences(Loss):
    """S: cross-entropy of the similarities of two wordings with those of a sentence encoder.

    Source: RankCSE, Liu et al. 2023, arXiv 2305.16726, section 3.2.
    """

    def prepare(self, data: TrainingData, examples: Examples) -> None:
        """Have the sentence encoder encode all wordings."""
        model = load_model("minilm", str(data.model.device))
        self._vectors, places = encode_wordings(data, model, "meanings")
        # A wording in another language has the meaning of the caption.
        self._places = np.where(places < 0, places[0], places)

    def constants(self, rows_B: Integers, places_TB: Integers) -> dict[str, Tensor]:
        """The sentence encoder's vectors of the wordings."""
        return {MEANINGS: self._vectors[torch.from_numpy(self._places[places_TB, rows_B].T)]}

    def value(self, vectors: Vectors, share: tuple[int, int]) -> Tensor:
        """Its mean over `PAIRS`."""
        texts, scale = [vectors.texts[name] for name in TEXTS], 1 / SENTENCE_TEMPERATURE
        meanings = vectors.constants[MEANINGS].to(texts[0].dtype).unbind(1)

        def compare(a: int, b: int) -> Tensor:
            def wanted_of(block: slice) -> Tensor:
                return (scale * meanings[a][block] @ meanings[b].T).softmax(1)

            return distil(texts[a][None], texts[b], wanted_of, scale, share)

        return torch.stack([compare(a, b) for a, b in PAIRS]).mean()
