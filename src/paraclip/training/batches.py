"""Held-out split of a run's rows, and batches shuffled by seed and epoch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paraclip.training.losses.false_negatives import false_negatives
from paraclip.training.losses.objective import CAPTION, PARAPHRASE_1, PARAPHRASE_2, Rows
from paraclip.training.tokens import Integers, TokenStore

ALL_TEXTS = (CAPTION, PARAPHRASE_1, PARAPHRASE_2)
MOST_HELD_OUT = 4096


@dataclass(frozen=True)
class Sizes:
    """Sizes of each process's part of a batch, in rank order.

    Args:
        rows: number of rows.
        images: number of rows with a picture.
        negatives: number of rows with a hard negative.
    """

    rows: list[int]
    images: list[int]
    negatives: list[int]


@dataclass(frozen=True)
class Batch:
    """The rows of one step: B over all processes, of which b belong to this process.

    Args:
        chunks: token ids, int64 [n, length], of the unique texts of this process, sorted by length
            and padded to the longest text of each chunk.
        restore: int64 [T * b + m], indices into the chunks' vectors that restore the order: the
            texts one kind at a time, then the m hard negatives.
        features: frozen image features, float32 [k, F], of this process's rows with a picture.
        rows: which of all B rows take part in which loss.
        sizes: b, k and m of every process.
        size: b, the number of rows of this process.
        numbers: indices of the rows in the run, int64 [B].
        pictures: the k pictures, if the image tower is trained; else None.
    """

    chunks: list[Tensor]
    restore: Tensor
    features: Tensor
    rows: Rows
    sizes: Sizes
    size: int
    numbers: Integers
    pictures: list[str] | None = None

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on another device."""
        rows = Rows(
            self.rows.with_image.to(device),
            self.rows.reworded_1.to(device),
            self.rows.reworded_2.to(device),
            self.rows.false_negatives,
        )
        return replace(
            self,
            chunks=[chunk.to(device, non_blocking=True) for chunk in self.chunks],
            restore=self.restore.to(device),
            features=self.features.to(device, non_blocking=True),
            rows=rows,
        )


