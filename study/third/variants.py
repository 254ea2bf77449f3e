"""Variants of the recipe with teachers that were tried on development sets, each for one row.

Of R: a target for each text, only the pictures that the teachers rank first and some others, and
the base as the only teacher of some rows in place of a share of it everywhere. Of the texts: drawn
evenly, or the more often the better a picture of the bank matches. Of the weights: the mean over
steps, and LiNeS, which keeps more of base in the first layers.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import paraclip
from paraclip.models.encoder import DualEncoder
from paraclip.training import targets, train
from paraclip.training.data import Examples, TrainingData
from paraclip.training.losses import (
    ALL_TEXTS,
    BANK,
    LOSSES,
    RANKING,
    TEACHERS,
    TEACHERS_BANK,
    Objective,
    Rows,
    Vectors,
)

FIRST, DRAWN = 50, 200
"""Pictures of each step that R ranks: the teachers' first, and others."""
ANCHORED = 0.3
"""Share of the rows of a step whose only teacher is the base."""
TEXTS = 8_000
"""Lone texts that are drawn of all."""


def _rankings(vectors: Vectors, objective: Objective, texts: Tensor) -> list[Tensor]:
    """The ranking [B, M] of each teacher, for its part of some vectors [B, E]."""
    widths = [ranker.width for ranker in objective.rankers]
    pictures = torch.split(vectors.constants[TEACHERS_BANK].float(), widths, 1)
    return [
        (ranker.scale * text @ picture.T).softmax(1)
        for ranker, text, picture in zip(
            objective.rankers, torch.split(texts.float(), widths, 1), pictures, strict=True
        )
    ]


def _mixed(vectors: Vectors, objective: Objective, texts: Tensor) -> Tensor:
    """R's target [B, M] for some vectors [B, E]."""
    parts = _rankings(vectors, objective, texts)
    shares = [ranker.share for ranker in objective.rankers]
    return torch.stack([share * part for share, part in zip(shares, parts, strict=True)]).sum(0)


def _logits(vectors: Vectors, objective: Objective, name: str) -> Tensor:
    """The student's scaled similarities [B, M] of one wording of each row."""
    return objective.ranking_scale * vectors.texts[name].float() @ vectors.constants[BANK].float().T


