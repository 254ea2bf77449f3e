"""Vectors are cached, so that a text used in both steps is encoded once."""

from collections.abc import Sequence

import numpy as np
import pytest

from paraclip.paraphrase.filters import similarity
from paraclip.paraphrase.filters.similarity import Reading, SentenceEncoder


class Counting(SentenceEncoder):
    """Records what it reads, and gives each text a different vector."""

    def __init__(self, batch_size: int = 64) -> None:
        self.batch_size, self._kept, self.batches = batch_size, {}, list[list[str]]()

    def _read_batch(self, texts: Sequence[str]) -> list[Reading]:
        self.batches.append(list(texts))
        return [Reading(np.array([float(text)]), [text], np.zeros((1, 1))) for text in texts]


def read(encoder: SentenceEncoder, *numbers: int) -> list[float]:
    return [float(one.vector[0]) for one in encoder.read([str(number) for number in numbers])]


def test_no_text_is_read_twice() -> None:
    encoder = Counting()
    assert read(encoder, 3, 1, 3) == [3, 1, 3]
    assert read(encoder, 1, 2, 3) == [1, 2, 3]
    assert sorted(text for batch in encoder.batches for text in batch) == ["1", "2", "3"]


def test_batches_are_bounded_and_of_like_length() -> None:
    encoder = Counting(batch_size=2)
    assert read(encoder, 100, 1, 10, 2) == [100, 1, 10, 2]
    assert encoder.batches == [["1", "2"], ["10", "100"]]


def test_the_readings_used_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "MOST_KEPT", 2)
    encoder = Counting()
    for numbers in ((1,), (2,), (1,), (3,), (1,), (2,)):
        read(encoder, *numbers)
        assert len(encoder._kept) <= 2
    assert encoder.batches == [["1"], ["2"], ["3"], ["2"]]
    assert read(encoder, 1, 2, 3, 4) == [1, 2, 3, 4]
