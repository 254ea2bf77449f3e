"""Token ids of all texts, computed once and stored without padding.

The ids are stored in one flat array with offsets; padding is added only when a batch is built.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paraclip.models.encoder import DualEncoder
from paraclip.progress import bar

Integers = NDArray[np.int64]
TOKENIZE_AT_ONCE = 4096


@dataclass(frozen=True)
class TokenStore:
    """Token ids of many texts, unpadded.

    Args:
        flat: concatenated token ids, int32 [all tokens].
        offsets: int64 [texts + 1]; text i is `flat[offsets[i]:offsets[i + 1]]`.
        pad: padding id, appended to the shorter texts of a batch.
        truncated: number of texts that were truncated to the context length.
    """

    flat: NDArray[np.int32]
    offsets: Integers
    pad: int
    truncated: int

    def lengths(self, texts: Integers) -> Integers:
        """Return the number of tokens of each text, including the end token."""
        return self.offsets[texts + 1] - self.offsets[texts]

    def padded(self, texts: Integers) -> Tensor:
        """Return the token ids, int64 [texts, longest text], padded at the end."""
        lengths = self.lengths(texts)
        ids = np.full((len(texts), lengths.max()), self.pad, dtype=np.int64)
        inside = np.arange(ids.shape[1]) < lengths[:, None]  # [texts, longest]
        starts = np.repeat(self.offsets[texts], lengths)
        position_in_text = np.nonzero(inside)[1]
        ids[inside] = self.flat[starts + position_in_text]
        return torch.from_numpy(ids)


def store_tokens(model: DualEncoder, texts: Sequence[str], label: str = "tokens") -> TokenStore:
    """Tokenize all texts."""
    pad = padding_id(model)
    rows: list[NDArray[np.int32]] = []
    truncated = 0
    with bar(label, len(texts), "text") as moving:
        for start in range(0, len(texts), TOKENIZE_AT_ONCE):
            tokens = model.tokenize(texts[start : start + TOKENIZE_AT_ONCE])
            truncated += tokens.truncated
            rows += [without_padding(row, pad) for row in tokens.ids.numpy().astype(np.int32)]
            moving.update(len(tokens.ids))
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return TokenStore(np.concatenate(rows), offsets, pad, truncated)


def padding_id(model: DualEncoder) -> int:
    """Return the padding id of the model's tokenizer."""
    return int(model.tokenize(["a", "a text that is surely longer than the other"]).ids[0, -1])


def without_padding(row: NDArray[np.int32], pad: int) -> NDArray[np.int32]:
    """Remove the trailing padding of a row of ids; every text ends with an end token."""
    kept = np.nonzero(row != pad)[0]
    return row[: kept[-1] + 1] if len(kept) else row[:1]
