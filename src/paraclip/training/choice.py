"""What a run chooses itself, without labels: the share of tuned to use, with R its learning rate.

The judge is the target of R for scenes that no run learns, over the whole bank: the rankings that
the teachers find for all wordings of a scene. The model whose rankings for another wording are
nearest to it is chosen, so the bank should be the index that is searched (study/LOG.md). Without R,
the base is the only teacher.

Shape suffixes: N scenes; G pictures of the bank; D and E widths of the base and of all teachers.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from paraclip.arrays import Integers
from paraclip.errors import UserError
from paraclip.evaluation.unlabelled import (
    HUBS_LOWERED,
    Answers,
    Reading,
    SceneQueries,
    first_pictures,
    mean_wordings,
    measure_hubs,
    read_answers,
    recommend,
    scene_queries,
    search_scenes,
)
from paraclip.merging import merge
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import encode_texts, encoded_once
from paraclip.training.ranking import Ranker, rank_pictures
from paraclip.training.sources import BASE

RATES = (1e-5, 3e-5, 1e-4, 3e-4)
"""Learning rates that a short run tries."""
SHORT = 16
"""Steps of a short run."""
SHARES = (0.25, 0.5, 0.75)
"""Shares of tuned in the mixtures of which the best is written."""
SMALLER = "Give a smaller --learning-rate, or check the base."


@dataclass(frozen=True, eq=False)
class SceneJudge:
    """The teachers' rankings of the bank for held-out scenes."""

    queries: SceneQueries
    pictures: Tensor  # the student's vectors of the bank, float32 [G, D]
    scale: float  # inverse temperature of R
    target: Tensor  # float32 [N, G]; each row adds up to 1
    firsts: Mapping[str, Integers]  # the picture that base and each teacher rank first, [N]
    base: Answers  # what the model finds before the first step

    def loss(self, model: DualEncoder) -> float:
        """The cross-entropy of a model's rankings for the rewordings with the target, in nats."""
        texts = encode_texts(model, self.queries.rewordings)
        logits = (self.scale * texts @ self.pictures.T).log_softmax(1)
        return float(-(self.target * logits).sum(1).mean())

    def read(self, model: DualEncoder) -> Reading:
        """What a model finds for the scenes."""
        found = search_scenes(partial(encode_texts, model), self.pictures.numpy(), self.queries)
        return read_answers(found, self.base, self.queries, self.firsts)


def make_judge(model: DualEncoder, bank_GD: Tensor, rankers: Sequence[Ranker] = ()) -> SceneJudge:
    """The judge of a run, before its first step.

    Args:
        model: the base.
        bank_GD: its unit vectors of the pictures.
        rankers: the teachers of R over them; none: the base, which lowers the hubs of the scenes.
    """
    queries, scale = scene_queries(), float(model.logit_scale.detach().exp())
    encode = encoded_once(model, queries.every())
    texts_ND = mean_wordings(encode, queries)
    # Base judges even if it does not teach: to a worse teacher, its pictures are lost.
    firsts = {BASE: first_pictures(texts_ND, bank_GD, scale)}
    if not rankers:
        hubs_G = HUBS_LOWERED * measure_hubs(texts_ND, bank_GD, scale)
        rankers = [Ranker(BASE, 1.0, scale, model, bank_GD, hubs_G)]
    texts_NE = [
        texts_ND if one.model is model else mean_wordings(partial(encode_texts, one.model), queries)
        for one in rankers
    ]
    for one, text in zip(rankers, texts_NE, strict=True):
        firsts[one.name] = first_pictures(text, one.pictures, one.scale, one.hubs)
    target = rank_pictures(
        rankers, torch.cat(texts_NE, 1), torch.cat([one.pictures for one in rankers], 1),
        torch.stack([one.hubs for one in rankers]),
    )  # fmt: skip
    base = search_scenes(encode, bank_GD.numpy(), queries)
    return SceneJudge(queries, bank_GD, scale, target, firsts, base)


@contextmanager
def kept_weights(weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Give weights their values back at the end."""
    before = {name: value.detach().clone() for name, value in weights.items()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, value in weights.items():
                value.copy_(before[name])


def nearest_to_judge(losses: Mapping[float, float]) -> float:
    """The rate or share with the smallest loss; raises UserError if none is finite."""
    finite = {one: loss for one, loss in losses.items() if math.isfinite(loss)}
    if not finite:
        what = "short runs lead to rankings that are not numbers"
        raise UserError("training", what, SMALLER)
    return min(finite, key=lambda one: finite[one])


@dataclass(frozen=True, eq=False)
class ModelChoice:
    """The model that a run recommends, and what was measured."""

    use: str  # "tuned", "merged" or "base"
    share: float  # of tuned in merged
    reason: str
    readings: Mapping[str, Reading]  # of base, merged and tuned

    def as_facts(self) -> dict[str, Any]:
        """The choice for JSON, with the mean of each measure."""
        measured = {label: reading.means() for label, reading in self.readings.items()}
        facts = {"use": self.use, "share": self.share, "reason": self.reason}
        return {**facts, "scenes": len(self.readings["base"].kinds), "measured": measured}


def choose_model(judge: SceneJudge, base: DualEncoder, tuned: DualEncoder) -> ModelChoice:
    """The share of tuned whose mixture comes nearest to the judge, and the model to use."""
    # One mixture at a time: the memory of three could be lacking at the end of a long run.
    losses = {share: judge.loss(merge(base, tuned, share, image_tower=True)) for share in SHARES}
    share = nearest_to_judge(losses)
    models = {"base": base, "merged": merge(base, tuned, share, image_tower=True), "tuned": tuned}
    readings = {label: judge.read(model) for label, model in models.items()}
    use, reason = recommend(readings)
    return ModelChoice(use, share, reason, readings)
