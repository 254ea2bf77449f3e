"""Benchmarks whose data (pairs, pool, captions) comes from options or from the data folder."""

import os
from dataclasses import replace
from pathlib import Path

from paraclip.data.config import Columns
from paraclip.data.problems import Problems
from paraclip.data.reading import read_captions
from paraclip.errors import UserError
from paraclip.evaluation.benchmarks.image_text_retrieval import ImageTextRetrieval, gallery
from paraclip.evaluation.benchmarks.paraphrased_retrieval import ParaphrasedRetrieval
from paraclip.evaluation.benchmarks.sugar_crepe import SUBSETS
from paraclip.evaluation.benchmarks.variations import Variations
from paraclip.evaluation.benchmarks.zero_shot import GET_CLASSES, ZeroShot, load_folder
from paraclip.evaluation.config import EvaluateConfig
from paraclip.evaluation.pairs import KINDS, read_pairs, read_wordings
from paraclip.evaluation.pictures import read_names, read_pool
from paraclip.evaluation.vectors import Arithmetic

FLICKR8K = 8_091  # pictures

GET_PAIRS = (
    "Name a file with two text columns, such as triples.parquet, or get the JSON files of "
    "https://github.com/Sri-Harsha/scpp into sugar_crepe_pp/ of the data folder."
)
GET_POOL = "Name a folder of pictures, or get Flickr8k's pictures into flickr8k/images/."
GET_WORDINGS = (
    "Name a file with --wordings and its pictures with --pool, or put Flickr8k's pictures into "
    "flickr8k/images/ and rewordings into paraphrases/variations.jsonl of the data folder."
)
GET_CAPTIONS = (
    "Name captions with pictures: a folder, or a file as `paraclip generate` reads it; or get "
    "Flickr8k (captions.csv, test_images.txt, images/) into flickr8k/ of the data folder."
)


class Missing(UserError):
    """The data of a benchmark is missing."""


def data_folder(config: EvaluateConfig) -> Path | None:
    """Return the folder given by `--data`, or else by PARACLIP_DATA."""
    for origin, named in (
        ("--data", config.data),
        ("PARACLIP_DATA", os.environ.get("PARACLIP_DATA")),
    ):
        if named and not os.path.isdir(named):
            raise UserError(origin, f"there is no folder {named}", "Check the name.")
        if named:
            return Path(named)
    return None


def arithmetic(config: EvaluateConfig) -> Arithmetic:
    """Return how vectors are computed."""
    return Arithmetic(config.precision, max_broken=config.max_broken)


def source(config: EvaluateConfig, given: str | None, part: str, option: str, get: str) -> Path:
    """Return the given source, or else its default path in the data folder.

    Raises:
        Missing: if no source is given and the default path does not exist.
    """
    if given is not None:
        return Path(given)
    folder = data_folder(config)
    if folder is None:
        raise Missing(option, "no data folder is named", get)
    if not (folder / part).exists():
        raise Missing(option, f"{folder / part} is missing", get)
    return folder / part


def paraphrased_retrieval(config: EvaluateConfig) -> ParaphrasedRetrieval:
    """Create paraphrased retrieval from pairs and a pool."""
    if len(config.columns) not in (0, 2):
        what = f"{len(config.columns)} columns are named"
        raise UserError("--columns", what, "Name the columns of the first and second wording.")
    pairs = source(config, config.pairs, "sugar_crepe_pp", "--pairs", GET_PAIRS)
    pictures = source(config, config.pool, "flickr8k/images", "--pool", GET_POOL)
    first, second = config.columns or (None, None)
    read = read_pairs(pairs, first, second, Problems(config.max_broken))
    pool = read_pool(pictures, config.images)
    if config.pool is None and len(pool) != FLICKR8K:
        pool = replace(pool, name=f"{pool.name}, not the {FLICKR8K:,} of Flickr8k")
    lacking = [name for name in SUBSETS if not (pairs / f"{name}.json").exists()]
    if config.pairs is None and lacking:
        read = replace(read, name=f"{read.name}, without {', '.join(lacking)}")
    return ParaphrasedRetrieval(read, pool, config.k, arithmetic(config))


def variations(config: EvaluateConfig) -> Variations:
    """Create variations from reworded captions and a pool; `--wordings` may define any kinds."""
    default = "paraphrases/variations.jsonl"
    file = source(config, config.wordings, default, "--wordings", GET_WORDINGS)
    pictures = source(config, config.pool, "flickr8k/images", "--pool", GET_WORDINGS)
    kinds = KINDS if config.wordings is None else None
    read = read_wordings(file, kinds, Problems(config.max_broken))
    pool = read_pool(pictures, config.images)
    return Variations("variations", read, pool, config.k, arithmetic(config))


def image_text_retrieval(config: EvaluateConfig) -> ImageTextRetrieval:
    """Create image-text retrieval from captions with pictures."""
    captions = source(config, config.captions, "flickr8k/captions.csv", "--captions", GET_CAPTIONS)
    label, only = captions.name, None
    if config.captions is None:
        split = source(config, None, "flickr8k/test_images.txt", "--data", GET_CAPTIONS)
        label, only = f"{label} ({split.name})", read_names(split)
    columns = Columns(images=config.images if config.captions else None)
    problems = Problems(config.max_broken)
    shown = gallery(read_captions(str(captions), columns, problems), label, only, problems)
    return ImageTextRetrieval(shown, how=arithmetic(config))


def image_folder(config: EvaluateConfig) -> ZeroShot:
    """Create zero-shot classification from a folder of pictures by class."""
    if config.images_by_class is None:
        raise Missing("--images-by-class", "no folder is named", GET_CLASSES)
    return load_folder(config.images_by_class, arithmetic(config))
