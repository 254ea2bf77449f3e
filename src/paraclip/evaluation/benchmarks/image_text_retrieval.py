"""Image-text retrieval: R@k in both directions, with several captions per picture.

The usual splits of COCO and Flickr8k are from Karpathy and Fei-Fei (2015): a JSON file
with `images`, each with `filename`, `split` and `sentences[].raw`, and in COCO `filepath`
("val2014"). All captions of a test picture count, even where COCO has six or seven (25,010 for
5,000 pictures), as in clip_benchmark. Formula: docs/guide/evaluate.md.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paraclip.arrays import Float, Integers
from paraclip.compute.exact_search import top_k
from paraclip.data.captions import BrokenRow, Caption, Columns, Problems, clean_text, plain_text
from paraclip.data.images import pictures_hash
from paraclip.data.reading import read_captions
from paraclip.data.rows import read_items
from paraclip.errors import UserError
from paraclip.evaluation import metrics
from paraclip.evaluation.benchmark import Arithmetic, Scores, find_source, left_out, text_vectors
from paraclip.evaluation.pictures import image_vectors, read_names, refuse_missing
from paraclip.evaluation.statistics import Metric
from paraclip.files import text_hash
from paraclip.provenance import without_secrets

if TYPE_CHECKING:
    from paraclip.models.encoder import DualEncoder

_CUTOFFS = (1, 5, 10)


@dataclass(frozen=True)
class Gallery:
    """Pictures and the captions of each."""

    name: str  # source of the pictures and captions
    references: tuple[str, ...]  # paths or URLs of the pictures, without duplicates
    captions: tuple[str, ...]  # all captions
    owners: tuple[int, ...]  # index of each caption's picture
    notes: list[str] = field(default_factory=list)  # notes for the report on skipped captions


def gallery(
    captions: Iterable[Caption], name: str, only: Sequence[str] | None = None,
    problems: Problems | None = None,
) -> Gallery:  # fmt: skip
    """Group captions by picture, in the order of the pictures (`only` those of a test split, by
    name or id); equal paths are one picture. Captions without a picture are skipped, with a note.

    Raises UserError if no caption has a picture, a picture of `only` has no caption, or one image
    id names two pictures.
    """
    wanted = None if only is None else set(only)
    pictures: dict[str, str] = {}  # by image id
    numbers: dict[str, int] = {}  # by picture
    texts: list[str] = []
    owners: list[int] = []
    met: set[str] = set()
    blind = read = 0
    for caption in captions:
        read += 1
        names = {caption.image_id, Path(caption.image or "").name}
        if wanted is not None and not wanted & names:
            continue
        if caption.image is None:
            blind += 1
            continue
        met |= names
        if (known := pictures.setdefault(caption.image_id, caption.image)) != caption.image:
            what = f"the image id {caption.image_id!r} names both {known} and {caption.image}"
            raise UserError(caption.source, what, "Give each picture an image id of its own.")
        texts.append(caption.caption)
        owners.append(numbers.setdefault(caption.image, len(numbers)))
    lost = [] if only is None else [entry for entry in only if entry not in met]
    if lost:
        what = f"has no caption for {len(lost)} of {len(only or ()):,} pictures, such as {lost[0]}"
        raise UserError(name, what, "Give the list of names that belongs to these captions.")
    if not numbers:
        what = "contains no caption with a picture"
        raise UserError(name, what, "Name the folder with --images.")
    notes = [] if problems is None else left_out(problems, read + problems.count, "captions")
    notes += [f"{blind:,} captions without a picture left out"] if blind else []
    return Gallery(name, tuple(numbers), tuple(texts), tuple(owners), notes)


class ImageTextRetrieval:
    """R@k in both directions on one gallery, for each k of `cutoffs`.

    Raises UserError for fewer pictures than the largest k, or if too many of them are missing.
    """

    def __init__(
        self,
        shown: Gallery,
        cutoffs: tuple[int, ...] = _CUTOFFS,
        how: Arithmetic = Arithmetic(),
        name: str = "image-text-retrieval",
    ) -> None:
        pictures, captions = len(shown.references), len(shown.captions)
        if pictures < max(cutoffs):
            what = f"R@{max(cutoffs)} does not fit {pictures} pictures"
            raise UserError(shown.name, what, "Give more pictures.")
        self.name, self.shown, self.cutoffs, self.how = name, shown, cutoffs, how
        refuse_missing(shown.references, how.max_broken)
        self.pictures = shown.references
        self.pool = f"{pictures:,} pictures and {captions:,} captions of {shown.name}"
        rows = zip(shown.owners, shown.captions, strict=True)
        names = [Path(reference).name for reference in shown.references]
        self.data: dict[str, Any] = {
            "captions": captions, "pool_size": pictures,
            "pictures_hash": pictures_hash(self.pictures),
            "hash": text_hash("\n".join([*names, *(f"{owner} {text}" for owner, text in rows)])),
        }  # fmt: skip
        if cutoffs != _CUTOFFS:  # reports with the usual ones stay comparable with earlier ones
            self.data["k"] = list(cutoffs)

    def score(self, model: "DualEncoder", cache: Path | None) -> Scores:
        """Compute R@k, one item per query; captions of one picture are resampled together."""
        images, places, notes = image_vectors(model, self.shown.references, cache, self.how)
        numbers = np.full(len(self.shown.references), -1)  # of the readable pictures
        numbers[places] = np.arange(len(places))
        owners = numbers[np.asarray(self.shown.owners)]  # [captions]; -1 of a broken picture
        kept = np.flatnonzero(owners >= 0)
        captions = [self.shown.captions[row] for row in kept]
        texts = text_vectors(model, captions, self.how, "captions")
        results, ranks = self.found(images, texts, owners[kept])
        return Scores(results, ranks, [*self.shown.notes, *notes])

    def found(
        self, images: Float, texts: Float, owners: Integers
    ) -> tuple[list[Metric], dict[str, Integers]]:
        """Return the metrics, and the rank of the first correct result of each query, from unit
        vectors [pictures, width] and [captions, width], and the index of each caption's picture
        [captions]."""
        widest = max(self.cutoffs)
        pictures = top_k(texts, images, widest)  # [captions, widest]
        sentences = owners[top_k(images, texts, widest)]  # their pictures [pictures, widest]
        to_image = metrics.first_relevant(pictures == owners[:, None])
        to_text = metrics.first_relevant(sentences == np.arange(len(images))[:, None])
        found = [
            Metric(f"{way} R@{k}", metrics.recall(ranks, k), clusters=clusters)
            for way, ranks, clusters in (("T2I", to_image, owners), ("I2T", to_text, None))
            for k in self.cutoffs
        ]
        return found, {"text_to_image_rank": to_image, "image_to_text_rank": to_text}


_SPLITS = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
_GET_COCO = (
    f"Get dataset_coco.json ({_SPLITS}) into coco/ and the pictures of "
    "http://images.cocodataset.org/zips/val2014.zip into coco/val2014/."
)
_GET_FLICKR8K = (
    f"Get dataset_flickr8k.json ({_SPLITS}) into flickr8k/ and the pictures "
    "(https://github.com/jbrownlee/Datasets/releases/tag/Flickr8k) into flickr8k/images/."
)
_GET_CAPTIONS = (
    "Name captions with pictures: a folder, or a file as `paraclip generate` reads it; or get "
    "Flickr8k (captions.csv, test_images.txt, images/) into flickr8k/ of the data folder."
)


def load_captions(
    data: Path | None, how: Arithmetic, captions: str | None, images: str | None
) -> ImageTextRetrieval:
    """Read captions with pictures, by default those of Flickr8k's test pictures."""
    only, source = None, captions  # as given: a path would fold the slashes of a URL
    if source is None:
        source = str(find_source(data, "flickr8k/captions.csv", _GET_CAPTIONS, "--captions"))
        split = find_source(data, "flickr8k/test_images.txt", _GET_CAPTIONS)
        only, images = read_names(split), None
    label = os.path.basename(os.path.abspath(without_secrets(source)))  # `.` has no name
    label += f" ({split.name})" if only else ""
    problems = Problems(how.max_broken)
    read = read_captions(source, Columns(images=images), problems)
    return ImageTextRetrieval(gallery(read, label, only, problems), how=how)


