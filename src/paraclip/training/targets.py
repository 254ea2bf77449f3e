"""What frozen teachers say of the rows: the targets of R and S.

A teacher of R has an image encoder of its own, and ranks its own vectors of the bank's pictures.
The student learns that ranking over *its* vectors of the same pictures, so that an index stays
valid. The teacher of S is MiniLM. Their vectors are computed before the first step, once for all
runs, and mapped from files of the cache; a stopped run resumes them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from paraclip.arrays import Integers
from paraclip.data.problems import Problems
from paraclip.data.triples import ENGLISH
from paraclip.errors import UserError
from paraclip.files import cache_folder
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import (
    encode_images,
    encode_texts,
    project,
    stored_texts,
)
from paraclip.models.loading import load_model
from paraclip.models.tensors import hash_tensors
from paraclip.training.bank import Bank
from paraclip.training.data import Examples, TrainingData
from paraclip.training.distributed import this_process
from paraclip.training.log import notice
from paraclip.training.losses import (
    ALL_TEXTS,
    CAPTION,
    MEANINGS,
    RANKING,
    SENTENCES,
    TEACHERS,
    Objective,
    Ranker,
)
from paraclip.training.teachers import BASE, Teacher, check_bank

_SAMPLE, _SAMPLE_SEED = 512, 0x7EAC
"""Captions, and four times as many pictures, whose rankings determine a teacher's temperature."""
_LARGEST_SCALE = 1000.0
_HALVINGS = 40
_Read = Callable[[DualEncoder, str], tuple[Tensor, Integers]]
"""What `_read_wordings` gives for a teacher, with the label of its progress bar."""


def with_targets(
    rows: Examples,
    objective: Objective,
    data: TrainingData,
    texts: Mapping[str, Sequence[str]],
    wordings: Sequence[Sequence[tuple[str, str]]],
) -> tuple[Examples, Objective]:
    """The rows with the frozen teachers' vectors that the losses need.

    Args:
        rows: the rows.
        objective: losses; receives the teachers of R with their temperatures.
        data: the base, its bank and its teachers.
        texts: N texts under each name of `ALL_TEXTS`.
        wordings: further wordings of each of the N rows, with their languages.

    Raises:
        UserError: R has fewer than two pictures, or those of a teacher cannot be opened.
    """
    read = partial(_read_wordings, texts, wordings)
    if RANKING in objective.losses:
        rows, objective = _with_rankers(rows, objective, data, texts[CAPTION], read)
    if SENTENCES in objective.losses:
        vectors, places = read(load_model("minilm", str(data.model.device)), "meanings")
        # A wording in another language has the meaning of the caption.
        places = np.where(places < 0, places[0], places)

        def meanings(rows: Integers, drawn: Integers) -> Tensor:
            return vectors[torch.from_numpy(places[drawn, rows].T)]  # [B, 3, E]

        rows = replace(rows, constants={**rows.constants, MEANINGS: meanings})
    return rows, objective


def _with_rankers(
    rows: Examples,
    objective: Objective,
    data: TrainingData,
    captions: Sequence[str],
    read: _Read,
) -> tuple[Examples, Objective]:
    """The rows with the bank, and with what the teachers of R make of it and of the texts."""
    teachers = data.teachers or (Teacher(BASE, data.model),)
    found = _find_bank(rows, data)
    bank, seen = found.vectors, [_encode_bank(one, data.model, found) for one in teachers]
    kept = torch.isfinite(torch.stack([vectors[:, 0] for vectors in seen])).all(0)  # [G]
    if not kept.all():
        notice(f"{int((~kept).sum()):,} pictures of the bank cannot be opened and are left out")
        bank, seen = bank[kept], [vectors[kept] for vectors in seen]
    if len(bank) < 2:
        what = "needs at least two pictures, of the rows (with cached features) or of --bank"
        hint = "Name a folder of pictures or an index, or use --recipe consistent."
        raise UserError("--ranking", what, hint)
    if bank.shape[1] != data.model.architecture.embed_dim:
        what = f"has vectors of {bank.shape[1]} numbers"
        hint = f"Name an index of this model; its vectors have {data.model.architecture.embed_dim}."
        raise UserError("--bank", what, hint)
    base_scale = float(data.model.logit_scale.detach().exp())
    total = sum(teacher.share for teacher in teachers)
    rankers, averages = list[Ranker](), list[Callable[[Integers], Tensor]]()
    for teacher, vectors in zip(teachers, seen, strict=True):
        scale, width = base_scale, vectors.shape[1]
        if teacher.name != BASE:
            scale = matching_scale(teacher.model, vectors, data.model, bank, captions)
        rankers.append(Ranker(teacher.name, teacher.share / total, scale, width))
        vectors_and_places = read(teacher.model, f"texts by {teacher.name}")
        averages.append(partial(_average_wordings, *vectors_and_places))

    def average(rows: Integers, _: Integers) -> Tensor:
        return torch.cat([of_teacher(rows) for of_teacher in averages], dim=1)  # [B, E]

    others = [
        (ranker.share, hash_tensors(teacher.model.text_tower.state_dict()))
        for ranker, teacher in zip(rankers, teachers, strict=True)
        if len(teachers) > 1 or teacher.name != BASE
    ]
    rows = replace(
        rows, bank=bank, teachers_bank=seen, teachers=others, constants={TEACHERS: average}
    )
    return rows, replace(objective, ranking_scale=base_scale, rankers=tuple(rankers))


