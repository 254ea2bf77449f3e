"""What frozen teachers say of the rows: the targets of R and S.

A teacher of R has an image encoder of its own, and ranks its own vectors of the bank's pictures.
The student learns that ranking over *its* vectors of the same pictures, so that an index stays
valid. The teacher of S is MiniLM. Their vectors are computed before the first step, once for all
runs, and mapped from files of the cache; a stopped run resumes them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from paraclip.arrays import Integers
from paraclip.data.captions import Problems
from paraclip.errors import UserError
from paraclip.evaluation.unlabelled import HUBS_LOWERED, measure_hubs
from paraclip.files import cache_folder
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import encode_images, encode_texts, project, stored_texts
from paraclip.models.loading import load_model
from paraclip.models.tensors import hash_tensors
from paraclip.starter.scenes import ENGLISH
from paraclip.training import losses
from paraclip.training.bank import Bank, Teacher, check_bank, choose_sample
from paraclip.training.data import Examples, TrainingData
from paraclip.training.distributed import this_process
from paraclip.training.log import notice
from paraclip.training.sources import BASE

_SAMPLE, _SAMPLE_SEED = 512, 0x7EAC
"""Captions, and four times as many pictures, whose rankings determine a teacher's temperature."""
_LARGEST_SCALE = 1000.0  # CLIP's is 100, SigLIP's 117
_REFERENCES = 8192  # texts at most that say which pictures are hubs
_HALVINGS = 40  # of the range of the logarithm, 6.9: to less than float32 resolves


def with_targets(
    examples: Examples, objective: losses.Objective, data: TrainingData
) -> tuple[Examples, losses.Objective]:
    """The examples with the frozen teachers' vectors that the losses need, and the objective with
    the teachers of R and their temperatures.

    Raises UserError if R has fewer than two pictures, or those of a teacher cannot be opened.
    """
    if losses.RANKING in objective.losses:
        examples, objective = _with_rankers(examples, objective, data)
    if losses.SENTENCES in objective.losses:
        vectors, places = _read_wordings(
            data, load_model("minilm", str(data.model.device)), "meanings"
        )
        # A wording in another language has the meaning of the caption.
        places = np.where(places < 0, places[0], places)

        def meanings(rows_B: Integers, drawn_TB: Integers) -> Tensor:
            return vectors[torch.from_numpy(places[drawn_TB, rows_B].T)]  # [B, 3, E]

        constants = {**examples.constants, losses.MEANINGS: meanings}
        examples = replace(examples, constants=constants)
    return examples, objective


def _with_rankers(
    examples: Examples, objective: losses.Objective, data: TrainingData
) -> tuple[Examples, losses.Objective]:
    """The examples with the bank, and what the teachers of R make of it and of the texts."""
    model, teachers = data.model, data.teachers or (Teacher(BASE, data.model),)
    bank = data.bank or _bank_of_rows(examples, data)
    bank_GD, seen = bank.vectors, [_encode_bank(one, model, bank) for one in teachers]
    # One column tells: the row of a picture that cannot be opened is NaN throughout.
    kept_G = torch.isfinite(torch.stack([vectors_GE[:, 0] for vectors_GE in seen])).all(0)
    if not kept_G.all():
        for place in (~kept_G).nonzero().flatten().tolist():
            data.problems.add((bank.names or [])[place], "cannot be opened by all teachers")
        bank_GD, seen = bank_GD[kept_G], [vectors_GE[kept_G] for vectors_GE in seen]
    if len(bank_GD) < 2:
        what = "needs at least two pictures, of the rows (with cached features) or of --bank"
        hint = "Name a folder of pictures or an index, or use --recipe consistent."
        raise UserError("--ranking", what, hint)
    if bank_GD.shape[1] != model.architecture.embed_dim:
        what = f"has vectors of {bank_GD.shape[1]} numbers"
        hint = f"Name an index of this model; its vectors have {model.architecture.embed_dim}."
        raise UserError("--bank", what, hint)
    base_scale = float(model.logit_scale.detach().exp())
    total = sum(teacher.share for teacher in teachers)
    captions = data.texts()[losses.CAPTION]
    rankers, averages = list[losses.Ranker](), list[Callable[[Integers], Tensor]]()
    hubs = list[Tensor]()
    references = np.random.default_rng(_SAMPLE_SEED).permutation(len(captions))[:_REFERENCES]
    for teacher, vectors_GE in zip(teachers, seen, strict=True):
        scale = base_scale
        if teacher.name != BASE:
            scale = _matching_scale(teacher.model, vectors_GE, model, bank_GD, captions)
        rankers.append(
            losses.Ranker(teacher.name, teacher.share / total, scale, vectors_GE.shape[1])
        )
        found = _read_wordings(data, teacher.model, f"texts by {teacher.name}")
        averages.append(partial(_average_wordings, *found))
        hubs.append(HUBS_LOWERED * measure_hubs(averages[-1](references), vectors_GE, scale))

    def average(rows_B: Integers, _: Integers) -> Tensor:
        return torch.cat([of_teacher(rows_B) for of_teacher in averages], dim=1)  # [B, E]

    others = [
        (ranker.share, hash_tensors(teacher.model.text_tower.state_dict()))
        for ranker, teacher in zip(rankers, teachers, strict=True)
        if len(teachers) > 1 or teacher.name != BASE
    ]
    examples = replace(
        examples, bank=bank_GD, teachers_bank=seen, hubs=torch.stack(hubs), teachers=others,
        constants={losses.TEACHERS: average},
    )  # fmt: skip
    return examples, replace(objective, ranking_scale=base_scale, rankers=tuple(rankers))


