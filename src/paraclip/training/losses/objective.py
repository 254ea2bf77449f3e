"""The three losses: L = w1·L1(image, text) + w2·L2(caption, paraphrase_1) + w3·L3(paraphrases).

Pure functions of vectors, independent of how the vectors were computed (one pass, chunks, several
processes).
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paraclip.models.encoder import DualEncoder
from paraclip.training.losses.contrast import (
    LOSSES,
    ContrastOptions,
    FalseNegatives,
    LogitScaling,
    contrast,
)

CAPTION, PARAPHRASE_1, PARAPHRASE_2 = "caption", "paraphrase_1", "paraphrase_2"
DISTILLATION = "distillation"
ALL_TEXTS = (CAPTION, PARAPHRASE_1, PARAPHRASE_2)
MOST_SCALE = math.log(100.0)
TEMPERATURE_RATE = 1e-3
"""Peak rate of learned temperatures and biases; the towers' rate would hardly change such single
numbers."""


def info_nce(a: Tensor, b: Tensor, scale: Tensor, false_negatives: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE: a_i must match b_i among all of b, and b_i match a_i among all of a.

    The plain reference; training uses `contrast`, which is equal but needs no [N, N] matrix.

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

    Source: paper, section 3 (the contrastive loss of CLIP, Radford et al. 2021).
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
class Objective:
    """The losses, with their weights, texts and temperatures."""

    # weights of L1, L2, L3; a loss of weight 0 is not computed
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
    image_loss_on: tuple[str, ...] = (PARAPHRASE_2,)  # the texts that L1 ties to the picture
    # inverse temperatures of L1, L2, L3; None for the model's own
    scales: tuple[float | None, float | None, float | None] = (None, None, None)
    learn_scales: bool = False  # whether L2 and L3 each learn theirs, starting from these
    kind: str = "info_nce"  # name of the contrastive loss in `contrast.LOSSES`
    hard_negatives: bool = False  # whether rows have a hard negative
    distillation: float = 0.0  # weight of the loss that keeps captions close to the base's vectors

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts to encode for the losses, without hard negatives."""
        needed = set(self.image_loss_on) if self.weights[0] else set()
        needed |= {CAPTION, PARAPHRASE_1} if self.weights[1] else set()
        needed |= {PARAPHRASE_1, PARAPHRASE_2} if self.weights[2] else set()
        needed |= {CAPTION} if self.distillation else set()
        return tuple(name for name in ALL_TEXTS if name in needed)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the losses L1, L2, L3 that are computed."""
        return tuple(f"L{place}" for place, weight in enumerate(self.weights, 1) if weight)


CAPTIONS_ONLY = Objective(weights=(1.0, 0.0, 0.0), image_loss_on=(CAPTION,))
"""L1 on the original captions: the objective of `align` and the control."""


@dataclass(frozen=True)
class Rows:
    """The rows of a batch that take part in each loss."""

    with_image: Tensor  # int64 [K], rows with a picture; only they take part in L1
    # int64 [.], rows whose paraphrase_1 differs from the caption; for the others, L2 would compare
    # equal vectors
    reworded_1: Tensor
    reworded_2: Tensor  # int64 [.], rows whose paraphrase_2 differs from paraphrase_1, for L3
    # rows that share a picture or a text and are therefore not negatives of each other; None if
    # there are none
    false_negatives: FalseNegatives | None = None

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
    """Vectors of a batch."""

    images: Tensor  # unit vectors [K, D] of the rows `Rows.with_image`
    texts: dict[str, Tensor]  # unit vectors [B, D] under each of `Objective.texts`
    negatives: Tensor | None = None  # unit vectors [M, D] of the hard negatives, or None
    base: Tensor | None = None  # unit vectors [B, D] of the captions by the base, for distillation


@dataclass(frozen=True)
class LossPair:
    """Two sides that a loss pulls together."""

    name: str  # L1, L2 or L3
    a: Tensor  # unit vectors [N, D]
    b: Tensor  # unit vectors [N, D]
    chosen: Tensor  # int64 [N], indices of the rows in the batch


def pairs_of(vectors: Vectors, rows: Rows, objective: Objective) -> Iterator[LossPair]:
    """The pairs that L1, L2 and L3 compare; L1 once per text."""
    texts = vectors.texts  # [B, D] each
    if "L1" in objective.names:
        for name in objective.image_loss_on:
            chosen = rows.with_image
            yield LossPair("L1", vectors.images, texts[name][chosen], chosen)
    if "L2" in objective.names:
        chosen = rows.reworded_1
        yield LossPair("L2", texts[CAPTION][chosen], texts[PARAPHRASE_1][chosen], chosen)
    if "L3" in objective.names:
        chosen = rows.reworded_2
        yield LossPair("L3", texts[PARAPHRASE_1][chosen], texts[PARAPHRASE_2][chosen], chosen)


def three_losses(
    vectors: Vectors,  # vectors of all rows
    scaling_of: Callable[[str], LogitScaling],  # maps L1, L2 or L3 to inverse temperature and bias
    rows: Rows,  # which rows take part in which loss
    objective: Objective,  # which losses to compute
    # (k, n) for the k-th of n parts of each loss; the parts add up to it
    share: tuple[int, int] = (0, 1),
) -> dict[str, Tensor]:
    """L1, L2, L3 and distillation of a batch, each a scalar; those of weight 0 are omitted."""
    negatives = vectors.negatives
    extra = 0 if negatives is None else len(negatives)
    found: dict[str, list[Tensor]] = {}
    for pair in pairs_of(vectors, rows, objective):
        false_negatives = rows.false_negatives and rows.false_negatives.among(pair.chosen, extra)
        plan = ContrastOptions(
            objective.kind, false_negatives, share, negatives_back=pair.name != "L1"
        )
        loss = contrast(pair.a, pair.b, scaling_of(pair.name), plan, negatives)
        found.setdefault(pair.name, []).append(loss)
    losses = {name: torch.stack(parts).mean() for name, parts in found.items()}
    if vectors.base is not None:
        losses[DISTILLATION] = distillation(vectors.texts[CAPTION], vectors.base, share)
    return losses


def distillation(captions: Tensor, base: Tensor, share: tuple[int, int] = (0, 1)) -> Tensor:
    """Mean of 1 - cosine between captions and their vectors by the base, a scalar.

    Args:
        captions: unit vectors [B, D].
        base: unit vectors [B, D], without gradient.
        share: (k, n) for the k-th of n parts of the mean; the parts add up to it.
    """
    part, parts = share
    own = slice(len(captions) * part // parts, len(captions) * (part + 1) // parts)
    return (1 - (captions[own] * base[own]).sum(1)).sum() / len(captions)


def weighted_sum(losses: dict[str, Tensor], objective: Objective) -> Tensor:
    """w1·L1 + w2·L2 + w3·L3, and distillation with its weight, a scalar."""
    weight = dict(zip(("L1", "L2", "L3"), objective.weights, strict=True))
    weight[DISTILLATION] = objective.distillation
    return torch.stack([weight[name] * loss for name, loss in losses.items()]).sum()


class Temperatures(nn.Module):
    """Inverse temperature and bias of L1, L2 and L3: the model's, fixed, or learned for the loss.

    Values learned here are used only in training and are not part of the checkpoint.

    Args:
        model: model whose temperature is used by L1, and by losses without their own.
        objective: determines which losses have their own, and whether biases are needed.
    """

    def __init__(self, model: DualEncoder, objective: Objective) -> None:
        super().__init__()
        self.of_model = [model.logit_scale]  # in a list, so that it stays the model's parameter
        self.most_scale = max(MOST_SCALE, float(model.logit_scale.detach()))
        self.logs, self.biases = nn.ParameterDict(), nn.ParameterDict()
        self.most_of: dict[str, float] = {}  # limits of these logarithms
        for name, scale in zip(("L1", "L2", "L3"), objective.scales, strict=True):
            if name not in objective.names:
                continue
            start = float(model.logit_scale.detach()) if scale is None else math.log(scale)
            learned = objective.learn_scales and name != "L1"
            if scale is not None or learned:
                self.logs[name] = scalar_parameter(model, start, learned)
                self.most_of[name] = max(self.most_scale, start)
            if LOSSES[objective.kind].biased:
                self.biases[name] = scalar_parameter(model, 0.0, True)

    def forward(self, name: str) -> LogitScaling:
        """The scaling of L1, L2 or L3."""
        log = self.logs[name] if name in self.logs else self.of_model[0]
        return LogitScaling(log.exp(), self.biases.get(name))

    @torch.no_grad()
    def clamp(self) -> None:
        """Limit learned inverse temperatures to 100, or to an initial value that is higher.

        CLIP's limit is 100. SigLIP's own value is 117, which a first step must not reduce.
        """
        limits = [(log, self.most_scale) for log in self.of_model]
        limits += [(log, self.most_of[name]) for name, log in self.logs.items()]
        for log, most in limits:
            if log.requires_grad:
                log.clamp_(max=most)

    @torch.no_grad()
    def start_biases(self, pairs: Iterable[LossPair], batch_size: int) -> None:
        """Set each bias such that an average negative has the odds 1 : B of being a positive.

        SigLIP's initial value, -10, achieves this for unrelated vectors at its initial
        temperature; the vectors of a tuned CLIP are neither unrelated nor at that temperature.
        """
        sums: dict[str, list[Tensor]] = {}
        for pair in pairs:
            if pair.name in self.biases and len(pair.a) > 1:
                sums.setdefault(pair.name, []).append(mean_of_negatives(pair.a, pair.b))
        for name, cosines in sums.items():
            logit = self(name).scale * torch.stack(cosines).mean()
            self.biases[name].copy_(-math.log(batch_size) - logit)


def scalar_parameter(model: DualEncoder, value: float, learned: bool) -> nn.Parameter:
    """A parameter of one number, with the model's dtype and device."""
    return nn.Parameter(model.logit_scale.detach().new_tensor(value), requires_grad=learned)


def mean_of_negatives(a: Tensor, b: Tensor) -> Tensor:
    """Mean cosine of a_i and b_j over all i and j that differ, without an [N, N] matrix."""
    count = len(a)
    return (a.sum(0) @ b.sum(0) - (a * b).sum()) / (count * (count - 1))
