"""SugarCrepe++: is a paraphrase closer than a sentence with a different meaning?

Dumpala et al. 2024 (CC BY 4.0). There is one file per subset. Each row has `caption`, `caption2`
(same meaning), `negative_caption` (similar words, different meaning), and `filename`, its picture
in COCO 2017 val.

Replace subsets change a word, swap subsets exchange two; models fail them differently, so TOT and
ITT of each kind are reported in addition to the means.

TOT, text only: sim(caption, caption2) must exceed both sim(caption, negative) and sim(caption2,
negative). ITT, image and text: sim(image, caption) and sim(image, caption2) must both exceed
sim(image, negative). A tie counts as wrong. Chance level is one third for both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paraclip.data.captions import BrokenRow, clean_text, label, require
from paraclip.data.images import pictures_hash
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Float, Integer, Metric, Role, Scores, grouped, numbered
from paraclip.evaluation.inputs.pictures import Found, find_pictures, row_images
from paraclip.evaluation.inputs.rows import read_rows
from paraclip.evaluation.scoring import metrics
from paraclip.evaluation.scoring.vectors import (
    Arithmetic,
    left_out,
    reads_pictures,
    text_vectors,
)
from paraclip.files import file_hash
from paraclip.models.encoder import DualEncoder

COLUMNS = ("caption", "caption2", "negative_caption")
SUBSETS = ("replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj")
KINDS = ("replace", "swap")
NEEDS = ("sugar_crepe_pp",)
GET = (
    "Get the JSON files of https://github.com/Sri-Harsha/scpp into sugar_crepe_pp/ of the data "
    "folder."
)
HINT = "Get the JSON files from https://github.com/Sri-Harsha/scpp and name their folder."


@dataclass(frozen=True)
class Subset:
    """One subset, which is one kind of change."""

    name: str  # name of the subset
    rows: tuple[tuple[str, ...], ...]  # tuples (caption, caption2, negative_caption)
    hash: str  # hash of the file
    # name of each row's picture; an empty string if the file does not give it
    images: tuple[str, ...] = ()


def read_subsets(folder: str | Path, problems: Problems | None = None) -> list[Subset]:
    """Read the subsets in the folder, in the order of `SUBSETS`."""
    problems = Problems() if problems is None else problems
    files = [Path(folder) / f"{name}.json" for name in SUBSETS]
    subsets = [read_subset(file, problems) for file in files if file.exists()]
    problems.check(sum(len(subset.rows) for subset in subsets) + problems.count)
    if not subsets:
        raise UserError(folder, f"contains no SugarCrepe++ file ({SUBSETS[0]}.json ...)", HINT)
    return subsets


def read_subset(file: Path, problems: Problems) -> Subset:
    """Read one file."""
    rows, images, seen = [], [], set()
    for where, row in read_rows(str(file), problems):
        for name in COLUMNS:
            require(list(row), name, "text", where)
        given = row.get("id")
        if given is not None and str(given) in seen:
            raise UserError(where, f"id {label(given)} occurs twice", "Remove one.")
        if given is not None:
            seen.add(str(given))
        try:
            rows.append(tuple(clean_text(row[name], name) for name in COLUMNS))
            images.append(str(row.get("filename") or ""))
        except BrokenRow as broken:
            problems.add(where, str(broken))
    if not rows:
        raise UserError(file, "contains no rows", HINT)
    return Subset(file.stem, tuple(rows), file_hash(file), tuple(images))


class SugarCrepePlusPlus:
    """TOT of each available subset, their mean (macro) and the mean over all rows (micro).

    If pictures are available, ITT is computed over the rows that have one; it is a headline only
    if every row has its picture.

    Args:
        subsets: subsets from `read_subsets`.
        how: how vectors are computed.
        found: the available pictures, or None to compute only TOT.
        notes: notes for the report on skipped rows.
    """

    role: Role = "robust"
    name = "sugar-crepe-pp"

    def __init__(
        self,
        subsets: list[Subset],
        how: Arithmetic | None = None,
        found: Found | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.subsets, self.how = subsets, how or Arithmetic()
        self.labels = [subset.name for subset in subsets]
        self.rows = [row for subset in subsets for row in subset.rows]
        self.groups = np.repeat(np.arange(len(subsets)), [len(s.rows) for s in subsets])
        sizes = ", ".join(f"{subset.name} {len(subset.rows):,}" for subset in subsets)
        missing = [name for name in SUBSETS if name not in self.labels]
        without = f"; without {', '.join(missing)}" if missing else ""
        names = [name for one in subsets for name in one.images or [""] * len(one.rows)]
        paths = {} if found is None else found.paths
        self.clusters = numbered([name or f"row {n}" for n, name in enumerate(names)])
        self.seen = np.array([n for n, name in enumerate(names) if name in paths], np.int64)
        self.paths = [paths[names[n]] for n in self.seen]
        self.pictures = tuple(dict.fromkeys(self.paths))
        self.notes = [*notes, *([] if found is None else self.about_pictures(found))]
        itt = f"; ITT on {len(self.seen):,} of them" if len(self.seen) else ", text only"
        self.pool = f"{len(self.rows):,} rows{itt} ({sizes}{without})"
        self.data: dict[str, Any] = {
            "subsets": {subset.name: subset.hash for subset in subsets}, "missing": missing,
            "rows_with_picture": len(self.seen), "pictures_hash": pictures_hash(self.pictures),
        }  # fmt: skip

    def about_pictures(self, found: Found) -> list[str]:
        """Return notes on the rows that ITT covers."""
        covered = (
            f"{len(self.seen):,} of {len(self.rows):,} rows, over {len(self.pictures):,} pictures"
        )
        return [*found.notes, f"ITT is of {covered}"] if len(self.seen) else found.notes

    def score(self, model: DualEncoder, cache: Path | None) -> Scores:
        """Compute TOT for each row, and ITT for rows with a picture; texts are not cached."""
        texts = [text for row in self.rows for text in row]
        vectors = text_vectors(model, texts, self.how, "SugarCrepe++").reshape(
            len(self.rows), 3, -1
        )
        right = metrics.text_only_test(*vectors.swapaxes(0, 1))
        results = self.figures("TOT", right, self.groups, self.clusters, True)
        if not len(self.seen) or not reads_pictures(model):
            return Scores(results, notes=self.notes)
        images, kept, notes = row_images(model, self.paths, cache, self.how)
        rows = self.seen[kept]
        seen = metrics.image_text_test(images, *vectors[rows].swapaxes(0, 1))
        clusters = numbered([self.paths[n] for n in kept])
        whole = len(rows) == len(self.rows)
        results += self.figures("ITT", seen, self.groups[rows], clusters, whole)
        return Scores(results, {"itt_item": rows, "itt_right": seen}, [*self.notes, *notes])

    def figures(
        self, name: str, right: Float, groups: Integer, clusters: Integer | None, headline: bool
    ) -> list[Metric]:
        """Return the macro mean, the micro mean, and the means of each kind and subset."""
        macro, micro, *each = grouped(name, right, groups, self.labels, clusters, headline)
        kinds, parts = np.array([label.partition("_")[0] for label in self.labels])[groups], []
        for kind in KINDS:
            own = kinds == kind
            if own.any():
                together = None if clusters is None else clusters[own]
                title = f"{name} {kind.title()}"
                parts.append(Metric(title, right[own], "mean", groups[own], together, False))
        return [macro, micro, *parts, *each]


def load(data: Path, how: Arithmetic) -> SugarCrepePlusPlus:
    """Load the subsets from the data folder, with their pictures from `coco/`."""
    problems = Problems(how.max_broken)
    subsets = read_subsets(data / "sugar_crepe_pp", problems)
    total = sum(len(subset.rows) for subset in subsets) + problems.count
    found = pictures_of(subsets, data / "coco", how)
    return SugarCrepePlusPlus(subsets, how, found, left_out(problems, total, "rows"))


def pictures_of(subsets: Sequence[Subset], folder: Path, how: Arithmetic) -> Found:
    """Find the pictures for ITT; if too many are missing, skip ITT with a note.

    TOT needs no pictures.
    """
    names = [name for subset in subsets for name in subset.images if name]
    try:
        return find_pictures(names, folder, folder / "captions.json", how)
    except UserError as error:
        return Found({}, [f"ITT is left out: {error}"])
