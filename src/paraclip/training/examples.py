"""All rows of a run as numbers, their held-out split, and the batches made of them.

Token ids are stored in one flat array with offsets; padding is added only when a batch is built.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paraclip.models.encoder import DualEncoder
from paraclip.progress import bar
from paraclip.training.losses.contrast import Integers, false_negatives
from paraclip.training.losses.objective import ALL_TEXTS, Rows

MOST_HELD_OUT = 4096
TOKENIZE_AT_ONCE = 4096


@dataclass(frozen=True)
class TokenStore:
    """Token ids of many texts, unpadded."""

    flat: NDArray[np.int32]  # concatenated token ids, int32 [all tokens]
    offsets: Integers  # int64 [texts + 1]; text i is `flat[offsets[i]:offsets[i + 1]]`
    pad: int  # padding id, appended to the shorter texts of a batch
    truncated: int  # number of texts that were truncated to the context length

    def lengths(self, texts: Integers) -> Integers:
        """Return the number of tokens of each text, including the end token."""
        return self.offsets[texts + 1] - self.offsets[texts]

    def padded(self, texts: Integers) -> Tensor:
        """Return the token ids, int64 [texts, longest text], padded at the end."""
        lengths = self.lengths(texts)
        ids = np.full((len(texts), lengths.max()), self.pad, dtype=np.int64)
        inside = np.arange(ids.shape[1]) < lengths[:, None]  # [texts, longest]
        starts = np.repeat(self.offsets[texts], lengths)
        ids[inside] = self.flat[starts + np.nonzero(inside)[1]]
        return torch.from_numpy(ids)


def store_tokens(model: DualEncoder, texts: Sequence[str]) -> TokenStore:
    """Tokenize all texts and remove their padding; every text ends with an end token."""
    pad = padding_id(model)
    flat, lengths, truncated = [], [np.zeros(1, dtype=np.int64)], 0
    with bar("tokens", len(texts), "text") as moving:
        for start in range(0, len(texts), TOKENIZE_AT_ONCE):
            tokens = model.tokenize(texts[start : start + TOKENIZE_AT_ONCE])
            truncated += tokens.truncated
            ids = tokens.ids.numpy().astype(np.int32)  # [texts, length]
            places = np.arange(ids.shape[1])
            last = np.where(ids != pad, places, 0).max(1)  # [texts]
            flat.append(ids[places <= last[:, None]])
            lengths.append(last + 1)
            moving.update(len(ids))
    offsets = np.cumsum(np.concatenate(lengths), dtype=np.int64)
    return TokenStore(np.concatenate(flat), offsets, pad, truncated)


def padding_id(model: DualEncoder) -> int:
    """Return the padding id of the model's tokenizer."""
    return int(model.tokenize(["a", "a text that is surely longer than the other"]).ids[0, -1])


@dataclass(frozen=True)
class Sizes:
    """Sizes of each process's part of a batch, in rank order: rows, pictures, hard negatives."""

    rows: list[int]
    images: list[int]
    negatives: list[int]


@dataclass(frozen=True)
class Batch:
    """The rows of one step: B over all processes, of which b belong to this process."""

    # token ids, int64 [n, length], of the unique texts of this process, sorted by length and padded
    # to the longest text in each chunk
    chunks: list[Tensor]
    # int64 [T * b + m], indices into the chunks' vectors that restore the order: the texts one kind
    # at a time, then the m hard negatives
    restore: Tensor
    features: Tensor  # frozen image features, float32 [k, F], of this process's rows with a picture
    rows: Rows  # which of all B rows take part in which loss
    sizes: Sizes  # b, k and m of every process
    size: int  # b, the number of rows of this process
    numbers: Integers  # indices of the rows in the run, int64 [B]
    pictures: list[str] | None = None  # the k pictures, if the image tower is trained; else None
    base: Tensor | None = None  # the captions' vectors by the base, [B, D], for distillation

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on another device."""
        return replace(
            self,
            chunks=[chunk.to(device, non_blocking=True) for chunk in self.chunks],
            restore=self.restore.to(device),
            features=self.features.to(device, non_blocking=True),
            rows=self.rows.to(device),
            base=None if self.base is None else self.base.to(device),
        )


@dataclass(frozen=True)
class Examples:
    """All N rows of a run."""

    tokens: TokenStore  # token ids of the unique texts
    text_rows: Integers  # index in `tokens` of each row's texts, int64 [T, N]
    # names of the T texts in use: a subset of caption, paraphrase_1, paraphrase_2
    names: tuple[str, ...]
    features: Tensor  # frozen image features, float32 [N, F]; F may be 0 if no row has a picture
    has_image: NDArray[np.bool_]  # whether each row has a picture, bool [N]
    image_keys: Integers  # int64 [N], equal for rows with the same picture
    # int64 [3, N] for caption, paraphrase_1, paraphrase_2; equal for equal texts
    text_keys: Integers
    chunk: int = 128  # number of texts encoded together
    # index in `tokens` of each row's hard negative, int64 [N]; -1 for none
    negative: Integers | None = None
    # keys of the hard negatives, int64 [N], comparable with `text_keys`
    negative_keys: Integers | None = None
    # each row's picture, as a reference for `open_image`, or None; for runs that train the image
    # tower and have no features
    pictures: Sequence[str | None] | None = None
    # the captions' unit vectors by the base, float32 [N, D], for distillation
    base: Tensor | None = None

    def __len__(self) -> int:
        return len(self.image_keys)

    def batch(self, rows: Integers, share: tuple[int, int] = (0, 1)) -> Batch:
        """Return the batch of rows [B] for the process with the given (rank, count)."""
        part, parts = share
        every = [rows[a:b] for a, b in pairwise(np.arange(parts + 1) * len(rows) // parts)]
        own = every[part]  # [b]
        chunks, restore = self.chunks(own)
        seen = own[self.has_image[own]]  # [k]
        features = self.features[torch.from_numpy(seen)]  # [k, F]
        pictures = None if self.pictures is None else [str(self.pictures[row]) for row in seen]
        sizes = Sizes(
            [len(some) for some in every],
            [int(self.has_image[some].sum()) for some in every],
            [len(self.with_negative(some)) for some in every],
        )
        base = None if self.base is None else self.base[torch.from_numpy(rows)]  # [B, D]
        return Batch(
            chunks, restore, features, self.parts(rows), sizes, len(own), rows, pictures, base
        )

    def chunks(self, rows: Integers) -> tuple[list[Tensor], Tensor]:
        """Return the unique texts of some rows in chunks of similar length, and `Batch.restore`."""
        texts = self.text_rows[:, rows].ravel()  # [T * b], one kind at a time
        if self.negative is not None:
            texts = np.concatenate([texts, self.negative[self.with_negative(rows)]])
        texts, again = np.unique(texts, return_inverse=True)  # [n], [T * b + m]
        by_length = np.argsort(-self.tokens.lengths(texts), kind="stable")
        edges = even_edges(len(texts), self.chunk)
        chunks = [self.tokens.padded(texts[by_length[a:b]]) for a, b in pairwise(edges)]
        restore = np.empty_like(by_length)
        restore[by_length] = np.arange(len(texts))
        return chunks, torch.from_numpy(restore[again])

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
