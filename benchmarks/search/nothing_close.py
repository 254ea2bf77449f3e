"""Does a search know that nothing is close? Precision and recall for subjects that are absent.

    python -m benchmarks.search.nothing_close mini clip-small=FOLDER --data FOLDER

Every text is asked twice: of the whole pool, and of the pool without all pictures of its subject,
where "nothing close" is right. Subjects are words in captions (Flickr8k's test split, COCO) and 40
neighbouring classes of ImageNet ("a photo of a ..."). The automatic cut-off is measured without
these texts. Its height was chosen on COCO, as the fixed cut-off is for the other two pools; for
COCO itself, the fixed one is chosen on Flickr8k.
"""

import argparse
import csv
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import RESULTS, facts_of, keep, markdown, parse_with_data
from paraclip.arrays import Float, Integers
from paraclip.files import cache_folder
from paraclip.image_search.unrelated import cutoff_above, unrelated_texts
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import encode_images, encode_texts
from paraclip.models.loading import load_model

_SUBJECTS = (
    "dog puppy pup", "bike bicycle cyclist biker", "horse pony", "snow ski sled", "ball soccer",
    "water pool swim surf boat lake ocean river sea wave beach", "climb cliff", "cat kitten",
    "car truck vehicle motorcycle", "train railroad", "giraffe", "elephant", "bus", "toilet",
    "plane airplane jet aircraft", "pizza food sandwich cake plate vegetable fruit banana donut",
    "tennis racket", "zebra", "sheep cow cattle", "bear teddy", "clock", "kitchen stove oven",
    "computer laptop keyboard desk", "skate", "bed", "umbrella", "kite", "baseball", "traffic",
)  # fmt: skip
_ENDINGS = r"(?:e?s|m?ing|ers?|board\w*)?"
_FEWEST, _MOST_SHARE, _MOST_TEXTS = 5, 0.45, 200  # of pictures, of the pool, and of a subject
_NEIGHBOURS = 40


@dataclass(frozen=True)
class Pool:
    """Pictures and texts; a subject is (rows of its pictures, rows of its texts)."""

    name: str
    pictures: list[str]
    texts: list[str]
    subjects: list[tuple[Integers, Integers]]


def captioned(name: str, captions: dict[str, list[str]]) -> Pool:
    """A pool of pictures with captions, whose subjects are those of `_SUBJECTS` in it."""
    texts = [(row, text) for row, own in enumerate(captions.values()) for text in own]
    subjects = []
    for words in _SUBJECTS:
        pattern = re.compile(rf"\b(?:{words.replace(' ', '|')}){_ENDINGS}\b", re.IGNORECASE)
        asked = [place for place, (_, text) in enumerate(texts) if pattern.search(text)]
        shown = np.unique([texts[place][0] for place in asked])
        if _FEWEST <= len(shown) <= _MOST_SHARE * len(captions):
            chosen = np.random.default_rng(0).permutation(asked)[:_MOST_TEXTS]
            subjects.append((shown, np.sort(chosen)))
    return Pool(name, list(captions), [text for _, text in texts], subjects)


