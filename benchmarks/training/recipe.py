"""Seconds of a step of the recipe with teachers: ParaCLIP's, and the same written with care.

    python -m benchmarks.training.recipe            # minutes on 2 free cores

The recipe is `train starter --teacher base OTHER`: R over a bank of pictures and S, three of all
wordings drawn for each row. The plain step is what somebody writes who knows what costs time: the
teachers' vectors and the bank's are computed before, texts are cut to the longest of the step, and
the towers compute in bf16. Both train a copy of the text tower of ViT-B/32 (random weights) on the
same rows, wordings, bank and targets, in turns, so that their losses must agree.
"""

from copy import deepcopy
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from benchmarks.training.steps import OurStep, open_clip_adamw, random_clip
from benchmarks.training.throughput import make_parser, time_and_keep
from paraclip.data.triples import read_triples
from paraclip.models.encoder import DualEncoder
from paraclip.starter import TEXTS, TRIPLES
from paraclip.training.config import RANKING, SENTENCES
from paraclip.training.data import Bank, Teacher, TrainingData, padding_id
from paraclip.training.ranking import BANK, HUBS, TEACHERS, TEACHERS_BANK
from paraclip.training.sentences import MEANINGS
from paraclip.training.sources import BASE
from recipes.minimal import ranking_loss, sentence_loss


class PlainRecipe:
    """R and S written plainly, on the rows of ParaCLIP's own step.

    Args:
        ours: the step whose rows, targets and copy of the weights are used.
    """

    def __init__(self, ours: OurStep) -> None:
        self.ours, self.model = ours, ours.model
        self.weights = [one for one in self.model.parameters() if one.requires_grad]
        self.optimizer = open_clip_adamw(self.weights)

    def __call__(self, rows: np.ndarray) -> float:
        """One step; returns the loss."""
        batch, objective = self.ours.batch(rows), self.ours.objective
        longest, padding = max(ids.shape[1] for ids in batch.chunks), padding_id(self.model)
        ids = [pad(ids, (0, longest - ids.shape[1]), value=padding) for ids in batch.chunks]
        with torch.autocast(self.model.device.type, torch.bfloat16):
            parts = torch.cat(ids)[batch.restore].chunk(len(TEXTS))
            texts = [self.model.encode_tokens(part).float() for part in parts]  # [B, D] each
        known, weights = batch.constants, objective.weights
        wanted, scale = self.ranking_of_teachers(known), objective.losses[RANKING].scale
        loss = weights[RANKING] * ranking_loss(texts, known[BANK], wanted, scale)
        loss = loss + weights[SENTENCES] * sentence_loss(texts, known[MEANINGS].unbind(1))
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

    def ranking_of_teachers(self, known: dict[str, Tensor]) -> Tensor:
        """The teachers' rankings [B, M] of the bank's pictures for each row, averaged."""
        rankers = self.ours.objective.losses[RANKING].rankers
        widths = [ranker.width for ranker in rankers]
        texts, pictures = (known[name].split(widths, 1) for name in (TEACHERS, TEACHERS_BANK))
        every = zip(rankers, texts, pictures, known[HUBS], strict=True)
        return sum(one.share * (one.scale * a @ b.T - hub).softmax(1) for one, a, b, hub in every)


def make_data(model: DualEncoder, rows: int, pictures: int) -> TrainingData:
    """Rows of the starter set with all wordings, a bank of noise, and another teacher."""
    torch.manual_seed(1)
    other = deepcopy(model)  # sees pictures as the base does, and reads texts otherwise
    for value in other.text_tower.parameters():
        value.data += 0.1 * value.std() * torch.randn_like(value)
    bank = normalize(torch.randn(pictures, model.architecture.embed_dim), dim=1)
    return TrainingData(
        model, read_triples(TRIPLES).slice(0, rows), None, bank=Bank(bank, None),
        teachers=(Teacher(BASE, deepcopy(model)), Teacher("another", other)),
    )  # fmt: skip


def make_steps(name: str, pictures: int, rows: int) -> dict[str, PlainRecipe | OurStep]:
    """Both steps, each with its own copy of the same weights, rows and bank."""
    _, model = random_clip(name)
    ours, copied = (
        OurStep(make_data(deepcopy(model), rows, pictures), recipe="taught", dropout=0.0)
        for _ in range(2)
    )
    return {"plain, with care, bf16": PlainRecipe(copied), "paraclip": ours}


def main() -> None:
    """Time both steps in turns; write and print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--bank", type=int, default=5000, help="pictures of the bank")
    chosen = parser.parse_args()
    time_and_keep("training_recipe", partial(make_steps, chosen.model, chosen.bank), chosen)


if __name__ == "__main__":
    main()