def _find_bank(rows: Examples, data: TrainingData) -> Bank:
    """The bank, or the pictures of the rows, each once."""
    if data.bank is not None:
        return data.bank
    shown = np.flatnonzero(rows.has_image)
    _, first = np.unique(rows.image_keys[shown], return_index=True)
    if rows.pictures is not None or not len(first):
        return Bank(torch.zeros(0, data.model.architecture.embed_dim), [])
    names = data.rows["image"].take(shown[first]).to_pylist()
    return Bank(project(data.model, rows.features[torch.from_numpy(shown[first])]), names)


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


def matching_scale(
    teacher: DualEncoder, seen: Tensor, base: DualEncoder, bank: Tensor, captions: Sequence[str]
) -> float:
    """The inverse temperature at which a teacher's rankings are as sharp as the base's.

    Its rankings of the pictures for some captions then have the same mean entropy. No labels are
    used, and shares of teachers mean the same whatever the spread of their similarities.
    """
    rng = np.random.default_rng(_SAMPLE_SEED)
    chosen = torch.from_numpy(rng.permutation(len(bank))[: 4 * _SAMPLE])
    some = [captions[row] for row in rng.permutation(len(captions))[:_SAMPLE]]
    similar = encode_texts(base, some) @ bank[chosen].T  # [texts, pictures]
    wanted = _mean_entropy(float(base.logit_scale.detach().exp()) * similar)
    similar = encode_texts(teacher, some) @ seen[chosen].T
    low, high = 0.0, math.log(_LARGEST_SCALE)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = _mean_entropy(math.exp(middle) * similar) > wanted
        low, high = (middle, high) if above else (low, middle)
    return math.exp(low)


def _mean_entropy(logits: Tensor) -> float:
    """The mean entropy in nats of the softmax of each row."""
    logs = logits.log_softmax(1)
    return float(-(logs.exp() * logs).sum(1).mean())


def _read_wordings(
    texts: Mapping[str, Sequence[str]],
    wordings: Sequence[Sequence[tuple[str, str]]],
    teacher: DualEncoder,
    label: str,
) -> tuple[Tensor, Integers]:
    """Mapped vectors [n, E], and which of them is that of each wording, int64 [3 + W, N], or -1."""
    # The teachers read English: they see no wording in another language, which learns what they
    # find for the English ones.
    further = {
        (place, row): text
        for row, of_row in enumerate(wordings)
        for place, (text, language) in enumerate(of_row, len(ALL_TEXTS))
        if language == ENGLISH
    }
    own = [text for name in ALL_TEXTS for text in texts[name]]
    every = [*own, *further.values()]
    with this_process().first_goes_first():
        found = stored_texts(teacher, every, cache_folder() / "text_vectors", label)
    places = np.full((len(ALL_TEXTS) + max(map(len, wordings)), len(wordings)), -1)
    places[: len(ALL_TEXTS)] = found.places[: len(own)].reshape(len(ALL_TEXTS), -1)
    for wording, place in zip(further, found.places[len(own) :], strict=True):
        places[wording] = place
    return found.stored, places


def _average_wordings(vectors: Tensor, places: Integers, rows: Integers) -> Tensor:
    """The normalised mean of all wordings of some rows, [B, E]."""
    chosen = torch.from_numpy(places[:, rows])  # [3 + W, B]
    total = vectors[chosen[: len(ALL_TEXTS)]].sum(0)  # [B, E]
    for of_row in chosen[len(ALL_TEXTS) :]:
        total[of_row >= 0] += vectors[of_row[of_row >= 0]]
    return normalize(total, dim=-1)
