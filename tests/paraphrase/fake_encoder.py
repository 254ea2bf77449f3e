"""A stand-in for MiniLM that needs no weights: every word has its own direction."""

import hashlib
from collections.abc import Sequence

import numpy as np

from paraclip.arrays import Float
from paraclip.data.words import words
from paraclip.paraphrase.english import root

WIDTH = 384


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def direction(word: str) -> np.ndarray:
    """A unit vector that depends on the word's root alone; two of them are nearly orthogonal."""
    seed = int.from_bytes(hashlib.sha256(root(word).encode()).digest()[:4], "big")
    return unit(np.random.default_rng(seed).standard_normal(WIDTH).astype(np.float32))


class BagEncoder:
    """Sentence vector: the mean of its words' directions."""

    def encode(self, texts: Sequence[str]) -> list[Float]:
        """As `SentenceEncoder.encode`."""
        return [
            unit(np.mean([direction(word) for word in words(text) or [""]], axis=0))
            for text in texts
        ]
