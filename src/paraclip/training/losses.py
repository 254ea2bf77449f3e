"""The losses: L = w1·L1(image, text) + w2·L2(caption, paraphrase_1) + w3·L3(paraphrases) + ...

Functions of vectors, whatever computed these. `LOSSES` is the table of all terms; a further one is
a function and a line there. `info_nce` is the plain contrastive loss; `_contrast` equals it without
a B x B matrix. R and S learn from frozen teachers: R from the pictures that models find for the
average of a row's wordings, S from how a sentence encoder compares the rows.

Source: paper, section 3, for L1, L2 and L3.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from paraclip.arrays import Integers
from paraclip.plugins import Table

CAPTION, PARAPHRASE_1, PARAPHRASE_2 = "caption", "paraphrase_1", "paraphrase_2"
ALL_TEXTS = (CAPTION, PARAPHRASE_1, PARAPHRASE_2)
L1, L2, L3, RANKING, SENTENCES = "L1", "L2", "L3", "R", "S"
BANK, TEACHERS, TEACHERS_BANK, MEANINGS = "bank", "teachers", "teachers_bank", "meanings"
HUBS = "hubs"
"""Names in `Vectors.constants`: image vectors [M, D]; by the teachers of R, side by side, vectors
of the averaged wordings [B, E] and of the same M pictures [M, E]; the wordings' vectors by a
sentence encoder [B, 3, E]; and what each teacher's logits of the pictures are lowered by [K, M]."""
SENTENCE_TEMPERATURE = 0.05
PAIRS = ((CAPTION, PARAPHRASE_1), (PARAPHRASE_1, PARAPHRASE_2), (CAPTION, PARAPHRASE_2))
"""Wordings whose similarities S compares with those of the sentence encoder."""
BLOCK = 1 << 22
"""Number of similarities in a block of `_contrast`: 16 MiB in float32."""


