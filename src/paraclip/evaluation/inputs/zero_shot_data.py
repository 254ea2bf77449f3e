"""Pictures by class for zero-shot classification: ImageNet-1k, or any folder of folders.

Class names and templates of ImageNet come from open_clip (Radford et al. 2021).
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from paraclip.data.images import picture_files
from paraclip.errors import UserError
from paraclip.evaluation.benchmarks.zero_shot import Labelled, ZeroShot
from paraclip.evaluation.scoring.vectors import Arithmetic
from paraclip.files import check_input

NEEDS = {"imagenet": ("imagenet|imagenet_sample",)}
GET = {
    "imagenet": "Get ILSVRC2012's validation pictures (https://image-net.org) into imagenet/val/, "
    "one folder for each of the 1,000 WordNet ids (n01440764/ ...).",
    "image-folder": "Name a folder with one folder of pictures for each class: --images-by-class.",
}
VALIDATION = 50_000


def load_imagenet(data: Path, how: Arithmetic) -> ZeroShot:
    """Load ImageNet-1k: the pictures in `imagenet/`, or else those in `imagenet_sample/`."""
    folder = data / "imagenet"
    if folder.is_dir():
        folder = folder / "val" if (folder / "val").is_dir() else folder
        by_id = [(path.parent.name, path) for path in picture_files(folder)]
        by_id = [pair for pair in by_id if pair[1].parent != folder]
        name = f"{folder.parent.name}/{folder.name}"
        if len(by_id) != VALIDATION:
            name += f", not the {VALIDATION:,} of its validation set"
    else:
        folder = data / "imagenet_sample"
        by_id = [(path.name.split("_")[0], path) for path in picture_files(folder)]
        name = f"a sample of ImageNet-1k ({folder.name}), not its validation set"
    return ZeroShot("imagenet", imagenet(name, folder, by_id), how)


def imagenet(name: str, folder: Path, by_id: Sequence[tuple[str, Path]]) -> Labelled:
    """Pictures given by WordNet id, with ImageNet's names and 80 templates."""
    numbers = {wnid: number for number, wnid in enumerate(imagenet_ids())}
    for wnid, path in by_id:
        if wnid not in numbers:
            raise UserError(path, f"{wnid!r} is not a class of ImageNet-1k", GET["imagenet"])
    present = {wnid for wnid, _ in by_id}
    missing = [wnid for wnid in numbers if wnid not in present]
    if missing:
        what = (
            f"contains no picture of {len(missing):,} of 1,000 classes, the first is {missing[0]}"
        )
        raise UserError(folder, what, GET["imagenet"])
    names, templates = imagenet_words()
    ordered = sorted(by_id, key=lambda pair: (numbers[pair[0]], pair[1]))
    return Labelled(
        name=name,
        references=tuple(str(path) for _, path in ordered),
        labels=tuple(numbers[wnid] for wnid, _ in ordered),
        classes=names,
        templates=templates,
        made_of="OpenAI's for ImageNet",
    )


@cache
def imagenet_ids() -> tuple[str, ...]:
    """The 1,000 WordNet ids, in the order of the classes."""
    from timm.data import ImageNetInfo

    return tuple(ImageNetInfo().label_names())


def imagenet_words() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The 1,000 names and the 80 templates."""
    from open_clip import zero_shot_metadata as words

    templates = tuple(template("{}") for template in words.OPENAI_IMAGENET_TEMPLATES)
    return tuple(words.IMAGENET_CLASSNAMES), templates


def simple_templates() -> tuple[str, ...]:
    """Seven templates that are nearly as good as all 80, according to CLIP's authors."""
    from open_clip import zero_shot_metadata as words

    return tuple(template("{}") for template in words.SIMPLE_IMAGENET_TEMPLATES)


def load_folder(folder: str | Path, how: Arithmetic) -> ZeroShot:
    """Pictures by class: each subfolder is a class of the same name; underscores are spaces."""
    check_input(folder)
    root = Path(folder)
    if not root.is_dir():
        raise UserError(folder, "there is no such folder", GET["image-folder"])
    classes = sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
    files = [picture_files(path) for path in classes]
    empty = [path.name for path, of_class in zip(classes, files, strict=True) if not of_class]
    if empty:
        what = f"{len(empty)} of {len(classes)} class folders have no picture, such as {empty[0]}"
        raise UserError(folder, what, "Fill or remove them.")
    names = tuple(path.name.replace("_", " ") for path in classes)
    if repeated := [name for name, folders in Counter(names).items() if folders > 1]:
        what = f"has several folders of the class {repeated[0]!r} (underscores are spaces)"
        raise UserError(folder, what, "Merge or rename them.")
    pictures = Labelled(
        name=f"{root.name}/ by folder",
        references=tuple(str(path) for of_class in files for path in of_class),
        labels=tuple(number for number, of_class in enumerate(files) for _ in of_class),
        classes=names,
        templates=simple_templates(),
        made_of="open_clip's short list",
    )
    return ZeroShot("image-folder", pictures, how)
