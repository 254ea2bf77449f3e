"""Banks of pictures over which rankings are distilled: vectors by a base, without captions.

A file is written once for each base to a folder of the run.
"""

import random
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from paraclip.data.images import picture_files
from paraclip.evaluation.pictures import read_names
from paraclip.files import atomic_path, cache_folder
from paraclip.models.features import encode_images
from paraclip.models.loading import load_model

PICTURES = "pictures"
"""The default of training, for which there is no file: the pictures of the rows."""
SEED = 0


def training_pictures(data: Path) -> list[Path]:
    """The pictures of Flickr8k's training split."""
    folder = data / "flickr8k"
    return [folder / "images" / name for name in read_names(folder / "train_images.txt")]


def some_of_them(count: int) -> Callable[[Path], list[Path]]:
    """A random sample of the training pictures."""
    return lambda data: random.Random(SEED).sample(training_pictures(data), count)


def foreign(data: Path) -> list[Path]:
    """The COCO photographs and the ImageNet sample."""
    return [*picture_files(data / "coco" / "images"), *picture_files(data / "imagenet_sample")]


BANKS: Mapping[str, Callable[[Path], list[Path]]] = {
    "flickr-train": training_pictures,
    "flickr-300": some_of_them(300),
    "flickr-2000": some_of_them(2_000),
    "foreign": foreign,
}
"""Pictures by the name that a grid gives them."""


def bank_file(name: str, base: Path, data: Path, folder: Path) -> Path:
    """The unit vectors of a bank by a base, float32 [pictures, width], written unless there."""
    path = folder / f"{name}.npy"
    if not path.exists():
        pictures = [str(picture) for picture in BANKS[name](data)]
        vectors = encode_images(load_model(str(base)), pictures, cache_folder() / "image_features")
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.save(file, vectors[torch.isfinite(vectors).all(1)].numpy())
    return path
