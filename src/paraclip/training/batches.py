"""The rows of a run, cut into batches: shuffled by seed and epoch, split off the held-out."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paraclip.training.losses import CAPTION, PARAPHRASE_1, PARAPHRASE_2, Rows
from paraclip.training.tokens import Integers, TokenStore

ALL_TEXTS = (CAPTION, PARAPHRASE_1, PARAPHRASE_2)
MOST_HELD_OUT = 4096


@dataclass(frozen=True)
class Batch:
    """One step's rows.

    Args:
        chunks: token ids int64 [n, length] of all its texts, sorted by length and cut to the
            longest of each chunk.
        restore: int64 [T * B]; picks the vectors out of the chunks' in the order text by text.
        features: frozen image features float32 [K, F] of the rows that have a picture.
        rows: which rows take part in which loss.
        size: B, the number of rows.
    """

    chunks: list[Tensor]
    restore: Tensor
    features: Tensor
    rows: Rows
    size: int

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        mask = self.rows.false_negatives
        rows = Rows(
            self.rows.with_image.to(device),
            self.rows.reworded_1.to(device),
            self.rows.reworded_2.to(device),
            None if mask is None else mask.to(device),
        )
        chunks = [chunk.to(device, non_blocking=True) for chunk in self.chunks]
        features = self.features.to(device, non_blocking=True)
        return Batch(chunks, self.restore.to(device), features, rows, self.size)


@dataclass(frozen=True)
class Examples:
    """All rows of a run.

    Args:
        tokens: of the texts `names`, one name's N texts after the other's.
        names: which texts are kept: of caption, paraphrase_1, paraphrase_2.
        features: frozen image features float32 [N, F]; F may be 0 where no row has a picture.
        has_image: bool [N].
        image_keys: int64 [N], equal where the picture is the same.
        text_keys: int64 [3, N] of caption, paraphrase_1, paraphrase_2; equal where the text is.
        chunk: texts that go through the tower at once.
    """

    tokens: TokenStore
    names: tuple[str, ...]
    features: Tensor
    has_image: NDArray[np.bool_]
    image_keys: Integers
    text_keys: Integers
    chunk: int = 128

    def __len__(self) -> int:
        return len(self.image_keys)

    def batch(self, rows: Integers) -> Batch:
        """The batch of these rows [B]."""
        names = len(self.names)
        texts = (np.arange(names)[:, None] * len(self) + rows).ravel()  # [T * B]
        by_length = np.argsort(-self.tokens.lengths(texts), kind="stable")
        edges = even_edges(len(texts), self.chunk)
        chunks = [self.tokens.padded(texts[by_length[a:b]]) for a, b in pairwise(edges)]
        restore = np.empty_like(by_length)
        restore[by_length] = np.arange(len(texts))
        with_image = np.nonzero(self.has_image[rows])[0]
        features = self.features[torch.from_numpy(rows[with_image])]  # [K, F]
        return Batch(chunks, torch.from_numpy(restore), features, self.parts(rows), len(rows))

    def parts(self, rows: Integers) -> Rows:
        """Which of the rows take part in which loss, and which are no fair negatives."""
        caption, paraphrase_1, paraphrase_2 = self.text_keys[:, rows]  # [B] each
        used = [ALL_TEXTS.index(name) for name in self.names]
        keys = np.vstack([self.image_keys[rows], self.text_keys[used][:, rows]])  # [1 + T, B]
        mask = sharing(keys)
        return Rows(
            torch.from_numpy(np.nonzero(self.has_image[rows])[0]),
            torch.from_numpy(np.nonzero(caption != paraphrase_1)[0]),
            torch.from_numpy(np.nonzero(paraphrase_1 != paraphrase_2)[0]),
            None if mask is None else torch.from_numpy(mask),
        )


def sharing(keys: Integers) -> NDArray[np.bool_] | None:
    """Pairs of rows that share any key: the same picture, or the same text on either side.

    Args:
        keys: int64 [kinds, B]; image keys and text keys must not overlap.

    Returns:
        bool [B, B] with a false diagonal, or None where no two rows share anything.
    """
    row_of = np.broadcast_to(np.arange(keys.shape[1]), keys.shape).ravel()
    _, group, counts = np.unique(keys.ravel(), return_inverse=True, return_counts=True)
    by_group = row_of[np.argsort(group, kind="stable")]
    ends = np.cumsum(counts)
    mask = np.zeros((keys.shape[1],) * 2, dtype=bool)
    for repeated in np.flatnonzero(counts > 1):
        owners = by_group[ends[repeated] - counts[repeated] : ends[repeated]]
        mask[np.ix_(owners, owners)] = True
    np.fill_diagonal(mask, False)
    return mask if mask.any() else None


def even_edges(count: int, most: int) -> Integers:
    """Edges that cut `count` things into the fewest parts of at most `most`, sizes equal ± 1."""
    parts = max(1, -(-count // most))
    return np.arange(parts + 1, dtype=np.int64) * count // parts


def split_rows(image_keys: Integers, share: float, seed: int) -> tuple[Integers, Integers]:
    """Rows to learn from and rows held out; no picture is on both sides.

    Args:
        image_keys: int64 [N].
        share: of the pictures to hold out; at most 4,096 of them are. Fewer than 2 held-out
            pictures would tell nothing: then none is held out.
        seed: decides which.
    """
    pictures = np.unique(image_keys)
    count = min(int(len(pictures) * share), MOST_HELD_OUT)
    if count < 2:
        return np.arange(len(image_keys)), np.zeros(0, dtype=np.int64)
    chosen = np.random.default_rng([seed, 0x5917]).permutation(pictures)[:count]
    held_out = np.isin(image_keys, chosen)
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Batches that an epoch is cut into."""
    return len(even_edges(rows, batch_size)) - 1


def epoch_batches(rows: Integers, batch_size: int, seed: int, epoch: int) -> list[Integers]:
    """The rows of each batch of an epoch, shuffled by seed and epoch, sizes equal ± 1."""
    shuffled = np.random.default_rng([seed, epoch]).permutation(rows)
    return [shuffled[a:b] for a, b in pairwise(even_edges(len(rows), batch_size))]


def row_batches(
    rows: Integers, batch_size: int, seed: int, start: int, stop: int
) -> Iterator[Integers]:
    """The rows of the steps `start` to `stop`, over epochs; the place in the data is the step."""
    a_pass = steps_per_epoch(len(rows), batch_size)
    batches: list[Integers] = []
    for step in range(start, stop):
        if step == start or step % a_pass == 0:
            batches = epoch_batches(rows, batch_size, seed, step // a_pass)
        yield batches[step % a_pass]
