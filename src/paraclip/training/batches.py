"""The rows of a run, cut into batches: shuffled by seed and epoch, split off the held-out."""

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
    """How much of a batch each process makes, process by process; one number for one alone.

    Args:
        rows: rows.
        images: of them, rows with a picture.
        negatives: of them, rows with a hard negative.
    """

    rows: list[int]
    images: list[int]
    negatives: list[int]


@dataclass(frozen=True)
class Batch:
    """One step's rows, B over all processes, b of them this process's own.

    Args:
        chunks: token ids int64 [n, length] of all its own texts, each of them once, sorted by
            length and cut to the longest of each chunk.
        restore: int64 [T * b + m]; picks the vectors out of the chunks' in the order text by
            text, then the m hard negatives.
        features: frozen image features float32 [k, F] of its own rows that have a picture.
        rows: which of all B rows take part in which loss.
        sizes: b, k and m of every process.
        size: b, the number of its own rows.
        numbers: int64 [B], which rows of the run they are.
        pictures: the k pictures themselves, where the image tower is trained; else None.
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
        """The same batch on another device."""
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
        tokens: of every text once.
        places: int64 [T, N], index of each row's texts among `tokens`.
        names: the T texts that are kept: of caption, paraphrase_1, paraphrase_2.
        features: frozen image features float32 [N, F]; F may be 0 where no row has a picture.
        has_image: bool [N].
        image_keys: int64 [N], equal where the picture is the same.
        text_keys: int64 [3, N] of caption, paraphrase_1, paraphrase_2; equal where the text is.
        chunk: texts that go through the tower at once.
        negative: int64 [N], index of each row's hard negative among `tokens`, -1 for none.
        negative_keys: int64 [N], as `text_keys`.
        pictures: each row's picture, by the name that `open_image` takes, or None; for runs
            that train the image tower, which have no features.
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
        """The batch of these rows [B] for the k-th of n processes."""
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
        places = torch.from_numpy(restore[again])
        return Batch(chunks, places, features, of_all, sizes, len(own), rows, pictures)

    def texts(self, rows: Integers) -> Integers:
        """Places among `tokens` of the rows' texts, text by text, then of their negatives."""
        texts = self.places[:, rows].ravel()  # [T * B]
        if self.negative is None:
            return texts
        return np.concatenate([texts, self.negative[self.with_negative(rows)]])

    def with_negative(self, rows: Integers) -> Integers:
        """Those of the rows that have a hard negative."""
        return rows[:0] if self.negative is None else rows[self.negative[rows] >= 0]

    def parts(self, rows: Integers) -> Rows:
        """Which of the rows take part in which loss, and which are no fair negatives."""
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
    """Edges that cut `count` things into the fewest parts of at most `most`, sizes equal ± 1."""
    parts = max(1, -(-count // most))
    return np.arange(parts + 1, dtype=np.int64) * count // parts


def split_rows(image_keys: Integers, share: float, seed: int) -> tuple[Integers, Integers]:
    """Rows to learn from and rows held out; no picture is on both sides.

    Args:
        image_keys: int64 [N].
        share: of the pictures to hold out; at most 4,096 of them are. Fewer than 2 held-out
            pictures measure nothing: then none is held out.
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
    """The rows of the steps `start` to `stop`, over epochs; the step is the position."""
    a_pass = steps_per_epoch(len(rows), batch_size)
    batches: list[Integers] = []
    for step in range(start, stop):
        if step == start or step % a_pass == 0:
            batches = epoch_batches(rows, batch_size, seed, step // a_pass)
        yield batches[step % a_pass]