def info_nce(a: Tensor, b: Tensor, scale: Tensor, false_negatives: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE: a_i must match b_i among all of b, and b_i match a_i among all of a.

    The plain reference; training uses `_contrast`, which is equal but needs no [N, N] matrix.

    Args:
        a: unit vectors [N, D].
        b: unit vectors [N, D]; row i is the positive of row i.
        scale: inverse temperature, a scalar.
        false_negatives: bool [N, N], true where b_j is a false negative of a_i; these pairs are
            left out of the denominators. The diagonal must be false. None: every other row is a
            negative.

    Returns:
        The mean over both directions and all rows, a scalar in float32 or wider. With fewer than
        two rows there are no negatives, and it is 0.

    Source: the contrastive loss of CLIP, Radford et al. 2021; van den Oord et al. 2018.
    """
    if len(a) < 2:
        return (a.sum() + b.sum()) * 0.0
    wide = torch.promote_types(a.dtype, torch.float32)
    with torch.autocast(a.device.type, enabled=False):
        logits = scale.to(wide) * a.to(wide) @ b.to(wide).T  # [N, N]
        if false_negatives is not None:
            logits = logits.masked_fill(false_negatives, -torch.inf)
        target = torch.arange(len(a), device=a.device)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


@dataclass(frozen=True)
class FalseNegatives:
    """The rows that share a picture or a text, and are therefore not negatives of each other.

    Only a sparse membership matrix is kept; the pairs of a block of rows are computed with it.
    """

    groups: sparse.csr_array  # sparse int8 [B, groups]; above 0 where the row is in the group

    def among(self, chosen: Tensor) -> "FalseNegatives":
        """The same for a selection of rows [N]."""
        return FalseNegatives(self.groups[chosen.cpu().numpy()])

    def pairs(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """False negatives of the rows from `start` to `stop`: int64 row - start, and column."""
        shared = (self.groups[start:stop] @ self.groups.T).tocoo()
        row, column = shared.row.astype(np.int64), shared.col.astype(np.int64)
        others = row + start != column  # the diagonal contains the positives
        return torch.from_numpy(row[others]), torch.from_numpy(column[others])

    def dense(self) -> Tensor:
        """Bool [B, B], for small batches only."""
        count = self.groups.shape[0]
        mask = torch.zeros(count, count, dtype=torch.bool)
        mask[self.pairs(0, count)] = True
        return mask


def find_false_negatives(keys: Integers) -> FalseNegatives | None:
    """Find rows that share one of their keys int64 [kinds, B]: the same picture, or the same text
    on either side (image keys and text keys must not overlap); None if no two rows do."""
    kinds, count = keys.shape
    place = np.tile(np.arange(count), kinds)
    entries = np.unique(np.stack([keys.ravel(), place]), axis=1)  # a row may have a key twice
    _, group, counts = np.unique(entries[0], return_inverse=True, return_counts=True)
    shared = (counts > 1)[group]
    if not shared.any():
        return None
    ones = np.ones(int(shared.sum()), dtype=np.int8)
    members = (entries[1][shared], group[shared])
    return FalseNegatives(sparse.csr_array((ones, members), shape=(count, len(counts))))


def _contrast(
    a: Tensor,
    b: Tensor,
    scale: Tensor,
    false_negatives: FalseNegatives | None = None,
    share: tuple[int, int] = (0, 1),
) -> Tensor:
    """`info_nce`, block by block: memory O(N D) and a few blocks of `BLOCK` similarities.

    The share (k, n) computes the k-th of n shares of the rows, which add up to the loss, in float32
    or wider, with first derivatives.
    """
    if len(a) < 2:  # 0, with a graph for the backward pass
        return (a.sum() + b.sum()) * 0.0
    wide = torch.promote_types(a.dtype, torch.float32)
    total: Tensor = _Blockwise.apply(  # type: ignore[no-untyped-call]
        a.to(wide), b.to(wide), scale.to(wide), false_negatives, share
    )
    return total / len(a)


class _Blockwise(torch.autograd.Function):
    """Sum of the losses of all blocks.

    The gradient of each block is computed while the block exists, so only sums are kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        a: Tensor,
        b: Tensor,
        scale: Tensor,
        false_negatives: FalseNegatives | None,
        share: tuple[int, int],
    ) -> Tensor:
        """The sum over this share of the rows, a scalar."""
        needs = ctx.needs_input_grad[:3]
        a, b, scale = leaves = [
            tensor.detach().requires_grad_(need)
            for tensor, need in zip((a, b, scale), needs, strict=True)
        ]
        part, parts = share
        first, last = len(a) * part // parts, len(a) * (part + 1) // parts
        height = max(1, BLOCK // len(a))
        total = a.new_zeros(())
        with torch.set_grad_enabled(any(needs)), torch.autocast(a.device.type, enabled=False):
            for rows, columns in ((a, b), (b, a)):
                for start in range(first, last, height):
                    stop = min(start + height, last)
                    logits = scale * rows[start:stop] @ columns.T  # [stop - start, N]
                    if false_negatives is not None:
                        row, column = false_negatives.pairs(start, stop)
                        logits[row.to(a.device), column.to(a.device)] = -torch.inf
                    own = torch.arange(start, stop, device=a.device)
                    loss = F.cross_entropy(logits, own, reduction="sum") / 2
                    if loss.requires_grad:
                        loss.backward()  # type: ignore[no-untyped-call]
                    total += loss.detach()
        # Zeros if this share has no rows, because other processes wait for its gradient.
        ctx.gradients = [
            (torch.zeros_like(leaf) if leaf.grad is None else leaf.grad) if need else None
            for leaf, need in zip(leaves, needs, strict=True)
        ]
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        """The gradients of the inputs of `forward`."""
        return *(None if own is None else own * outer[0] for own in ctx.gradients), None, None


@dataclass(frozen=True)
class Ranker:
    """A teacher of R: a frozen model with image and text vectors of its own.

    Args:
        name: of the model; `base` is the model before training.
        share: of its ranking in the target; those of all teachers add up to 1.
        scale: its inverse temperature.
        width: of its vectors.
    """

    name: str
    share: float
    scale: float
    width: int


@dataclass(frozen=True)
class Objective:
    """Which losses are computed, and how."""

    # weights by name in `LOSSES`; a loss that is absent or has weight 0 is not computed
    weights: Mapping[str, float] = field(default_factory=lambda: {L1: 1.0, L2: 1.0, L3: 1.0})
    image_loss_on: tuple[str, ...] = (PARAPHRASE_2,)  # texts that L1 ties to the picture
    text_temperature: float | None = None  # temperature of L2 and L3; None: the model's own
    ranking_scale: float = 100.0  # inverse temperature of R: the base's own when training began
    rankers: tuple[Ranker, ...] = ()  # the teachers of R

    @property
    def losses(self) -> tuple[str, ...]:
        """Names of the losses that are computed."""
        return tuple(name for name in LOSSES if self.weights.get(name))

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts to encode, in the order of `ALL_TEXTS`."""
        needed = {text for name in self.losses for text in LOSSES[name].texts(self)}
        return tuple(name for name in ALL_TEXTS if name in needed)


CAPTIONS_ONLY = Objective({L1: 1.0}, (CAPTION,))
"""L1 on the original captions: the objective of the control."""


@dataclass(frozen=True)
class Rows:
    """The rows of a batch that take part in each loss."""

    with_image: Tensor  # int64 [K], rows with a picture; only they take part in L1
    # int64 [.], rows whose paraphrase_1 differs from the caption; for the others, L2 would compare
    # equal vectors
    reworded_1: Tensor
    reworded_2: Tensor  # int64 [.], rows whose paraphrase_2 differs from paraphrase_1, for L3
    false_negatives: FalseNegatives | None = None  # None if no rows share a picture or a text

    def to(self, device: torch.device) -> "Rows":
        """A copy on another device; false negatives stay on theirs."""
        return replace(
            self,
            with_image=self.with_image.to(device),
            reworded_1=self.reworded_1.to(device),
            reworded_2=self.reworded_2.to(device),
        )


@dataclass(frozen=True)
class Vectors:
    """What the losses of a batch of B rows see."""

    images: Tensor  # unit vectors [K, D] of the rows `Rows.with_image`
    texts: Mapping[str, Tensor]  # unit vectors [B, D] under each of `Objective.texts`
    # tensors that training does not change, by name: per row [B, ...], such as vectors by a frozen
    # teacher, or of the whole run
    constants: Mapping[str, Tensor] = field(default_factory=dict)


def compute_losses(
    vectors: Vectors,
    rows: Rows,
    objective: Objective,
    logit_scale: Tensor,
    share: tuple[int, int] = (0, 1),
) -> dict[str, Tensor]:
    """Compute the losses of a batch of B rows, each a scalar, or the k-th of n parts of each, which
    add up to it (`share`). `logit_scale` is the log of the model's inverse temperature, a
    scalar."""
    return {
        name: LOSSES[name].compute(vectors, rows, objective, logit_scale, share)
        for name in objective.losses
    }


def weighted_sum(losses: Mapping[str, Tensor], objective: Objective) -> Tensor:
    """The sum of all losses, each times its weight, a scalar."""
    return torch.stack([objective.weights[name] * loss for name, loss in losses.items()]).sum()


@dataclass(frozen=True)
class Loss:
    """A term of the objective: the texts that it needs, and what maps vectors, rows, objective,
    logit scale and share to a scalar."""

    texts: Callable[[Objective], tuple[str, ...]]
    compute: Callable[[Vectors, Rows, Objective, Tensor, tuple[int, int]], Tensor]


def _image_text(
    vectors: Vectors, rows: Rows, objective: Objective, log: Tensor, share: tuple[int, int]
) -> Tensor:
    """L1: pictures and each of the chosen texts; the mean over the texts."""
    chosen = rows.with_image
    alike = rows.false_negatives and rows.false_negatives.among(chosen)
    return torch.stack([
        _contrast(vectors.images, vectors.texts[name][chosen], log.exp(), alike, share)
        for name in objective.image_loss_on
    ]).mean()  # fmt: skip


def _text_text(first: str, second: str, rows_of: Callable[[Rows], Tensor]) -> Loss:
    """L2 or L3: a text and its paraphrase, over the rows where they differ."""

    def compute(
        vectors: Vectors, rows: Rows, objective: Objective, log: Tensor, share: tuple[int, int]
    ) -> Tensor:
        chosen = rows_of(rows)
        alike = rows.false_negatives and rows.false_negatives.among(chosen)
        if objective.text_temperature is not None:
            log = log.detach().new_tensor(math.log(1 / objective.text_temperature))
        a, b = vectors.texts[first][chosen], vectors.texts[second][chosen]
        return _contrast(a, b, log.exp(), alike, share)

    return Loss(lambda _: (first, second), compute)


def _distil(
    texts: Tensor,
    columns: Tensor,
    wanted_of: Callable[[slice], Tensor],
    scale: float,
    share: tuple[int, int],
) -> Tensor:
    """Cross-entropy of the softmax over M columns [M, D] with the target [rows, M] of some rows;
    the mean over W wordings [W, B, D] and B rows, of which the result is this share's part. Vectors
    are unit vectors."""
    part, parts = share
    wordings, count, _ = texts.shape
    first, last = count * part // parts, count * (part + 1) // parts
    columns = columns.to(texts.dtype)
    total = (texts.sum() + columns.sum()) * 0.0  # a share without rows has a gradient, too

    def of_block(rows: Tensor, columns: Tensor, block: slice) -> Tensor:
        wanted = wanted_of(block)  # the dearest part: once for all wordings
        return torch.stack([
            F.cross_entropy(scale * row @ columns.T, wanted, reduction="sum") for row in rows
        ]).sum()  # fmt: skip

    height = max(1, BLOCK // len(columns))
    for start in range(first, last, height):
        block = slice(start, min(start + height, last))
        # The similarities of a block are computed again in the backward pass: memory O(block).
        total = total + checkpoint(
            of_block, texts[:, block], columns, block, use_reentrant=False,
            preserve_rng_state=False,
        )  # fmt: skip
    return total / (wordings * count)


def rank_pictures(
    rankers: Sequence[Ranker], texts_BE: Tensor, pictures_ME: Tensor, hubs_KM: Tensor
) -> Tensor:
    """The target of R [B, M]: the softmax of each of K teachers over M pictures, averaged by share.

    The teachers' vectors of texts [B, E] and pictures [M, E] stand side by side. `hubs_KM` lowers
    the logits of each picture; see `unlabelled.measure_hubs`.
    """
    widths = [ranker.width for ranker in rankers]
    texts, pictures = (torch.split(both, widths, 1) for both in (texts_BE, pictures_ME))
    parts = zip(rankers, texts, pictures, hubs_KM, strict=True)
    return torch.stack([
        one.share * (one.scale * text @ picture.T - hub).softmax(1)
        for one, text, picture, hub in parts
    ]).sum(0)  # fmt: skip


def _ranking(
    vectors: Vectors, rows: Rows, objective: Objective, log: Tensor, share: tuple[int, int]
) -> Tensor:
    """R: cross-entropy of each wording's ranking of pictures with the teachers'; their mean.

    A ranking is the softmax of the scaled similarities to the pictures. A teacher's is that of its
    own vectors of the same pictures, for the normalised mean of a row's wordings; those of several
    teachers are averaged after the softmax. The logits of pictures that every text likes are
    lowered (`measure_hubs`). The student's vectors of the pictures stay as they are.

    Source: ranking distillation (Tang and Wang 2018), relational distillation of CLIPs (CRD of
    CLIP-KD, arXiv 2307.12732), averaged teachers (MobileCLIP2, arXiv 2508.20691); the averaged
    wordings are ours.
    """
    constants, dtype = vectors.constants, vectors.texts[CAPTION].dtype
    texts, pictures, hubs = (constants[name].to(dtype) for name in (TEACHERS, TEACHERS_BANK, HUBS))

    def wanted_of(block: slice) -> Tensor:
        return rank_pictures(objective.rankers, texts[block], pictures, hubs)

    wordings = torch.stack([vectors.texts[name] for name in ALL_TEXTS])  # [3, B, D]
    return _distil(wordings, vectors.constants[BANK], wanted_of, objective.ranking_scale, share)


def _sentences(
    vectors: Vectors, rows: Rows, objective: Objective, log: Tensor, share: tuple[int, int]
) -> Tensor:
    """S: cross-entropy of the similarities of two wordings with those of a sentence encoder.

    Source: RankCSE, Liu et al. 2023, arXiv 2305.16726, section 3.2.
    """
    known = vectors.constants[MEANINGS].to(vectors.texts[CAPTION].dtype)
    meanings = dict(zip(ALL_TEXTS, known.unbind(1), strict=True))
    texts, scale = vectors.texts, 1 / SENTENCE_TEMPERATURE

    def compare(a: str, b: str) -> Tensor:
        def wanted_of(block: slice) -> Tensor:
            return (scale * meanings[a][block] @ meanings[b].T).softmax(1)

        return _distil(texts[a][None], texts[b], wanted_of, scale, share)

    return torch.stack([compare(a, b) for a, b in PAIRS]).mean()


LOSSES = Table(
    "losses",
    {
        L1: Loss(lambda objective: objective.image_loss_on, _image_text),
        L2: _text_text(CAPTION, PARAPHRASE_1, lambda rows: rows.reworded_1),
        L3: _text_text(PARAPHRASE_1, PARAPHRASE_2, lambda rows: rows.reworded_2),
        RANKING: Loss(lambda _: ALL_TEXTS, _ranking),
        SENTENCES: Loss(lambda _: ALL_TEXTS, _sentences),
    },
)
"""All terms, in the order in which they are computed."""