@dataclass(frozen=True)
class Examples:
    """All rows of a run.

    Args:
        tokens: token ids of the unique texts.
        places: index in `tokens` of each row's texts, int64 [T, N].
        names: names of the T texts in use: a subset of caption, paraphrase_1, paraphrase_2.
        features: frozen image features, float32 [N, F]; F may be 0 if no row has a picture.
        has_image: whether each row has a picture, bool [N].
        image_keys: int64 [N], equal for rows with the same picture.
        text_keys: int64 [3, N] for caption, paraphrase_1, paraphrase_2; equal for equal texts.
        chunk: number of texts encoded at once.
        negative: index in `tokens` of each row's hard negative, int64 [N]; -1 for none.
        negative_keys: keys of the hard negatives, int64 [N], comparable with `text_keys`.
        pictures: each row's picture, as a reference for `open_image`, or None; for runs that train
            the image tower and have no features.
    """

    tokens: TokenStore
    places: Integers
    names: tuple[str, ...]
    features: Tensor
    has_image: NDArray[np.bool_]
    image_keys: Integers
    text_keys: Integers
    chunk: int = 128
    negative: Integers | None = None
    negative_keys: Integers | None = None
    pictures: Sequence[str | None] | None = None

    def __len__(self) -> int:
        return len(self.image_keys)

    def batch(self, rows: Integers, share: tuple[int, int] = (0, 1)) -> Batch:
        """Return the batch of rows [B] for the process with the given (rank, count)."""
        part, parts = share
        every = [rows[a:b] for a, b in pairwise(np.arange(parts + 1) * len(rows) // parts)]
        own = every[part]  # [b]
        texts, again = np.unique(self.texts(own), return_inverse=True)  # [n], [T * b + m]
        by_length = np.argsort(-self.tokens.lengths(texts), kind="stable")
        edges = even_edges(len(texts), self.chunk)
        chunks = [self.tokens.padded(texts[by_length[a:b]]) for a, b in pairwise(edges)]
        restore = np.empty_like(by_length)
        restore[by_length] = np.arange(len(texts))
        seen = own[self.has_image[own]]  # [k]
        features = self.features[torch.from_numpy(seen)]  # [k, F]
        pictures = None if self.pictures is None else [str(self.pictures[row]) for row in seen]
        sizes = Sizes(
            [len(some) for some in every],
            [int(self.has_image[some].sum()) for some in every],
            [len(self.with_negative(some)) for some in every],
        )
        of_all = self.parts(rows)
        order = torch.from_numpy(restore[again])
        return Batch(chunks, order, features, of_all, sizes, len(own), rows, pictures)

    def texts(self, rows: Integers) -> Integers:
        """Return indices in `tokens` of the rows' texts, one kind at a time, then of negatives."""
        texts = self.places[:, rows].ravel()  # [T * B]
        if self.negative is None:
            return texts
        return np.concatenate([texts, self.negative[self.with_negative(rows)]])

    def with_negative(self, rows: Integers) -> Integers:
        """Return the rows that have a hard negative."""
        return rows[:0] if self.negative is None else rows[self.negative[rows] >= 0]

    def parts(self, rows: Integers) -> Rows:
        """Return which rows take part in which loss, and which pairs are false negatives."""
        caption, paraphrase_1, paraphrase_2 = self.text_keys[:, rows]  # [B] each
        used = [ALL_TEXTS.index(name) for name in self.names]
        keys = np.vstack([self.image_keys[rows], self.text_keys[used][:, rows]])  # [1 + T, B]
        negatives = None
        if self.negative_keys is not None:
            negatives = self.negative_keys[self.with_negative(rows)]  # [M]
        return Rows(
            torch.from_numpy(np.nonzero(self.has_image[rows])[0]),
            torch.from_numpy(np.nonzero(caption != paraphrase_1)[0]),
            torch.from_numpy(np.nonzero(paraphrase_1 != paraphrase_2)[0]),
            false_negatives(keys, negatives),
        )


def even_edges(count: int, most: int) -> Integers:
    """Return edges that split `count` items into the fewest parts of at most `most`, equal ± 1."""
    parts = max(1, -(-count // most))
    return np.arange(parts + 1, dtype=np.int64) * count // parts


def split_rows(image_keys: Integers, share: float, seed: int) -> tuple[Integers, Integers]:
    """Split rows into training and held-out rows that share no picture.

    Args:
        image_keys: picture keys, int64 [N].
        share: share of the pictures to hold out, limited to 4,096 pictures. If it gives fewer than
            2 pictures, none are held out, since no loss can be computed.
        seed: random seed of the split.
    """
    pictures = np.unique(image_keys)
    count = min(int(len(pictures) * share), MOST_HELD_OUT)
    if count < 2:
        return np.arange(len(image_keys)), np.zeros(0, dtype=np.int64)
    chosen = np.random.default_rng([seed, 0x5917]).permutation(pictures)[:count]
    held_out = np.isin(image_keys, chosen)
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Return the number of batches per epoch."""
    return len(even_edges(rows, batch_size)) - 1


def epoch_batches(rows: Integers, batch_size: int, seed: int, epoch: int) -> list[Integers]:
    """Return the rows of each batch of an epoch, shuffled by seed and epoch, sizes equal ± 1."""
    shuffled = np.random.default_rng([seed, epoch]).permutation(rows)
    return [shuffled[a:b] for a, b in pairwise(even_edges(len(rows), batch_size))]


def row_batches(
    rows: Integers, batch_size: int, seed: int, start: int, stop: int
) -> Iterator[Integers]:
    """Yield the rows of each step from `start` up to but excluding `stop`, across epochs."""
    a_pass = steps_per_epoch(len(rows), batch_size)
    batches: list[Integers] = []
    for step in range(start, stop):
        if step == start or step % a_pass == 0:
            batches = epoch_batches(rows, batch_size, seed, step // a_pass)
        yield batches[step % a_pass]
