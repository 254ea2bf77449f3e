"""Banks of pictures over which rankings are distilled: vectors by a base, without captions.

A file is written once for each base to a folder of the run.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torchvision.transforms import RandomResizedCrop

from paraclip.data.images import open_image, picture_files
from paraclip.evaluation.pictures import read_names
from paraclip.files import atomic_path, cache_folder
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import encode_images, half_precision, project
from paraclip.models.loading import load_model
from paraclip.progress import track

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
    return [*coco(data), *picture_files(data / "imagenet_sample")]


def coco(data: Path) -> list[Path]:
    """The COCO photographs."""
    return picture_files(data / "coco" / "images")


def unseen(data: Path) -> list[Path]:
    """The pictures of Flickr8k that no model was trained on."""
    learned = set(training_pictures(data))
    every = picture_files(data / "flickr8k" / "images")
    return [path for path in every if path not in learned]


def shuffled(data: Path) -> list[Path]:
    """All pictures of the other banks in random order."""
    pictures = BANKS["everything"](data)
    random.Random(SEED).shuffle(pictures)
    return pictures


BANKS: Mapping[str, Callable[[Path], list[Path]]] = {
    "flickr-train": training_pictures,
    "flickr-300": some_of_them(300),
    "flickr-2000": some_of_them(2_000),
    "foreign": foreign,
    "coco": coco,
    "unseen": unseen,
    "everything": lambda data: [*training_pictures(data), *foreign(data)],
    "crops-100000": shuffled,
}
"""Pictures by the name that a grid gives them."""
CROPS: Mapping[str, int] = {"crops-100000": 100_000}
"""How many random crops of a bank's pictures stand in their place."""
CROP_PIXELS = 224
CROP_AREA = (0.08, 0.5)
"""Smallest and largest area of a crop, as a share of its picture's."""


@torch.no_grad()
def encode_crops(model: DualEncoder, pictures: Sequence[str], count: int) -> Tensor:
    """Unit vectors float32 [count, embed_dim] of random crops, equally many of each picture.

    Crops stand in for a large index. Those of a picture depend on its number alone. The image
    tower computes in bf16.
    """
    model.eval()
    crop, each = RandomResizedCrop(CROP_PIXELS, scale=CROP_AREA), ceil(count / len(pictures))
    found = []
    for number, picture in enumerate(track(pictures, "crops", len(pictures), "image")):
        torch.manual_seed(number)
        image = open_image(picture, CROP_PIXELS)
        pixels = torch.stack([model.preprocess(crop(image)) for _ in range(each)])
        with half_precision(model, "bf16"):  # this layout takes 60 % of the time on a processor
            features = model.embed_pixels(pixels.to(memory_format=torch.channels_last))
        found.append(project(model, features.float()))
    return torch.cat(found)[:count]


def pictures_of(bank: Path) -> list[str]:
    """The paths of the pictures of a bank's file."""
    found: list[str] = pq.read_table(bank, columns=["path"])["path"].to_pylist()
    return found


def bank_file(name: str, base: Path, data: Path, folder: Path) -> Path:
    """A bank as an index of its pictures' paths and unit vectors by a base, written unless there.

    Crops have no paths: only the base ranks them.
    """
    path = folder / f"{name}.parquet"
    if not path.exists():
        model, pictures = load_model(str(base)), [str(picture) for picture in BANKS[name](data)]
        if name in CROPS:
            vectors, paths = encode_crops(model, pictures, CROPS[name]), None
        else:
            vectors = encode_images(model, pictures, cache_folder() / "image_features")
            paths = pa.array(pictures)
        flat = pa.array(vectors.numpy().ravel())
        columns = {"vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])}
        table = pa.table(columns if paths is None else {"path": paths, **columns})
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary)
    return path
