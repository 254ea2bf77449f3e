"""R: wordings learn the ranking of pictures that frozen teachers find for their average.

A teacher has an image encoder of its own, and ranks its own vectors of the bank's pictures. The
student learns that ranking over *its* vectors of the same pictures, so that an index stays valid.
What teachers say is computed before the first step, once for all runs, and mapped from files of the
cache; a stopped run resumes them.

Shape suffixes as in `data.py`; M pictures of the bank in a step, E widths of all K teachers.
"""

import math
import os.path
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from paraclip.arrays import Integers
from paraclip.data.captions import Problems, label
from paraclip.data.images import picture_files
from paraclip.errors import UserError
from paraclip.evaluation.unlabelled import HUBS_LOWERED, measure_hubs
from paraclip.files import cache_folder
from paraclip.indexes import Index, check_space, find_origin, is_index, pictures_of_rows, read_index
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import encode_images, encode_texts, image_space, project
from paraclip.models.loading import load_model
from paraclip.models.tensors import hash_tensors
from paraclip.provenance import without_secrets
from paraclip.starter import TEXTS
from paraclip.store import Store, existing_facts
from paraclip.systems.system import IndexAddress
from paraclip.training.config import RANKING
from paraclip.training.data import Bank, Examples, Teacher, TrainingData, encode_wordings
from paraclip.training.distributed import this_process
from paraclip.training.log import notice
from paraclip.training.losses import Loss, Vectors, distil
from paraclip.training.sources import BASE, split_share

BANK, TEACHERS, TEACHERS_BANK, HUBS = "bank", "teachers", "teachers_bank", "hubs"
"""Names in `Vectors.constants`: image vectors [M, D]; by the teachers, side by side, vectors of the
averaged wordings [B, E] and of the same M pictures [M, E]; and what each teacher's logits of the
pictures are lowered by [K, M]."""
BANK_AT_ONCE = 2048
"""Number of pictures of the bank that are drawn for each step."""
_MOST = 100_000
"""Largest number of vectors kept, 200 MB at width 512; of a larger bank, a sample."""
_SEED = 0xBA2C
_SAMPLE, _SAMPLE_SEED = 512, 0x7EAC
"""Captions, and four times as many pictures, whose rankings determine a teacher's temperature."""
_LARGEST_SCALE = 1000.0  # CLIP's is 100, SigLIP's 117
_REFERENCES = 8192  # texts at most that say which pictures are hubs
_HALVINGS = 40  # of the range of the logarithm, 6.9: to less than float32 resolves


@dataclass(frozen=True, eq=False)
class Ranker:
    """A teacher before a bank: a frozen model with image and text vectors of its own."""

    name: str  # of the model; `base` is the model before training
    share: float  # of its ranking in the target; those of all teachers add up to 1
    scale: float  # its inverse temperature
    model: DualEncoder
    pictures: Tensor  # its unit vectors of the bank, float32 [G, width]
    hubs: Tensor  # what its logits of the pictures are lowered by, float32 [G]

    @property
    def width(self) -> int:
        """Of its vectors."""
        return self.pictures.shape[1]


