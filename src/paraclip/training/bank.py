"""What R looks at: the bank, pictures without captions, and the teachers, who rank them.

A teacher is a frozen model with an image encoder of its own.
"""

import os.path
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from paraclip.arrays import Integers
from paraclip.data.captions import Problems, label
from paraclip.data.images import picture_files
from paraclip.errors import UserError
from paraclip.files import cache_folder
from paraclip.indexes import Index, check_space, find_origin, is_index, pictures_of_rows, read_index
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import encode_images, image_space
from paraclip.models.loading import load_model
from paraclip.provenance import without_secrets
from paraclip.store import Store, existing_facts
from paraclip.systems.system import IndexAddress
from paraclip.training.distributed import this_process
from paraclip.training.log import notice
from paraclip.training.sources import BASE, split_share

_MOST = 100_000
"""Largest number of vectors kept, 200 MB at width 512; of a larger bank, a sample."""
_SEED = 0xBA2C


@dataclass(frozen=True)
class Bank:
    """Pictures as a base sees them, and where another model can see them."""

    vectors: Tensor  # unit vectors by the base, float32 [G, D]
    names: list[str] | None  # G files, "" where there is none; None if there are none at all


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


@dataclass(frozen=True)
class Teacher:
    """A frozen model whose ranking of the bank is part of the target of R.

    Its name is without secrets, or `base` for the student before training. Its share is the weight
    of its ranking; those of all teachers are divided by their sum.
    """

    name: str
    model: DualEncoder
    share: float = 1.0

    def sees_as(self, base: DualEncoder) -> bool:
        """Whether it gives pictures the vectors of the base, whose bank then serves for both."""
        return self.model is base or image_space(self.model) == image_space(base)


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
