"""SugarCrepe and SugarCrepe++: are wordings of one picture closer than a text of another meaning?

SugarCrepe (Hsieh et al. 2023, NeurIPS): a row is correct if sim(image, caption) > sim(image,
negative). SugarCrepe++ (Dumpala et al. 2024): TOT, text only: sim(caption, caption2) must exceed
both sim(caption, negative) and sim(caption2, negative). ITT, image and text: sim(image, caption)
and sim(image, caption2) must both exceed sim(image, negative).

A tie counts as wrong in both. The main scores are means over kinds (macro), as in the papers. Data
and limitations: docs/guide/evaluate.md.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paraclip.arrays import Float, Integers
from paraclip.data.captions import Problems, clean_text, label, require_columns
from paraclip.data.images import pictures_hash
from paraclip.data.rows import read_items
from paraclip.errors import UserError
from paraclip.evaluation import metrics
from paraclip.evaluation.benchmark import (
    Arithmetic,
    Scores,
    find_source,
    grouped,
    left_out,
    numbered,
    text_vectors,
)
from paraclip.evaluation.benchmarks.choice import Choice, Item, mean_over_groups
from paraclip.evaluation.pictures import Found, find_pictures, image_vectors
from paraclip.evaluation.statistics import Metric
from paraclip.files import file_hash

if TYPE_CHECKING:
    from paraclip.models.encoder import DualEncoder

KINDS_OF_CHANGE = (
    "add_att", "add_obj", "replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj",
)  # fmt: skip
_COLUMNS = ("filename", "caption", "negative_caption")
_GET_SUGAR_CREPE = (
    "Get the seven JSON files of https://github.com/RAIVNLab/sugar-crepe (data/) into sugar_crepe/ "
    "and the pictures of http://images.cocodataset.org/zips/val2017.zip into coco/val2017/."
)
_TEXTS = ("caption", "caption2", "negative_caption")
SUBSETS = ("replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj")
_GET_PLUS_PLUS = (
    "Get the JSON files of https://github.com/Sri-Harsha/scpp into sugar_crepe_pp/ of the data "
    "folder."
)


@dataclass(frozen=True)
class Subset:
    """The rows of one file, which is one kind of change."""

    name: str  # name of the subset
    # (caption, negative) in SugarCrepe, (caption, caption2, negative) in SugarCrepe++
    rows: tuple[tuple[str, ...], ...]
    hash: str  # hash of the file
    # name of each row's picture; an empty string if the file does not give it
    images: tuple[str, ...] = ()


def load_sugar_crepe(data: Path | None, how: Arithmetic) -> Choice:
    """Load the seven kinds on the pictures in `coco/`."""
    folder = find_source(data, "sugar_crepe", _GET_SUGAR_CREPE)
    pictures, problems = find_source(data, "coco", _GET_SUGAR_CREPE), Problems(how.max_broken)
    lost = [f"{name}.json" for name in KINDS_OF_CHANGE if not (folder / f"{name}.json").is_file()]
    if lost:
        what = f"{len(lost)} of the seven files are missing: {', '.join(lost)}"
        raise UserError(folder, what, _GET_SUGAR_CREPE)
    kinds = read_subsets(folder, problems, KINDS_OF_CHANGE, _COLUMNS, _GET_SUGAR_CREPE)
    items = [
        Item(image, texts, kind.name)
        for kind in kinds
        for texts, image in zip(kind.rows, kind.images, strict=True)
    ]
    found = _find_listed([item.image for item in items], pictures, how)
    counted = dict.fromkeys(KINDS_OF_CHANGE, 0)
    counted |= Counter(item.group for item in items if item.image in found.paths)
    notes = [*left_out(problems, len(items) + problems.count, "rows"), *found.notes]
    if (here := sum(counted.values())) < len(items):
        notes.append(f"{here:,} of {len(items):,} rows have their picture here")

    figures = mean_over_groups("SugarCrepe", KINDS_OF_CHANGE)
    hashes = {kind.name: kind.hash for kind in kinds}
    facts = {"kinds": hashes, "counts": counted, "whole_count": len(items)}
    sizes = ", ".join(f"{name} {count:,}" for name, count in counted.items())
    pool = f"{{items}} rows over {{pictures}} pictures ({sizes})"
    return Choice("sugar-crepe", pool, facts, items, found, figures, notes, how)


def read_subset(
    file: Path, problems: Problems, columns: Sequence[str] = _TEXTS, get: str = _GET_PLUS_PLUS
) -> Subset:
    """Read one file: an array of rows, or an object that maps ids to rows, with these columns."""
    seen: set[str] = set()

    def make(row: dict[str, Any], where: str) -> tuple[tuple[str, ...], str]:
        require_columns(row, columns, where, get)
        if (name := row.get("id")) is not None and str(name) in seen:
            raise UserError(where, f"id {label(name)} occurs twice", "Remove one.")
        seen.add(str(name))
        texts = {column: clean_text(row[column], column) for column in columns}
        # One of the columns in SugarCrepe; files of SugarCrepe++ may lack it.
        image = texts.pop("filename", str(row.get("filename") or ""))
        return tuple(texts.values()), image

    rows = [row for _, row in read_items(str(file), make, problems)]
    if not rows:
        raise UserError(file, "contains no rows", get)
    kept, images = zip(*rows, strict=True)
    return Subset(file.stem, kept, file_hash(file), images)


def load_sugar_crepe_pp(data: Path | None, how: Arithmetic) -> "SugarCrepePlusPlus":
    """Load the subsets, with their pictures from `coco/` for ITT; TOT needs none."""
    folder, problems = find_source(data, "sugar_crepe_pp", _GET_PLUS_PLUS), Problems(how.max_broken)
    subsets = read_subsets(folder, problems)
    total = sum(len(subset.rows) for subset in subsets) + problems.count
    found = pictures_of(subsets, folder.parent / "coco", how)
    return SugarCrepePlusPlus(subsets, how, found, left_out(problems, total, "rows"))


def read_subsets(
    folder: Path, problems: Problems | None = None, names: Sequence[str] = SUBSETS,
    columns: Sequence[str] = _TEXTS, get: str = _GET_PLUS_PLUS,
) -> list[Subset]:  # fmt: skip
    """Read the subsets of these names that the folder has, in this order."""
    problems = Problems() if problems is None else problems
    files = [folder / f"{name}.json" for name in names]
    subsets = [read_subset(file, problems, columns, get) for file in files if file.exists()]
    problems.check(sum(len(subset.rows) for subset in subsets) + problems.count)
    if not subsets:
        raise UserError(folder, f"contains no SugarCrepe++ file ({names[0]}.json ...)", get)
    return subsets


def pictures_of(subsets: Sequence[Subset], folder: Path, how: Arithmetic) -> Found:
    """Find the pictures for ITT; if too many are missing, skip ITT with a note."""
    try:
        return _find_listed([name for subset in subsets for name in subset.images], folder, how)
    except UserError as error:
        return Found({}, [f"ITT is left out: {error}"])


def _find_listed(names: Sequence[str], folder: Path, how: Arithmetic) -> Found:
    """Find pictures of COCO; where a folder has a part of them, `captions.json` lists it."""
    return find_pictures([*filter(None, names)], folder, folder / "captions.json", how)


class SugarCrepePlusPlus:
    """TOT of each available subset, their mean (macro) and the mean over all rows (micro).

    ITT is computed over the rows whose picture is found; it is a headline only if all have one.
    """

    name = "sugar-crepe-pp"

    def __init__(
        self,
        subsets: list[Subset],
        how: Arithmetic = Arithmetic(),
        found: Found | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.how, self.labels = how, [subset.name for subset in subsets]
        self.rows = [row for subset in subsets for row in subset.rows]
        self.groups = np.repeat(np.arange(len(subsets)), [len(s.rows) for s in subsets])
        names = [name for one in subsets for name in one.images or [""] * len(one.rows)]
        # Of one picture; a row without a name is a cluster of its own.
        self.clusters = numbered([name or f"row {n}" for n, name in enumerate(names)])
        found = found or Found({})
        self.seen = np.array([n for n, name in enumerate(names) if name in found.paths], np.int64)
        self.paths = [found.paths[names[n]] for n in self.seen]
        self.pictures = tuple(dict.fromkeys(self.paths))
        self.notes = [*notes, *found.notes]
        itt = ", text only"
        if len(self.seen):
            covered = f"{len(self.seen):,} of {len(self.rows):,} rows"
            self.notes.append(f"ITT is of {covered}, over {len(self.pictures):,} pictures")
            itt = f"; ITT on {len(self.seen):,} of them"
        sizes = ", ".join(f"{subset.name} {len(subset.rows):,}" for subset in subsets)
        missing = [name for name in SUBSETS if name not in self.labels]
        without = f"; without {', '.join(missing)}" if missing else ""
        self.pool = f"{len(self.rows):,} rows{itt} ({sizes}{without})"
        self.data: dict[str, Any] = {
            "subsets": {subset.name: subset.hash for subset in subsets}, "missing": missing,
            "rows_with_picture": len(self.seen), "pictures_hash": pictures_hash(self.pictures),
        }  # fmt: skip

    def score(self, model: "DualEncoder", cache: Path | None) -> Scores:
        """Compute TOT for each row, and ITT for rows with a picture; texts are not cached."""
        texts = [text for row in self.rows for text in row]
        # [rows, 3, width]: caption, caption2, negative
        vectors = text_vectors(model, texts, self.how, self.name).reshape(len(self.rows), 3, -1)
        right = metrics.text_only_test(*vectors.swapaxes(0, 1))
        results = self._figures("TOT", right, self.groups, self.clusters, True)
        if not len(self.seen) or not model.architecture.reads_pictures:
            return Scores(results, notes=self.notes)
        images, kept, notes = image_vectors(model, self.paths, cache, self.how)
        rows = self.seen[kept]  # those whose picture can be read
        seen = metrics.image_text_test(images, *vectors[rows].swapaxes(0, 1))
        clusters = numbered([self.paths[n] for n in kept])
        whole = len(rows) == len(self.rows)
        results += self._figures("ITT", seen, self.groups[rows], clusters, whole)
        return Scores(results, {"itt_item": rows, "itt_right": seen}, [*self.notes, *notes])

    def _figures(
        self, name: str, right: Float, groups: Integers, clusters: Integers, headline: bool
    ) -> list[Metric]:
        """Return the macro mean, the micro mean, and the means of each kind and subset."""
        macro, micro, *each = grouped(name, right, groups, self.labels, clusters, headline)
        kinds = np.array([label.partition("_")[0] for label in self.labels])[groups]  # [rows]
        parts = [
            Metric(f"{name} {kind.title()}", right[own], "mean", groups[own], clusters[own], False)
            for kind in ("replace", "swap")
            if (own := kinds == kind).any()
        ]
        return [macro, micro, *parts, *each]