def _bank_of_rows(examples: Examples, data: TrainingData) -> Bank:
    """The pictures of the rows, each once, in place of a bank."""
    shown = np.flatnonzero(examples.has_image)
    _, first = np.unique(examples.image_keys[shown], return_index=True)
    first = first[choose_sample(len(first), examples.options.seed)]
    if examples.pictures is not None or not len(first):
        return Bank(torch.zeros(0, data.model.architecture.embed_dim), [])
    names = data.triples["image"].take(shown[first]).to_pylist()
    return Bank(project(data.model, examples.features[torch.from_numpy(shown[first])]), names)


def _encode_bank(teacher: Teacher, base: DualEncoder, bank: Bank) -> Tensor:
    """A teacher's vectors [G, E] of the bank's pictures; NaN for one that cannot be opened."""
    if teacher.sees_as(base):
        return bank.vectors
    check_bank(bank, [teacher], base)
    names = bank.names or []
    size = math.ceil(4 * len(names) * teacher.model.architecture.embed_dim / 2**20)
    notice(f"{teacher.name} embeds {len(names):,} pictures, {size:,} MiB of vectors")
    with this_process().first_goes_first():
        return encode_images(
            teacher.model, names, cache_folder() / "image_features",
            Problems(max_share=1.0), label=f"bank by {teacher.name}",
        )  # fmt: skip


def _matching_scale(
    teacher: DualEncoder,
    seen_GE: Tensor,
    base: DualEncoder,
    bank_GD: Tensor,
    captions: Sequence[str],
) -> float:
    """The inverse temperature at which a teacher's rankings are as sharp as the base's.

    Its rankings of the pictures for some captions then have the same mean entropy. No labels are
    used, and shares of teachers mean the same whatever the spread of their similarities.
    """
    rng = np.random.default_rng(_SAMPLE_SEED)
    chosen_M = torch.from_numpy(rng.permutation(len(bank_GD))[: 4 * _SAMPLE])
    some = [captions[row] for row in rng.permutation(len(captions))[:_SAMPLE]]
    similar_BM = encode_texts(base, some) @ bank_GD[chosen_M].T
    wanted = _mean_entropy(float(base.logit_scale.detach().exp()) * similar_BM)
    similar_BM = encode_texts(teacher, some) @ seen_GE[chosen_M].T
    low, high = 0.0, math.log(_LARGEST_SCALE)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = _mean_entropy(math.exp(middle) * similar_BM) > wanted
        low, high = (middle, high) if above else (low, middle)  # too flat: a higher scale
    return math.exp(low)


def _mean_entropy(logits: Tensor) -> float:
    """The mean entropy in nats of the softmax of each row."""
    logs = logits.log_softmax(1)
    return float(-(logs.exp() * logs).sum(1).mean())


def _read_wordings(data: TrainingData, teacher: DualEncoder, what: str) -> tuple[Tensor, Integers]:
    """Mapped vectors [n, E], and which of them is that of each wording, int64 [3 + W, N], or -1."""
    texts, wordings = data.texts(), data.wordings()
    # The teachers read English: they see no wording in another language, which learns what they
    # find for the English ones.
    further = {
        (place, row): text
        for row, of_row in enumerate(wordings)
        for place, (text, language) in enumerate(of_row, len(losses.ALL_TEXTS))
        if language == ENGLISH
    }
    own = [text for name in losses.ALL_TEXTS for text in texts[name]]
    every = [*own, *further.values()]
    with this_process().first_goes_first():
        found = stored_texts(teacher, every, cache_folder() / "text_vectors", what)
    places = np.full((len(losses.ALL_TEXTS) + max(map(len, wordings)), len(wordings)), -1)
    places[: len(losses.ALL_TEXTS)] = found.places[: len(own)].reshape(len(losses.ALL_TEXTS), -1)
    for wording, place in zip(further, found.places[len(own) :], strict=True):
        places[wording] = place
    return found.stored, places


def _average_wordings(vectors: Tensor, places: Integers, rows_B: Integers) -> Tensor:
    """The normalised mean of all wordings of some rows, [B, E]."""
    chosen = torch.from_numpy(places[:, rows_B])  # [3 + W, B]
    total_BE = vectors[chosen[: len(losses.ALL_TEXTS)]].sum(0)
    for places_B in chosen[len(losses.ALL_TEXTS) :]:
        total_BE[places_B >= 0] += vectors[places_B[places_B >= 0]]
    return normalize(total_BE, dim=-1)