def load_coco(data: Path | None, how: Arithmetic) -> ImageTextRetrieval:
    """Load the 5,000 Karpathy test pictures of COCO, or else those of `coco/captions.json`."""
    file = find_source(data, ("coco/dataset_coco.json", "coco/captions.json"), _GET_COCO)
    if file.name != "captions.json":
        return _load_split("COCO", file, _GET_COCO, how)
    problems = Problems(how.max_broken)
    captions = read_captions(str(file), problems=problems)
    name = "a sample of COCO (captions.json), not Karpathy's 5,000 test pictures"
    shown = gallery(captions, name, problems=problems)
    return ImageTextRetrieval(shown, how=how, name="coco-retrieval")


def load_flickr8k(data: Path | None, how: Arithmetic) -> ImageTextRetrieval:
    """Load the 1,000 Karpathy test pictures of Flickr8k."""
    file = find_source(data, "flickr8k/dataset_flickr8k.json", _GET_FLICKR8K)
    return _load_split("Flickr8k", file, _GET_FLICKR8K, how)


def _load_split(name: str, file: Path, get: str, how: Arithmetic) -> ImageTextRetrieval:
    """Read the pictures and captions of the test split of a set, in file order."""
    problems = Problems(how.max_broken)
    captions: dict[str, list[Caption]] = {}  # of each picture
    for where, own in read_items(str(file), partial(_captions_of, file.parent), problems):
        if own and captions.setdefault(own[0].image_id, own) is not own:
            raise UserError(where, f"the picture {own[0].image_id!r} occurs twice", get)
    total = len(captions) + problems.count
    problems.check(total)
    if not captions:
        raise UserError(file, "contains no picture of the split 'test'", get)
    label = f"{name}, Karpathy's test split"
    shown = gallery(chain.from_iterable(captions.values()), label)
    shown.notes.extend(left_out(problems, total))
    return ImageTextRetrieval(shown, how=how, name=f"{name.lower()}-retrieval")


def _captions_of(folder: Path, entry: dict[str, Any], where: str) -> list[Caption]:
    """Return the captions of one picture, none of another split.

    Raises BrokenRow without a file name or a caption.
    """
    if entry.get("split") != "test":
        return []
    name = plain_text(entry.get("filename"), "image name")
    if not name:
        raise BrokenRow("the filename is empty")
    sentences = entry.get("sentences")
    if not isinstance(sentences, list) or not sentences:
        raise BrokenRow("there are no sentences")
    texts = [clean_text(one.get("raw") if isinstance(one, dict) else None) for one in sentences]
    filepath = plain_text(entry.get("filepath"), "image name")
    paths = [folder / part / name for part in (*filter(None, [filepath]), "images", "")]
    image = str(next((path for path in paths if os.path.isfile(path)), paths[0]))
    return [
        Caption(f"{name}-{number}", text, name, image, where)
        for number, text in enumerate(texts, start=1)
    ]
