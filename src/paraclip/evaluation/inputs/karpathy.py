"""Image-text retrieval on COCO, Flickr30k and Flickr8k with the usual splits.

The splits are from Karpathy and Fei-Fei (2015): a JSON file with `images`, each with `filename`,
`split` and `sentences[].raw`, and in COCO `filepath` ("val2014"). All captions of a test picture
count, even where COCO has six or seven (25,010 for 5,000 pictures), as in clip_benchmark.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from paraclip.data.captions import BrokenRow, Caption, clean_text, picture_name
from paraclip.data.problems import Problems
from paraclip.data.reading import read_captions
from paraclip.data.untrusted_json import array_at
from paraclip.errors import UserError
from paraclip.evaluation.benchmarks.image_text_retrieval import Gallery, ImageTextRetrieval, gallery
from paraclip.evaluation.scoring.vectors import Arithmetic, left_out

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
    "pictures (on request at https://shannon.cs.illinois.edu/DenotationGraph/) into "
    "flickr30k/images/.",
    "flickr8k-retrieval": f"Get dataset_flickr8k.json ({SPLITS}) into flickr8k/ and the pictures "
    "(https://github.com/jbrownlee/Datasets/releases/tag/Flickr8k) into flickr8k/images/.",
}


def load_coco(data: Path, how: Arithmetic) -> ImageTextRetrieval:
    """Load the 5,000 Karpathy test pictures of COCO, or else those of `coco/captions.json`."""
    folder = data / "coco"
    file = folder / "dataset_coco.json"
    if file.exists():
        return load_split(file, "coco-retrieval", "COCO, Karpathy's test split", how)
    problems = Problems(how.max_broken)
    captions = read_captions(str(folder / "captions.json"), problems=problems)
    name = "a sample of COCO (captions.json), not Karpathy's 5,000 test pictures"
    shown = gallery(captions, name, problems=problems)
    return ImageTextRetrieval(shown, how=how, name="coco-retrieval")


def load_flickr30k(data: Path, how: Arithmetic) -> ImageTextRetrieval:
    """Load the 1,000 Karpathy test pictures of Flickr30k; raises as `load_coco`."""
    file = data / "flickr30k" / "dataset_flickr30k.json"
    return load_split(file, "flickr30k-retrieval", "Flickr30k, Karpathy's test split", how)


def load_flickr8k(data: Path, how: Arithmetic) -> ImageTextRetrieval:
    """Load the 1,000 Karpathy test pictures of Flickr8k; raises as `load_coco`."""
    file = data / "flickr8k" / "dataset_flickr8k.json"
    return load_split(file, "flickr8k-retrieval", "Flickr8k, Karpathy's test split", how)


def load_split(file: Path, name: str, label: str, how: Arithmetic) -> ImageTextRetrieval:
    """Load the test split of a Karpathy file."""
    pictures = read_split(file, label, GET[name], Problems(how.max_broken))
    return ImageTextRetrieval(pictures, how=how, name=name)


def read_split(
    file: Path, label: str, get: str, problems: Problems | None = None, split: str = "test"
) -> Gallery:
    """Read the pictures and captions of one split, in file order."""
    problems = Problems() if problems is None else problems
    before, captions, seen = problems.count, [], set()
    for number, entry in enumerate(array_at(str(file), "images", get), start=1):
        where = f"{file}: image {number}"
        if not isinstance(entry, dict) or entry.get("split") != split:
            continue
        try:
            of_picture = captions_of(entry, where, file.parent)
        except BrokenRow as broken:
            problems.add(where, str(broken))
            continue
        image_id = of_picture[0].image_id
        if image_id in seen:
            raise UserError(where, f"the picture {image_id!r} occurs twice", get)
        seen.add(image_id)
        captions += of_picture
    total = len(seen) + problems.count - before
    problems.check(total)
    if not captions:
        raise UserError(file, f"contains no picture of the split {split!r}", get)
    return replace(gallery(captions, label), notes=left_out(problems, total))


def captions_of(entry: dict[str, Any], where: str, folder: Path) -> list[Caption]:
    """Return the captions of one picture; raises BrokenRow without a file name or a caption."""
    name = picture_name(entry.get("filename"))
    if not name:
        raise BrokenRow("the filename is empty")
    sentences = entry.get("sentences")
    if not isinstance(sentences, list) or not sentences:
        raise BrokenRow("there are no sentences")
    raw = [sentence.get("raw") if isinstance(sentence, dict) else None for sentence in sentences]
    texts = [clean_text(text) for text in raw]
    image = str(picture_path(name, picture_name(entry.get("filepath")), folder))
    return [
        Caption(f"{name}-{number}", text, name, image, where)
        for number, text in enumerate(texts, start=1)
    ]


def picture_path(name: str, filepath: str | None, folder: Path) -> Path:
    """Find a picture in its `filepath`, in `images/` or in `folder`; default to the first path."""
    parts = [filepath] if filepath else []
    paths = [folder / part / name for part in (*parts, "images", "")]
    return next((path for path in paths if os.path.isfile(path)), paths[0])
