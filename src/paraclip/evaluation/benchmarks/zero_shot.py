"""Zero-shot classification: which class name is closest to a picture?

The vector of a class is the normalised mean of the unit vectors of its name in every template
(Radford et al. 2021, CLIP, section 3.1.4). Class names and templates of ImageNet come from
open_clip.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paraclip.arrays import Float, Integers
from paraclip.compute.exact_search import top_k
from paraclip.data.images import picture_files, pictures_hash
from paraclip.errors import UserError
from paraclip.evaluation import metrics
from paraclip.evaluation.benchmark import Arithmetic, MissingData, Scores, find_source, text_vectors
from paraclip.evaluation.pictures import image_vectors, refuse_missing
from paraclip.evaluation.statistics import Metric
from paraclip.files import check_input, check_name, text_hash

if TYPE_CHECKING:
    from paraclip.models.encoder import DualEncoder

_WIDEST = 5  # top-5; reported only for more than five classes
_VALIDATION = 50_000  # pictures of ImageNet's validation set

_GET_CLASSES = "Name a folder with one folder of pictures for each class: --images-by-class."
_GET_IMAGENET = (
    "Get ILSVRC2012's validation pictures (https://image-net.org) into imagenet/val/, one folder "
    "for each of the 1,000 WordNet ids (n01440764/ ...)."
)


@dataclass(frozen=True)
class Labelled:
    """Pictures with their classes."""

    name: str  # source of the pictures, with remarks for the reader ("one a class")
    references: tuple[str, ...]  # paths or URLs of the pictures
    labels: tuple[int, ...]  # index of each picture's class
    classes: tuple[str, ...]  # class names, as used in a sentence
    templates: tuple[str, ...]  # sentences with `{}` in place of the class name
    made_of: str  # name of the template set, for the report


class ZeroShot:
    """Top-1, top-5 and per-class mean accuracy on one set of pictures.

    Raises UserError for fewer than two classes or no pictures, or if too many pictures are missing.
    """

    def __init__(self, name: str, shown: Labelled, how: Arithmetic = Arithmetic()) -> None:
        self.name, self.shown, self.how = name, shown, how
        if len(shown.classes) < 2 or not shown.references:
            what = f"has {len(shown.classes)} classes and {len(shown.references)} pictures"
            raise UserError(shown.name, what, "Give at least two classes, each with pictures.")
        for reference in shown.references:
            check_name(reference)
        refuse_missing(shown.references, how.max_broken)
        self.pictures = shown.references
        counts = f"{len(shown.references):,} pictures of {len(shown.classes):,} classes"
        self.pool = f"{counts}, {shown.name}; {len(shown.templates)} templates ({shown.made_of})"
        rows = zip(shown.references, shown.labels, strict=True)
        names = [f"{Path(reference).name} {label}" for reference, label in rows]
        self.data: dict[str, Any] = {
            "pool_size": len(shown.references), "classes": len(shown.classes),
            "pictures_hash": pictures_hash(self.pictures),
            "hash": text_hash("\n".join([*names, *shown.classes, *shown.templates])),
        }  # fmt: skip

    def score(self, model: "DualEncoder", cache: Path | None) -> Scores:
        """Compute the metrics, one item per picture.

        `arrays` holds the nearest classes [pictures, min(5, classes)].
        """
        images, places, notes = image_vectors(model, self.shown.references, cache, self.how)
        labels = np.asarray(self.shown.labels)[places]
        nearest = top_k(images, self.class_vectors(model), min(_WIDEST, len(self.shown.classes)))
        return Scores(self.found(nearest, labels), {"nearest_classes": nearest}, notes)

    def class_vectors(self, model: "DualEncoder") -> Float:
        """Return the unit vectors of the classes, float64 [classes, width]."""
        names, templates = self.shown.classes, self.shown.templates
        texts = [template.replace("{}", name) for name in names for template in templates]
        vectors = text_vectors(model, texts, self.how, "class names")
        means = vectors.reshape(len(names), len(templates), -1).mean(axis=1, dtype=np.float64)
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        if not lengths.all():
            raise UserError(self.name, "a class has no direction", "Name other templates.")
        unit: Float = means / lengths
        return unit

    def found(self, nearest: Integers, labels: Integers) -> list[Metric]:
        """Return the metrics, given the nearest classes [pictures, k] and the true labels."""
        ranks = metrics.first_relevant(nearest == labels[:, None])
        right = metrics.recall(ranks, 1)
        found = [Metric("top-1", right)]
        if len(self.shown.classes) > _WIDEST:
            found.append(Metric(f"top-{_WIDEST}", metrics.recall(ranks, _WIDEST), headline=False))
        if len(np.unique(labels)) < len(labels):  # with one picture per class it equals top-1
            found.append(Metric("mean per class", right, groups=labels, headline=False))
        return found


def load_folder(data: Path | None, how: Arithmetic, images_by_class: str | None) -> ZeroShot:
    """Load pictures by class: each subfolder is a class of its name; underscores are spaces."""
    if images_by_class is None:
        raise MissingData("--images-by-class", "no folder is named", _GET_CLASSES)
    check_input(images_by_class)
    root = Path(images_by_class)
    if not root.is_dir():
        raise UserError(images_by_class, "there is no such folder", _GET_CLASSES)
    classes = sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
    files = [picture_files(path) for path in classes]
    empty = [path.name for path, of_class in zip(classes, files, strict=True) if not of_class]
    if empty:
        what = f"{len(empty)} of {len(classes)} class folders have no picture, such as {empty[0]}"
        raise UserError(images_by_class, what, "Fill or remove them.")
    names = tuple(path.name.replace("_", " ") for path in classes)
    if repeated := [name for name, folders in Counter(names).items() if folders > 1]:
        what = f"has several folders of the class {repeated[0]!r} (underscores are spaces)"
        raise UserError(images_by_class, what, "Merge or rename them.")
    references = tuple(str(path) for of_class in files for path in of_class)
    labels = tuple(number for number, of_class in enumerate(files) for _ in of_class)
    name, templates = f"{root.absolute().name}/ by folder", simple_templates()
    shown = Labelled(name, references, labels, names, templates, "open_clip's short list")
    return ZeroShot("image-folder", shown, how)


def load_imagenet(data: Path | None, how: Arithmetic) -> ZeroShot:
    """Load ImageNet-1k: the pictures in `imagenet/`, or else those in `imagenet_sample/`."""
    folder = find_source(data, ("imagenet", "imagenet_sample"), _GET_IMAGENET)
    folder = folder / "val" if (folder / "val").is_dir() else folder
    name, pictures = (_sample if folder.name == "imagenet_sample" else _validation_set)(folder)
    numbers = {wnid: number for number, wnid in enumerate(_imagenet_ids())}
    for wnid, path in pictures:
        if wnid not in numbers:
            raise UserError(path, f"{wnid!r} is not a class of ImageNet-1k", _GET_IMAGENET)
    present = {wnid for wnid, _ in pictures}
    if missing := [wnid for wnid in numbers if wnid not in present]:
        what = f"has no picture of {len(missing):,} of 1,000 classes, the first is {missing[0]}"
        raise UserError(folder, what, _GET_IMAGENET)
    labelled = sorted((numbers[wnid], path) for wnid, path in pictures)
    labels, paths = zip(*labelled, strict=True)
    classes, templates = _imagenet_words()
    references = tuple(map(str, paths))
    shown = Labelled(name, references, labels, classes, templates, "OpenAI's for ImageNet")
    return ZeroShot("imagenet", shown, how)


def _validation_set(folder: Path) -> tuple[str, list[tuple[str, Path]]]:
    """Return the name and the pictures, each with the WordNet id that its folder is named after."""
    in_folders = [path for path in picture_files(folder) if path.parent != folder]
    name = f"{folder.parent.name}/{folder.name}"
    if len(in_folders) != _VALIDATION:
        name += f", not the {_VALIDATION:,} of its validation set"
    return name, [(path.parent.name, path) for path in in_folders]


def _sample(folder: Path) -> tuple[str, list[tuple[str, Path]]]:
    """Return the name and the pictures, each with the WordNet id that its name begins with."""
    name = f"a sample of ImageNet-1k ({folder.name}), not its validation set"
    return name, [(path.name.split("_")[0], path) for path in picture_files(folder)]


@cache
def _imagenet_ids() -> tuple[str, ...]:
    """Return the 1,000 WordNet ids, in the order of the classes."""
    from timm.data import ImageNetInfo

    return tuple(ImageNetInfo().label_names())


def _imagenet_words() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the 1,000 names and the 80 templates."""
    from open_clip import zero_shot_metadata as words

    templates = tuple(template("{}") for template in words.OPENAI_IMAGENET_TEMPLATES)
    return tuple(words.IMAGENET_CLASSNAMES), templates


def simple_templates() -> tuple[str, ...]:
    """Return seven templates that are nearly as good as all 80, according to CLIP's authors."""
    from open_clip import zero_shot_metadata as words

    return tuple(template("{}") for template in words.SIMPLE_IMAGENET_TEMPLATES)
