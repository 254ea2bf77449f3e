"""The losses: L = w1·L1(image, text) + w2·L2(caption, paraphrase_1) + w3·L3(paraphrases) + ...

A loss is one object: the texts that it reads, what it prepares before the first step, and its value
on a batch, a function of vectors, whatever computed these. `LOSSES` of `config.py` is the table of
all. `info_nce` is the plain contrastive loss; `_contrast` equals it without a B x B matrix.

Source: paper, section 3, for L1, L2 and L3.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from paraclip.arrays import Integers
from paraclip.errors import UserError
from paraclip.starter import TEXTS
from paraclip.training.config import LOSSES, TrainOptions
from paraclip.training.data import Examples, FalseNegatives, Rows, TrainingData

BLOCK = 1 << 22
"""Number of similarities in a block of `_contrast`: 16 MiB in float32."""


@dataclass(frozen=True)
class Vectors:
    """What the losses of a batch of B rows see."""

    images: Tensor  # unit vectors [K, D] of the rows `rows.with_image`
    texts: Mapping[str, Tensor]  # unit vectors [B, D] under each of `Objective.texts`
    rows: Rows
    logit_scale: Tensor  # log of the model's inverse temperature, a scalar
    # tensors that training does not change, by name: per row [B, ...], such as vectors by a frozen
    # teacher, or of the whole run; see `Loss.constants`
    constants: Mapping[str, Tensor] = field(default_factory=dict)

    def share(self, share: tuple[int, int]) -> slice:
        """The rows of the k-th of n shares."""
        (part, parts), count = share, len(next(iter(self.texts.values())))
        return slice(count * part // parts, count * (part + 1) // parts)


class Loss(ABC):
    """A term of the objective. A subclass has a name in `LOSSES`, by which it gets its weight.

    Args:
        options: those of the run, all defaults filled in.
    """

    texts: tuple[str, ...] = TEXTS
    """The texts that it reads."""
    reads_pictures = False
    """Whether it reads the pictures of the rows."""
    finds_rate = False
    """Whether a run of it finds its learning rate itself, by the judge of `choice.py`."""

    def __init__(self, options: TrainOptions) -> None:
        self.options = options

    def prepare(self, data: TrainingData, examples: Examples) -> None:
        """Compute what its value needs beside vectors, once before the first step."""
        return

    def constants(self, rows_B: Integers, places_TB: Integers) -> dict[str, Tensor]:
        """What a batch carries for it, by names of its own: the same in every process. The batch
        has these rows, and their texts come from these places (`Examples.draw_wordings`)."""
        return {}

    def identity(self) -> dict[str, Any]:
        """What it has prepared, as hashes: a run is resumed only with an equal one."""
        return {}

    def facts(self) -> dict[str, Any]:
        """What the checkpoint says of it, for JSON."""
        return {}

    @abstractmethod
    def value(self, vectors: Vectors, share: tuple[int, int]) -> Tensor:
        """The loss of a batch, a scalar, or the k-th of n parts of it, which add up (`share`): with
        several processes, each computes its part."""


@dataclass(frozen=True)
class Objective:
    """The losses of a run in the order in which they are computed, and their weights, by name."""

    losses: Mapping[str, Loss]
    weights: Mapping[str, float]

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts to encode, in the order of `TEXTS`."""
        needed = {text for loss in self.losses.values() for text in loss.texts}
        return tuple(name for name in TEXTS if name in needed)

    @property
    def is_control(self) -> bool:
        """Whether nothing is learned from paraphrases, as in a control: it is compared with."""
        return self.texts == TEXTS[:1]

    def facts(self) -> dict[str, Any]:
        """What a checkpoint says of the losses, for JSON."""
        return {
            name: {"weight": self.weights[name], **loss.facts()}
            for name, loss in self.losses.items()
        }

    def values(self, vectors: Vectors, share: tuple[int, int] = (0, 1)) -> dict[str, Tensor]:
        """All losses of a batch, or this share of them, which add up to them."""
        return {name: loss.value(vectors, share) for name, loss in self.losses.items()}

    def total(self, values: Mapping[str, Tensor]) -> Tensor:
        """The sum of all losses, each times its weight, a scalar."""
        return torch.stack([self.weights[name] * value for name, value in values.items()]).sum()

    @torch.no_grad()
    def check_parts(self, vectors: Vectors, count: int) -> None:
        """Raise UserError for a loss whose `count` parts do not add up to it, such as one that
        ignores its share and would count several times."""
        parts = [self.values(vectors, (part, count)) for part in range(count)]
        for name, whole in self.values(vectors).items():
            total = torch.stack([of_part[name] for of_part in parts]).sum()
            if torch.isfinite(whole) and not torch.isclose(total, whole, rtol=1e-3, atol=1e-6):
                what = f"its parts in {count} processes add up to {total:.4g}, not to {whole:.4g}"
                hint = "Let `value` add up the rows of `vectors.share(share)`, and divide by all."
                raise UserError(f"loss {name}", what, hint)


def make_objective(options: TrainOptions) -> Objective:
    """The losses that resolved options select."""
    weights = options.losses
    return Objective({name: LOSSES[name](options) for name in weights}, weights)


class ImageText(Loss):
    """L1: pictures and each of the chosen texts; the mean over the texts."""

    reads_pictures = True

    def __init__(self, options: TrainOptions) -> None:
        super().__init__(options)
        self.texts = tuple(dict.fromkeys(options.image_loss_on or ()))

    def value(self, vectors: Vectors, share: tuple[int, int]) -> Tensor:
        """Its value over the rows with a picture."""
        chosen, alike = vectors.rows.with_image, vectors.rows.false_negatives
        alike = alike and alike.among(chosen)
        scale = vectors.logit_scale
        return torch.stack([
            _contrast(vectors.images, vectors.texts[name][chosen], scale.exp(), alike, share)
            for name in self.texts
        ]).mean()  # fmt: skip


class CaptionParaphrase(Loss):
    """L2: a caption and its first paraphrase, over the rows where they differ."""

    texts = TEXTS[:2]

    def value(self, vectors: Vectors, share: tuple[int, int]) -> Tensor:
        """Its value at the temperature of texts, by default the model's own."""
        first, second = self.texts
        chosen, alike = vectors.rows.reworded[second], vectors.rows.false_negatives
        alike, scale = alike and alike.among(chosen), vectors.logit_scale
        if self.options.text_temperature is not None:
            scale = scale.detach().new_tensor(math.log(1 / self.options.text_temperature))
        a, b = vectors.texts[first][chosen], vectors.texts[second][chosen]
        return _contrast(a, b, scale.exp(), alike, share)


class Paraphrases(CaptionParaphrase):
    """L3: both paraphrases, over the rows where they differ."""

    texts = TEXTS[1:3]


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


def distil(
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
