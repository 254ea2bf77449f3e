"""The three losses: L = w1·L1(image, text) + w2·L2(caption, paraphrase_1) + w3·L3(paraphrases).

Pure functions of vectors: how the vectors were computed (one pass, chunks, several processes)
does not matter here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from paraclip.training.config import TrainOptions
from paraclip.training.losses.contrast import LogitScaling, Plan, contrast
from paraclip.training.losses.false_negatives import FalseNegatives
from paraclip.training.recipes import with_recipe

CAPTION, PARAPHRASE_1, PARAPHRASE_2 = "caption", "paraphrase_1", "paraphrase_2"


def info_nce(a: Tensor, b: Tensor, scale: Tensor, false_negatives: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE: a_i must find b_i among all of b, and b_i find a_i among all of a.

    The plain reference: training takes `contrast`, which is the same and holds no [N, N].

    Args:
        a: unit vectors [N, D].
        b: unit vectors [N, D]; row i is the positive of row i.
        scale: inverse temperature, a scalar.
        false_negatives: bool [N, N], true where b_j is no fair negative of a_i; these pairs leave
            the denominators. The diagonal must be false. None: every other row is a negative.

    Returns:
        The mean over both directions and all rows, a scalar in float32 or wider. With fewer than
        two rows there is nothing to tell apart and it is 0.

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
    """Which losses are taken, on which texts, how warm.

    Args:
        weights: of L1, L2, L3; a loss of weight 0 is not computed.
        image_loss_on: the texts that L1 ties to the picture.
        scales: inverse temperature of L1, L2, L3, None for the model's own.
        learn_scales: whether L2 and L3 each learn their own, from there on.
        kind: name of the contrastive loss in `contrast.LOSSES`.
        hard_negatives: whether rows bring a text that must not be found.
    """

    weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
    image_loss_on: tuple[str, ...] = (PARAPHRASE_2,)
    scales: tuple[float | None, float | None, float | None] = (None, None, None)
    learn_scales: bool = False
    kind: str = "info_nce"
    hard_negatives: bool = False

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts that have to go through the tower, the hard negatives aside."""
        needed = set(self.image_loss_on) if self.weights[0] else set()
        needed |= {CAPTION, PARAPHRASE_1} if self.weights[1] else set()
        needed |= {PARAPHRASE_1, PARAPHRASE_2} if self.weights[2] else set()
        return tuple(name for name in (CAPTION, PARAPHRASE_1, PARAPHRASE_2) if name in needed)

    @property
    def names(self) -> tuple[str, ...]:
        """Those of L1, L2, L3 that are taken."""
        return tuple(f"L{place}" for place, weight in enumerate(self.weights, 1) if weight)


CAPTIONS_ONLY = Objective(weights=(1.0, 0.0, 0.0), image_loss_on=(CAPTION,))
"""L1 on the original captions: what `align` and the control train on."""


def objective_of(options: TrainOptions) -> Objective:
    """The losses that the options ask for."""
    if options.control:
        return replace(CAPTIONS_ONLY, kind=options.loss)
    options = with_recipe(options)
    weights: tuple[float, float, float] = options.weights
    tied: tuple[str, ...] = options.image_loss_on or ()
    if options.one_step:
        weights = (weights[0], weights[1], 0.0)
        tied = tuple(PARAPHRASE_1 if name == PARAPHRASE_2 else name for name in tied)
    warm = [options.l2_temperature, options.l3_temperature]
    second, third = (
        1 / own if own else None for own in (t or options.text_temperature for t in warm)
    )
    return Objective(
        weights, tuple(dict.fromkeys(tied)), (None, second, third), options.learn_text_temperature,
        options.loss, options.negatives is not None,
    )  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """Which rows of a batch take part in what.

    Args:
        with_image: int64 [K], the rows that have a picture; only they take part in L1.
        reworded_1: int64 [.], rows whose paraphrase_1 differs from the caption; the others have
            nothing to learn in L2, their two vectors being one.
        reworded_2: int64 [.], rows whose paraphrase_2 differs from paraphrase_1, for L3.
        false_negatives: which rows share a picture or a text and so are no negatives of each other;
            None where no two rows do.
    """

    with_image: Tensor
    reworded_1: Tensor
    reworded_2: Tensor
    false_negatives: FalseNegatives | None = None


@dataclass(frozen=True)
class Vectors:
    """Vectors of a batch.

    Args:
        images: unit vectors [K, D] of the rows `Rows.with_image`.
        texts: unit vectors [B, D] under each of `Objective.texts`.
        negatives: unit vectors [M, D] of the hard negatives, or None.
    """

    images: Tensor
    texts: dict[str, Tensor]
    negatives: Tensor | None = None


@dataclass(frozen=True)
class Pair:
    """Two sides that a loss ties together.

    Args:
        name: L1, L2 or L3.
        a: unit vectors [N, D].
        b: unit vectors [N, D].
        chosen: int64 [N], which rows of the batch they are.
    """

    name: str
    a: Tensor
    b: Tensor
    chosen: Tensor


def pairs_of(vectors: Vectors, rows: Rows, objective: Objective) -> Iterator[Pair]:
    """The pairs that L1, L2 and L3 compare; L1 once for each of its texts."""
    texts = vectors.texts  # [B, D] each
    if "L1" in objective.names:
        for name in objective.image_loss_on:
            chosen = rows.with_image
            yield Pair("L1", vectors.images, texts[name][chosen], chosen)
    if "L2" in objective.names:
        chosen = rows.reworded_1
        yield Pair("L2", texts[CAPTION][chosen], texts[PARAPHRASE_1][chosen], chosen)
    if "L3" in objective.names:
        chosen = rows.reworded_2
        yield Pair("L3", texts[PARAPHRASE_1][chosen], texts[PARAPHRASE_2][chosen], chosen)


def three_losses(
    vectors: Vectors,
    scaling_of: Callable[[str], LogitScaling],
    rows: Rows,
    objective: Objective,
    share: tuple[int, int] = (0, 1),
) -> dict[str, Tensor]:
    """L1, L2 and L3 of a batch, each a scalar, those of weight 0 left out.

    Args:
        vectors: of all rows.
        scaling_of: from L1, L2 or L3 to inverse temperature and bias.
        rows: which rows take part in which loss.
        objective: which losses are wanted.
        share: (k, n) for the k-th of n parts of each loss; the parts sum up to it.
    """
    negatives = vectors.negatives
    extra = 0 if negatives is None else len(negatives)
    found: dict[str, list[Tensor]] = {}
    for pair in pairs_of(vectors, rows, objective):
        false_negatives = rows.false_negatives and rows.false_negatives.among(pair.chosen, extra)
        plan = Plan(objective.kind, false_negatives, share, negatives_back=pair.name != "L1")
        loss = contrast(pair.a, pair.b, scaling_of(pair.name), plan, negatives)
        found.setdefault(pair.name, []).append(loss)
    return {name: torch.stack(parts).mean() for name, parts in found.items()}


def weighted_sum(losses: dict[str, Tensor], objective: Objective) -> Tensor:
    """w1·L1 + w2·L2 + w3·L3, a scalar."""
    weight = dict(zip(("L1", "L2", "L3"), objective.weights, strict=True))
    return torch.stack([weight[name] * loss for name, loss in losses.items()]).sum()