class Ranking(Loss):
    """R: cross-entropy of each wording's ranking of pictures with the teachers'; their mean.

    A ranking is the softmax of the scaled similarities to the pictures. A teacher's is that of its
    own vectors of the same pictures, for the normalised mean of a row's wordings; those of several
    teachers are averaged after the softmax. The logits of pictures that every text likes are
    lowered (`measure_hubs`). The student's vectors of the pictures stay as they are.

    Source: ranking distillation (Tang and Wang 2018), relational distillation of CLIPs (CRD of
    CLIP-KD, arXiv 2307.12732), averaged teachers (MobileCLIP2, arXiv 2508.20691); the averaged
    wordings are ours.
    """

    finds_rate = True

    def prepare(self, data: TrainingData, examples: Examples) -> None:
        """Have the teachers encode all wordings and the bank.

        Raises UserError if there are fewer than two pictures, those of a teacher cannot be opened,
        or the bank is of another model.
        """
        model, teachers = data.model, data.teachers or (Teacher(BASE, data.model),)
        self.scale = float(model.logit_scale.detach().exp())
        self.bank, seen = _encode_for_all(teachers, model, bank_of(data, examples), data.problems)
        captions = data.texts()[TEXTS[0]]
        total = sum(teacher.share for teacher in teachers)
        references = np.random.default_rng(_SAMPLE_SEED).permutation(len(captions))[:_REFERENCES]
        self.rankers, self._texts = list[Ranker](), list[tuple[Tensor, Integers]]()
        for teacher, vectors_GE in zip(teachers, seen, strict=True):
            scale = self.scale
            if teacher.name != BASE:
                scale = _matching_scale(teacher.model, vectors_GE, model, self.bank, captions)
            self._texts.append(encode_wordings(data, teacher.model, f"texts by {teacher.name}"))
            some_texts = _average_wordings(*self._texts[-1], references)
            hubs_G = HUBS_LOWERED * measure_hubs(some_texts, vectors_GE, scale)
            self.rankers.append(
                Ranker(
                    teacher.name, teacher.share / total, scale, teacher.model, vectors_GE, hubs_G
                )
            )

    def constants(self, rows_B: Integers, places_TB: Integers) -> dict[str, Tensor]:
        """What the teachers say of the rows and of some pictures.

        These are drawn by the numbers of the rows: equal in every process and in a resumed run.
        """
        rng = np.random.default_rng([_SEED, *rows_B.tolist()])
        count = min(len(self.bank), BANK_AT_ONCE)
        chosen = rng.choice(len(self.bank), count, replace=False, shuffle=False)
        drawn_M = torch.from_numpy(chosen)
        return {
            BANK: self.bank[drawn_M],
            TEACHERS: torch.cat([_average_wordings(*one, rows_B) for one in self._texts], dim=1),
            TEACHERS_BANK: torch.cat([one.pictures[drawn_M] for one in self.rankers], dim=1),
            HUBS: torch.stack([one.hubs for one in self.rankers])[:, drawn_M],
        }

    def identity(self) -> dict[str, Any]:
        """The bank, and the teachers unless base is alone."""
        seen = {f"bank {number}": one.pictures for number, one in enumerate(self.rankers)}
        teachers = [
            (one.share, hash_tensors(one.model.text_tower.state_dict())) for one in self.rankers
        ]
        alone = [one.name for one in self.rankers] == [BASE]
        bank = hash_tensors({"bank": self.bank, **({} if alone else seen)})
        return {"bank": bank, **({} if alone else {"teachers": teachers})}

    def facts(self) -> dict[str, Any]:
        """The inverse temperature, and the teachers' with their shares."""
        rankers = [
            {"name": one.name, "share": one.share, "scale": one.scale} for one in self.rankers
        ]
        return {"scale": self.scale, "rankers": rankers}

    def target(self, vectors: Vectors, block: slice) -> Tensor:
        """The ranking of pictures that some rows of a batch learn, [rows, M]."""
        dtype = vectors.texts[TEXTS[0]].dtype
        texts, pictures, hubs = (
            vectors.constants[name].to(dtype) for name in (TEACHERS, TEACHERS_BANK, HUBS)
        )
        return rank_pictures(self.rankers, texts[block], pictures, hubs)

    def value(self, vectors: Vectors, share: tuple[int, int]) -> Tensor:
        """Its value over the pictures that were drawn for the batch."""
        wordings = torch.stack([vectors.texts[name] for name in TEXTS])  # [TEXTS, B, D]
        bank_MD = vectors.constants[BANK]
        return distil(
            wordings, bank_MD, lambda block: self.target(vectors, block), self.scale, share
        )


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


def _encode_for_all(
    teachers: Sequence[Teacher], model: DualEncoder, bank: Bank, problems: Problems
) -> tuple[Tensor, list[Tensor]]:
    """The base's vectors [G, D] and each teacher's [G, E] of the pictures that all can open."""
    bank_GD, seen = bank.vectors, [_encode_bank(one, model, bank) for one in teachers]
    # One column tells: the row of a picture that cannot be opened is NaN throughout.
    kept_G = torch.isfinite(torch.stack([vectors_GE[:, 0] for vectors_GE in seen])).all(0)
    if not kept_G.all():
        for place in (~kept_G).nonzero().flatten().tolist():
            problems.add((bank.names or [])[place], "cannot be opened by all teachers")
        bank_GD, seen = bank_GD[kept_G], [vectors_GE[kept_G] for vectors_GE in seen]
    if len(bank_GD) < 2:
        what = "needs at least two pictures, of the rows (with cached features) or of --bank"
        hint = "Name a folder of pictures or an index, or use --recipe consistent."
        raise UserError(f"loss {RANKING}", what, hint)
    if bank_GD.shape[1] != model.architecture.embed_dim:
        what = f"has vectors of {bank_GD.shape[1]} numbers"
        hint = f"Name an index of this model; its vectors have {model.architecture.embed_dim}."
        raise UserError("--bank", what, hint)
    return bank_GD, seen


def bank_of(data: TrainingData, examples: Examples) -> Bank:
    """The bank of a run or, without one, the pictures of the rows, each once."""
    if data.bank is not None:
        return data.bank
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


