"""A stand-in for MiniLM that needs no weights: every word has its own direction."""

import hashlib
from collections.abc import Sequence

import numpy as np

from paraclip.paraphrase.english import root, words
from paraclip.paraphrase.filters.minilm import EmbeddedText

WIDTH = 384


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def direction(word: str) -> np.ndarray:
    """A unit vector that depends on the word's root alone; two of them are nearly orthogonal."""
    seed = int.from_bytes(hashlib.sha256(root(word).encode()).digest()[:4], "big")
    return unit(np.random.default_rng(seed).standard_normal(WIDTH).astype(np.float32))


class BagEncoder:
    """Sentence vector: the mean of its words' directions."""

    def read(self, texts: Sequence[str]) -> list[EmbeddedText]:
        """As `SentenceEncoder.read`."""
        found = []
        for text in texts:
            text_words = words(text)
            rows = np.array([direction(word) for word in text_words or [""]])
            found.append(EmbeddedText(unit(rows.mean(0)), text_words, rows[: len(text_words)]))
        return found
