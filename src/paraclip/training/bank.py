"""The bank of pictures over which rankings are distilled: a folder, or an index that exists."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from paraclip.data.images import picture_files
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.files import cache_folder
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import encode_images
from paraclip.swap_checking.indexes import IndexAddress, is_index, read_index
from paraclip.training.distributed import this_process

MOST_PICTURES = 100_000
"""Largest number of vectors kept, 200 MB at width 512; of a larger bank, a sample."""


def read_bank(source: str, model: DualEncoder, problems: Problems, seed: int = 0) -> Tensor:
    """Unit image vectors float32 [G, D] by the base; no captions are read.

    Args:
        source: folder of pictures, which are encoded once and cached, or an index that
            `paraclip swap-check` reads, whose vectors are taken as they are.
        model: the base, whose image encoder made the index.
        problems: collects broken pictures.
        seed: seed of the sample of a bank with more than 100,000 pictures.

    Raises:
        UserError: there are no pictures, the index cannot be read, or its vectors are not as wide
            as those of the model.
    """
    rng = np.random.default_rng([seed, 0xBA2C])
    if Path(source).is_dir() and not is_index(source):
        files = picture_files(Path(source))
        if not files:
            hint = "Name a folder of pictures, or an index that `paraclip swap-check` reads."
            raise UserError(source, "contains no pictures", hint)
        chosen = np.sort(rng.permutation(len(files))[:MOST_PICTURES])
        names = [str(files[place]) for place in chosen]
        seen = Problems(problems.max_share)
        with this_process().first_goes_first():
            vectors = encode_images(
                model, names, cache_folder() / "image_features", seen, label="bank"
            )
        seen.check(len(names))
        problems.take(seen)
        return vectors[torch.isfinite(vectors).all(1)]
    found = read_index(IndexAddress(source)).vectors
    width = model.architecture.embed_dim
    if found.shape[1] != width:
        what = f"has vectors of {found.shape[1]} numbers, and those of the model have {width}"
        hint = "Name an index that the image encoder of this base made; `swap-check` tells."
        raise UserError("--bank", what, hint)
    chosen = np.sort(rng.permutation(len(found))[:MOST_PICTURES])
    return torch.from_numpy(np.ascontiguousarray(found[chosen], dtype=np.float32))