def all_pools(data: Path) -> Iterator[Pool]:
    """COCO, Flickr8k's test split and one picture a class of ImageNet."""
    rows = json.loads((data / "coco" / "captions.json").read_text())
    images = data / "coco" / "images"
    yield captioned("COCO", {str(images / row["file_name"]): row["captions"] for row in rows})
    folder = data / "flickr8k"
    names = (folder / "test_images.txt").read_text().split()
    captions: dict[str, list[str]] = {str(folder / "images" / name): [] for name in names}
    with (folder / "captions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            own = captions.get(str(folder / "images" / row["image"]))
            if own is not None and len(own) < 2:
                own.append(row["caption"])
    yield captioned("Flickr8k test", captions)
    pictures = sorted(map(str, (data / "imagenet_sample").iterdir()))
    words = [os.path.basename(one).partition("_")[2][:-4].replace("_", " ") for one in pictures]
    parts = np.split(np.arange(len(pictures)), range(_NEIGHBOURS, len(pictures), _NEIGHBOURS))
    texts = [f"a photo of a {word}" for word in words]
    yield Pool("ImageNet classes", pictures, texts, [(part, part) for part in parts])


@dataclass(frozen=True)
class Scored:
    """Best similarities of the texts asked with and without their subject, and the cut-offs."""

    present: Float
    absent: Float
    cutoffs: tuple[Float, Float]  # automatic, for each text in either pool

    def judged(self, cutoffs: tuple[Any, Any]) -> dict[str, float]:
        """Precision and recall of "nothing close", and the share of present subjects found."""
        wrong, right = self.present <= cutoffs[0], self.absent <= cutoffs[1]
        said = wrong.sum() + right.sum()
        precision = right.sum() / said if said else float("nan")
        return {"precision": precision, "recall": right.mean(), "found": 1 - wrong.mean()}

    def best_fixed(self) -> float:
        """The fixed cut-off of the highest mean of recall and share found."""
        tried = np.quantile(np.concatenate([self.present, self.absent]), np.linspace(0, 1, 401))
        rates = [(self.present > one).mean() + (self.absent <= one).mean() for one in tried]
        return float(tried[np.argmax(rates)])


def area_between(present: Float, absent: Float) -> float:
    """Probability that a present subject has a higher score than an absent one (AUC)."""
    order = np.concatenate([absent, present]).argsort(kind="stable").argsort()
    count = len(present)
    return float((order[len(absent) :].sum() - count * (count - 1) / 2) / count / len(absent))


def score(model: DualEncoder, pool: Pool) -> tuple[Scored, dict[str, float]]:
    """The similarities of a pool's texts, and the AUC of these and of normalised ones."""
    pictures = encode_images(model, pool.pictures, cache_folder() / "image_features").numpy()
    other = encode_texts(model, unrelated_texts()).numpy()
    used = np.unique(np.concatenate([asked for _, asked in pool.subjects]))
    texts = np.zeros((len(pool.texts), other.shape[1]), np.float32)
    texts[used] = encode_texts(model, [pool.texts[place] for place in used]).numpy()
    found: dict[str, list[Float]] = {name: [] for name in ("plain", "query", "picture", "cutoff")}
    for shown, asked in pool.subjects:
        both = [
            _best(texts[asked] @ place.T, other @ place.T)
            for place in (pictures, np.delete(pictures, shown, axis=0))
        ]
        for name, values in found.items():
            values.append(np.stack([one[name] for one in both]))
    joined = {name: np.concatenate(values, axis=1) for name, values in found.items()}
    cutoffs = joined.pop("cutoff")
    areas = {name: area_between(*both) for name, both in joined.items()}
    return Scored(joined["plain"][0], joined["plain"][1], (cutoffs[0], cutoffs[1])), areas


def _best(scores: Float, unrelated: Float) -> dict[str, Float]:
    """Best similarities of texts, normalised by text and by picture as well, and the cut-off.

    Args:
        scores: similarities of the texts [texts, pictures].
        unrelated: similarities of unrelated texts [unrelated texts, pictures].
    """
    plain = scores.max(axis=1)
    by_picture = (scores - unrelated.mean(axis=0)) / unrelated.std(axis=0)
    return {
        "plain": plain,
        "query": (plain - scores.mean(axis=1)) / scores.std(axis=1),
        "picture": by_picture.max(axis=1),
        "cutoff": np.full(len(scores), cutoff_above(unrelated.max(axis=1))),
    }


def measure(given: str, pools: Sequence[Pool]) -> Iterator[dict[str, Any]]:
    """A row for each pool, with a model."""
    label, _, name = given.rpartition("=")
    model = load_model(name, "cpu")
    found = {pool.name: score(model, pool) for pool in pools}
    for pool in pools:
        scored, areas = found[pool.name]
        chosen_on = "Flickr8k test" if pool.name == "COCO" else "COCO"
        fixed = found[chosen_on][0].best_fixed()
        yield {
            "model": label or name, "pool": pool.name, "pictures": len(pool.pictures),
            "texts": len(scored.present), "subjects": len(pool.subjects), "auc": areas,
            "auto": scored.judged(scored.cutoffs), "auto cut-off": scored.cutoffs[0].mean(),
            "fixed": scored.judged((fixed, fixed)), "fixed cut-off": fixed,
            "fixed chosen on": chosen_on,
        }  # fmt: skip


def table(record: dict[str, Any]) -> str:
    """The rows as Markdown, in percent."""
    heads = ["model, pool", "texts", "AUC", "z per query", "z per picture"]
    heads += [f"{kind} {name}" for kind in ("auto", "fixed")
              for name in ("precision", "recall", "found")]  # fmt: skip
    lines = []
    for row in record["rows"]:
        areas = [f"{100 * one:.1f}" for one in row["auc"].values()]
        judged = [f"{100 * one:.0f}" for kind in ("auto", "fixed") for one in row[kind].values()]
        lines.append([f"{row['model']}, {row['pool']}", f"{row['texts']:,}", *areas, *judged])
    return f"{markdown(heads, lines)}\n\n{record['facts']}"


def main() -> None:
    """Measure, print, and keep what is measured after each model."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("models", nargs="+", metavar="[LABEL=]MODEL")
    options.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER")
    chosen = parse_with_data(options)
    pools = list(all_pools(Path(chosen.data)))
    rows: list[dict[str, Any]] = []
    for given in chosen.models:
        rows += measure(given, pools)
        keep("nothing_close", chosen.out, table, rows=rows, facts=facts_of())


if __name__ == "__main__":
    main()