def _first_and_drawn(
    vectors: Vectors, rows: Rows, objective: Objective, log: Tensor, share: tuple[int, int]
) -> Tensor:
    """R over the first pictures of the target and others that are drawn for the step."""
    wanted = _mixed(vectors, objective, vectors.constants[TEACHERS])
    kept = torch.zeros_like(wanted, dtype=torch.bool)
    kept.scatter_(1, wanted.topk(FIRST, 1).indices, True)
    # The bank's pictures of a step are drawn anew: every tenth is a random part of them.
    kept[:, :: max(1, wanted.shape[1] // DRAWN)] = True
    wanted = wanted * kept
    wanted = wanted / wanted.sum(1, keepdim=True)
    left_out = torch.where(kept, 0.0, -1e4)
    return torch.stack([
        F.cross_entropy(_logits(vectors, objective, name) + left_out, wanted) for name in ALL_TEXTS
    ]).mean()  # fmt: skip


def _each_text(
    vectors: Vectors, rows: Rows, objective: Objective, log: Tensor, share: tuple[int, int]
) -> Tensor:
    """R with the teachers' ranking for each text as its target; the constants are [B, 3, E]."""
    texts = vectors.constants[TEACHERS]
    return torch.stack([
        F.cross_entropy(
            _logits(vectors, objective, name), _mixed(vectors, objective, texts[:, place])
        )
        for place, name in enumerate(ALL_TEXTS)
    ]).mean()  # fmt: skip


def _anchored(
    vectors: Vectors, rows: Rows, objective: Objective, log: Tensor, share: tuple[int, int]
) -> Tensor:
    """R with base, the first teacher, for the first rows of a step, and the second for others."""
    of_base, of_other = _rankings(vectors, objective, vectors.constants[TEACHERS])
    by_base = torch.arange(len(of_base)) < ANCHORED * len(of_base)
    wanted = torch.where(by_base[:, None], of_base, of_other)
    return torch.stack([
        F.cross_entropy(_logits(vectors, objective, name), wanted) for name in ALL_TEXTS
    ]).mean()  # fmt: skip


def _vectors_of_each_text(examples: Examples, objective: Objective, data: TrainingData) -> Examples:
    """Examples whose teachers' vectors are those of the drawn texts, [B, 3, E]."""
    read = [
        targets._read_wordings(data, one.model, f"texts by {one.name}") for one in data.teachers
    ]

    def of_drawn(rows_B: np.ndarray, drawn_TB: np.ndarray) -> Tensor:
        return torch.cat([
            vectors[torch.from_numpy(np.where(places < 0, places[0], places)[drawn_TB, rows_B].T)]
            for vectors, places in read
        ], dim=2)  # fmt: skip

    return replace(examples, constants={**examples.constants, TEACHERS: of_drawn})


def _draw_texts(by_match: bool) -> Callable[[Examples, Objective, TrainingData], Examples]:
    """Keep some of the lone texts: drawn evenly, or by the rank of their best picture's match.

    The match is the last teacher's largest similarity of a text to the bank's pictures; the
    probability of a text is its rank among all, the worst 1.
    """

    def chosen(examples: Examples, objective: Objective, data: TrainingData) -> Examples:
        keys = examples.text_keys
        lone = np.flatnonzero((keys[0] == keys[1]) & (keys[1] == keys[2]))
        weight = np.ones(len(lone))
        if by_match:
            pictures = examples.teachers_bank[-1]
            best = [
                (examples.constants[TEACHERS](some, np.zeros((3, len(some)), dtype=int))[
                    :, -pictures.shape[1] :
                ] @ pictures.T).amax(1)
                for some in np.array_split(lone, 64)
            ]  # fmt: skip
            weight = torch.cat(best).argsort().argsort().numpy() + 1.0
        drawn = np.random.default_rng(0).choice(lone, TEXTS, replace=False, p=weight / weight.sum())
        others = np.setdiff1d(np.arange(len(examples)), lone)
        kept = np.sort(np.concatenate([others, drawn]))
        made = examples.constants

        def of_kept(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
            return lambda rows_B, drawn_TB: make(kept[rows_B], drawn_TB)

        return replace(
            examples, text_rows=examples.text_rows[:, kept], text_keys=keys[:, kept],
            features=examples.features[torch.from_numpy(kept)], has_image=examples.has_image[kept],
            image_keys=examples.image_keys[kept],
            constants={name: of_kept(make) for name, make in made.items()},
        )  # fmt: skip

    return chosen


@contextmanager
def _changed(
    compute: Callable[..., Tensor] | None = None,
    change: Callable[[Examples, Objective, TrainingData], Examples] | None = None,
) -> Iterator[None]:
    """Training in this context has another R, or other examples."""
    ranking, make = LOSSES[RANKING], train.with_targets

    def with_targets(*given: Any) -> tuple[Examples, Objective]:
        examples, objective = make(*given)
        return (change(examples, objective, given[2]) if change else examples), objective

    LOSSES[RANKING] = replace(ranking, compute=compute or ranking.compute)
    train.with_targets = with_targets
    try:
        yield
    finally:
        LOSSES[RANKING], train.with_targets = ranking, make


VARIANTS: Mapping[str, Any] = {
    "first and drawn": lambda: _changed(_first_and_drawn),
    "each text": lambda: _changed(_each_text, _vectors_of_each_text),
    "anchored": lambda: _changed(_anchored),
    "evenly": lambda: _changed(change=_draw_texts(by_match=False)),
    "by match": lambda: _changed(change=_draw_texts(by_match=True)),
}
"""Trainings with another R or other texts, by the name that a grid gives them as a rival."""


def mean_of_steps(base: Path, triples: Path, out: Path, **options: Any) -> DualEncoder:
    """Train, and return the mean of the weights after each step of the second half."""
    means: dict[int, Tensor] = {}
    steps, make = [0, 0], train.make_optimizer

    def make_optimizer(weights: Mapping[str, nn.Parameter], *given: Any) -> Any:
        optimizer = make(weights, *given)

        def add(*_: Any) -> None:
            steps[0] += 1
            if steps[0] > steps[1] // 2:
                for name, value in weights.items():
                    means[name] = means.get(name, 0.0) + value.detach().double()

        optimizer.register_step_post_hook(add)
        return optimizer

    run_steps = train._run_steps

    def counted(data: TrainingData, plan: Any, *given: Any) -> Any:
        steps[1] = plan.examples.steps
        return run_steps(data, plan, *given)

    train.make_optimizer, train._run_steps = make_optimizer, counted
    try:
        tuned = paraclip.train(str(base), triples, out=out, fresh=True, **options)
    finally:
        train.make_optimizer, train._run_steps = make, run_steps
    count = steps[1] - steps[1] // 2
    with torch.no_grad():
        for name, value in tuned.named_parameters():
            if name in means:
                value.copy_(means[name] / count)
    return tuned


def lines(base: DualEncoder, tuned: DualEncoder, first: float = 0.5) -> DualEncoder:
    """The difference from base scaled by depth: `first` in the first layer, 1 in the last.

    Source: LiNeS, arXiv 2410.17146, equation 2, for one model.
    """
    layers = {int(found[1]) for name in base.state_dict() if (found := re.search(_LAYER, name))}
    ours, deepest = base.state_dict(), max(layers)
    with torch.no_grad():
        for name, value in tuned.state_dict().items():
            if value.is_floating_point():
                found = re.search(_LAYER, name)
                late = "ln_final" in name or "projection" in name
                depth = int(found[1]) / deepest if found else float(late)
                value.copy_(ours[name].lerp(value, first + (1 - first) * depth))
    return tuned


_LAYER = r"text_tower.*resblocks\.(\d+)\."