def _average_wordings(vectors: Tensor, places: Integers, rows_B: Integers) -> Tensor:
    """The normalised mean of all wordings of some rows, [B, E]."""
    chosen = torch.from_numpy(places[:, rows_B])  # [TEXTS + W, B]
    total_BE = vectors[chosen[: len(TEXTS)]].sum(0)
    for places_B in chosen[len(TEXTS) :]:
        total_BE[places_B >= 0] += vectors[places_B[places_B >= 0]]
    return normalize(total_BE, dim=-1)


def read_bank(
    source: str,
    model: DualEncoder,
    problems: Problems,
    seed: int = 0,
    pictures: Path | str | None = None,
) -> Bank:
    """The pictures over which rankings are distilled; no captions are read.

    Args:
        source: folder of pictures, which are encoded once and cached, or an index that
            `paraclip swap-check` reads, whose vectors are taken as they are.
        model: the base, whose image encoder made the index.
        problems: collects broken pictures.
        seed: seed of the sample of a bank with more than 100,000 pictures.
        pictures: folder of the pictures of an index whose paths are those of another machine.

    Raises:
        UserError: there are no pictures, the index cannot be read, or its vectors are not those of
            the model.
    """
    sees = model.architecture.reads_pictures
    if os.path.isdir(source) and not is_index(source):
        if not sees:
            what = "is a folder of pictures, and the base has only a text encoder"
            raise UserError("--bank", what, "Name the index whose queries it encodes.")
        files = picture_files(Path(source))
        if not files:
            hint = "Name a folder of pictures, or an index that `paraclip swap-check` reads."
            raise UserError(source, "contains no pictures", hint)
        names = [str(files[place]) for place in choose_sample(len(files), seed)]
        seen = Problems(problems.max_share)
        with this_process().first_goes_first():
            vectors = encode_images(
                model, names, cache_folder() / "image_features", seen, label="bank"
            )
        problems.take(seen, len(names))
        usable = torch.isfinite(vectors).all(1)  # [G]; broken pictures have rows of NaN
        return Bank(vectors[usable], [names[row] for row in usable.nonzero().flatten().tolist()])
    place = IndexAddress(source, selectable=False)
    index = read_index(place, sample=_MOST, seed=(seed, _SEED))
    found = pictures_of_rows(index.paths or [], pictures)
    _check_origin(index, found if sees else {}, model, place, problems)
    names = [found.get(row, "") for row in range(len(index.vectors))]
    return Bank(torch.from_numpy(index.vectors), names if found else None)


def choose_sample(count: int, seed: int) -> Integers:
    """The places of all pictures, or of a sample of a bank that has more than 100,000, in order."""
    return np.sort(np.random.default_rng((seed, _SEED)).permutation(count)[:_MOST])


def _check_origin(
    index: Index, pictures: dict[int, str], model: DualEncoder, place: IndexAddress,
    problems: Problems,
) -> None:  # fmt: skip
    """Raise UserError for vectors of another image tower; say so if that cannot be found out."""
    if index.kind == "paraclip" and model.architecture.reads_pictures:
        facts = existing_facts(Store(place.address))
        check_space(facts, image_space(model), model.architecture.name, place.where)
        return
    origin = find_origin(model, index, pictures, problems, option="--bank")
    if origin is None:
        notice(f"no picture of {place.where} can be opened to check that this base made it")
    else:
        origin.check(place.where)


def load_teachers(names: Sequence[Path | str], base: DualEncoder) -> tuple[Teacher, ...]:
    """The teachers that `--teacher` names, each as MODEL or MODEL=SHARE; `base` is the student
    before training.

    Raises UserError for a share out of range, and for a model that cannot be loaded or has
    no image encoder.
    """
    teachers = []
    for named in names:
        name, share = split_share(named)
        model = base if name == BASE else load_model(name, str(base.device))
        if name != BASE and not model.architecture.reads_pictures:
            what = f"{label(name)} has no image encoder, so it cannot rank pictures"
            raise UserError("--teacher", what, "Name a CLIP.")
        teachers.append(Teacher(without_secrets(name), model, share))
    return tuple(teachers)


def check_bank(bank: Bank, teachers: Sequence[Teacher], base: DualEncoder) -> None:
    """Raise UserError for a bank of vectors alone, which no other image encoder can rank."""
    if bank.names is not None:
        return
    others = [teacher.name for teacher in teachers if not teacher.sees_as(base)]
    if others:
        what = f"holds vectors alone, and {others[0]} ranks pictures by vectors of its own"
        hint = "Name a folder of pictures, or say with --images where those of the index are."
        raise UserError("--bank", what, hint)
