"""Image-text retrieval on COCO, Flickr30k and Flickr8k, as the field splits them.

The splits are Karpathy and Fei-Fei's (2015): a JSON file with `images`, each with its `filename`,
`split` and `sentences[].raw`; COCO's have a `filepath` ("val2014") too. All captions of a test
picture count, also where COCO has six or seven (25,010 of 5,000 pictures), as in clip_benchmark.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paraclip.data.captions import BrokenRow, Caption, clean_text, plain_text
from paraclip.data.json_stream import JsonStream
from paraclip.data.lines import open_source
from paraclip.data.problems import Problems
from paraclip.data.reading import read_captions
from paraclip.errors import UserError
from paraclip.evaluation.benchmarks.image_text_retrieval import Gallery, ImageTextRetrieval, gallery
from paraclip.evaluation.scoring.vectors import Arithmetic

SPLITS = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
NEEDS = {
    "coco-retrieval": ("coco/dataset_coco.json|coco/captions.json",),
    "flickr30k-retrieval": ("flickr30k/dataset_flickr30k.json",),
    "flickr8k-retrieval": ("flickr8k/dataset_flickr8k.json",),
}
GET = {
    "coco-retrieval": f"Get dataset_coco.json ({SPLITS}) into coco/ and the pictures of "
    "http://images.cocodataset.org/zips/val2014.zip into coco/val2014/.",
    "flickr30k-retrieval": f"Get dataset_flickr30k.json ({SPLITS}) into flickr30k/ and the "
    "pictures (asked for at https://shannon.cs.illinois.edu/DenotationGraph/) into "
    "flickr30k/images/.",
    "flickr8k-retrieval": f"Get dataset_flickr8k.json ({SPLITS}) into flickr8k/ and the pictures "
    "(https://github.com/jbrownlee/Datasets/releases/tag/Flickr8k) into flickr8k/images/.",
}


def load_coco(data: Path, how: Arithmetic) -> ImageTextRetrieval:
    """The 5,000 Karpathy test pictures of COCO, else the pictures of `coco/captions.json`.

    Raises:
        UserError: captions or more than `how.max_broken` of the pictures are missing or broken.
    """
    folder = data / "coco"
    file = folder / "dataset_coco.json"
    if file.exists():
        return load(file, "coco-retrieval", "COCO, Karpathy's test split", how)
    captions = read_captions(str(folder / "captions.json"), problems=Problems(how.max_broken))
    name = "a sample of COCO (captions.json), not Karpathy's 5,000 test pictures"
    return ImageTextRetrieval(gallery(captions, name), how=how, name="coco-retrieval")


def load_flickr30k(data: Path, how: Arithmetic) -> ImageTextRetrieval:
    """The 1,000 Karpathy test pictures of Flickr30k; raises as COCO."""
    file = data / "flickr30k" / "dataset_flickr30k.json"
    return load(file, "flickr30k-retrieval", "Flickr30k, Karpathy's test split", how)


def load_flickr8k(data: Path, how: Arithmetic) -> ImageTextRetrieval:
    """The 1,000 Karpathy test pictures of Flickr8k; raises as COCO."""
    file = data / "flickr8k" / "dataset_flickr8k.json"
    return load(file, "flickr8k-retrieval", "Flickr8k, Karpathy's test split", how)


def load(file: Path, name: str, label: str, how: Arithmetic) -> ImageTextRetrieval:
    """The benchmark of a Karpathy file."""
    shown = read_split(file, label, GET[name], Problems(how.max_broken))
    return ImageTextRetrieval(shown, how=how, name=name)


def read_split(
    file: Path, label: str, get: str, problems: Problems | None = None, split: str = "test"
) -> Gallery:
    """Pictures and captions of one split, in the file's order.

    Args:
        file: JSON as Karpathy's.
        label: what to call the set.
        get: how to get the data.
        problems: takes broken entries; 1 % of them at most by default.
        split: which one.

    Raises:
        UserError: the file is not of that form, a picture is there twice, too many are broken, or
            the split is empty.
    """
    problems = Problems() if problems is None else problems
    before, captions, seen = problems.count, [], set()
    for number, entry in enumerate(entries(file, get), start=1):
        where = f"{file}: image {number}"
        if not isinstance(entry, dict) or entry.get("split") != split:
            continue
        try:
            found = captions_of(entry, where, file.parent)
        except BrokenRow as broken:
            problems.add(where, str(broken))
            continue
        if found[0].image_id in seen:
            what = f"the picture {found[0].image_id!r} is there twice"
            raise UserError(where, what, get)
        seen.add(found[0].image_id)
        captions += found
    problems.check(len(seen) + problems.count - before)
    if not captions:
        raise UserError(file, f"holds no picture of the split {split!r}", get)
    return gallery(captions, label)


def entries(file: Path, get: str) -> Iterator[Any]:
    """The elements of `images`, one at a time."""
    with open_source(str(file)) as stream:
        parts, met = JsonStream(stream, str(file)), False
        if parts.peek() == "{":
            for key in parts.keys():  # noqa: SIM118 not a dict
                if key == "images":
                    met = True
                    yield from parts.elements()
                else:
                    parts.skip_value()
    if not met:
        raise UserError(file, "has no 'images'", get)


def captions_of(entry: dict[str, Any], where: str, folder: Path) -> list[Caption]:
    """The captions of one picture.

    Raises:
        BrokenRow: there is no file name or no caption.
    """
    name = plain_text(entry.get("filename"), "filename")
    if not name:
        raise BrokenRow("the filename is empty")
    sentences = entry.get("sentences")
    if not isinstance(sentences, list) or not sentences:
        raise BrokenRow("there are no sentences")
    raw = [sentence.get("raw") if isinstance(sentence, dict) else None for sentence in sentences]
    texts = [clean_text(text) for text in raw]
    image = str(place_of(name, plain_text(entry.get("filepath"), "filepath"), folder))
    return [
        Caption(f"{name}-{number}", text, name, image, where)
        for number, text in enumerate(texts, start=1)
    ]


def place_of(name: str, filepath: str | None, folder: Path) -> Path:
    """Where the picture is: in its `filepath`, in `images/`, or beside the file.

    Where it is nowhere the first of these is named; whether too many are missing is seen later.
    """
    parts = [filepath] if filepath else []
    places = [folder / part / name for part in (*parts, "images", "")]
    return next((place for place in places if place.is_file()), places[0])
