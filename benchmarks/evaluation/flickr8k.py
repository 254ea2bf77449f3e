"""Flickr8k's training captions, from which the bases of the study learn."""

from collections.abc import Iterable
from pathlib import Path

from paraclip.data.captions import Caption
from paraclip.data.reading import read_captions
from paraclip.evaluation.pictures import read_names
from paraclip.files import cache_folder


def feature_cache() -> Path:
    """Folder in which all stages cache image features."""
    return cache_folder() / "image_features"


def training_captions(data: Path) -> list[Caption]:
    """Captions whose picture is in the training split."""
    wanted = set(read_names(data / "flickr8k" / "train_images.txt"))
    every: Iterable[Caption] = read_captions(str(data / "flickr8k" / "captions.csv"))
    return [row for row in every if Path(row.image or "").name in wanted]
