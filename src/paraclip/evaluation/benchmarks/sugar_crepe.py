"""SugarCrepe (Hsieh et al. 2023, NeurIPS): is a picture nearer to its caption than to a near miss?

Seven kinds of hard negatives in fluent English, made by a language model and filtered so that a
text model alone cannot tell them: an object or attribute added, an object, attribute or relation
replaced, two objects or attributes swapped. sim(image, caption) > sim(image, negative); a tie is
wrong, a blind guess gets 50 %. The pictures are of COCO 2017 val.

The mean is over the seven kinds (macro), as papers report it; the mean over all rows (micro)
stands beside. Known fault: some negatives of `add` are longer than their captions, and a model
that likes short texts gains by it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paraclip.data.captions import BrokenRow, clean_text
from paraclip.data.images import pictures_hash
from paraclip.data.json_stream import JsonStream
from paraclip.data.lines import open_source
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Metric, Role, Scores, numbered
from paraclip.evaluation.inputs.pictures import Found, find_pictures, row_images
from paraclip.evaluation.scoring import metrics
from paraclip.evaluation.scoring.vectors import Arithmetic, text_vectors
from paraclip.files import file_hash
from paraclip.models.encoder import DualEncoder

KINDS = (
    "add_att", "add_obj", "replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj",
)  # fmt: skip
COLUMNS = ("filename", "caption", "negative_caption")
NEEDS = ("sugar_crepe", "coco")
GET = (
    "Get the seven JSON files of https://github.com/RAIVNLab/sugar-crepe (data/) into sugar_crepe/ "
    "and the pictures of http://images.cocodataset.org/zips/val2017.zip into coco/val2017/."
)


def load(data: Path, how: Arithmetic) -> "SugarCrepe":
    """The seven kinds on the pictures that `coco/` holds."""
    kinds = read_kinds(data / "sugar_crepe", Problems(how.max_broken))
    names = [row.image for kind in kinds for row in kind.rows]
    found = find_pictures(names, data / "coco", data / "coco" / "captions.json", how)
    return SugarCrepe(kinds, found, how)


@dataclass(frozen=True)
class Row:
    """One picture with its caption and the near miss."""

    image: str
    caption: str
    negative: str


@dataclass(frozen=True)
class Kind:
    """One kind of near miss, with its rows and the hash of its file."""

    name: str
    rows: tuple[Row, ...]
    hash: str


def read_kinds(folder: Path, problems: Problems | None = None) -> list[Kind]:
    """The seven files, in the order of `KINDS`.

    Raises:
        UserError: a file or a column is missing, an id is there twice, too many broken rows.
    """
    problems = Problems() if problems is None else problems
    lost = [f"{name}.json" for name in KINDS if not (folder / f"{name}.json").is_file()]
    if lost:
        what = f"{len(lost)} of the seven files are missing: {', '.join(lost)}"
        raise UserError(folder, what, GET)
    found = [read_kind(folder / f"{name}.json", problems) for name in KINDS]
    problems.check(sum(len(kind.rows) for kind in found) + problems.count)
    return found


def read_kind(file: Path, problems: Problems) -> Kind:
    """One file: an object of rows by their id."""
    rows, seen = [], set()
    for where, name, row in keyed_rows(file):
        if name in seen:
            raise UserError(where, f"id {name!r} is there twice", "Take one out.")
        seen.add(name)
        lost = [column for column in COLUMNS if column not in row]
        if lost:
            raise UserError(where, f"has no {lost[0]!r}", GET)
        try:
            rows.append(Row(*(clean_text(row[column], column) for column in COLUMNS)))
        except BrokenRow as broken:
            problems.add(where, str(broken))
    if not rows:
        raise UserError(file, "holds no rows", GET)
    return Kind(file.stem, tuple(rows), file_hash(file))


def keyed_rows(file: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Where it stands, id and columns of each row; an id twice comes twice.

    Raises:
        UserError: the file is no object of objects.
    """
    with open_source(str(file)) as stream:
        parts = JsonStream(stream, str(file))
        if parts.peek() != "{":
            raise UserError(file, "is not an object of rows by their id", GET)
        for name in parts.keys():  # noqa: SIM118 not a dict
            row = parts.value()
            where = f"{file}: id {name}"
            if not isinstance(row, dict):
                raise UserError(where, "is no object", GET)
            yield where, name, row


class SugarCrepe:
    """Accuracy of each kind and their mean, on the rows whose picture is at hand.

    Args:
        kinds: from `read_kinds`.
        found: the pictures.
        how: arithmetic of the vectors.
    """

    role: Role = "robust"
    name = "sugar-crepe"

    def __init__(self, kinds: list[Kind], found: Found, how: Arithmetic | None = None) -> None:
        self.how, self.notes = how or Arithmetic(), list(found.notes)
        rows = [(n, row) for n, kind in enumerate(kinds) for row in kind.rows]
        kept = [(number, row) for number, row in rows if row.image in found.paths]
        self.kinds, self.rows = [kind.name for kind in kinds], [row for _, row in kept]
        self.numbers = np.array([number for number, _ in kept])
        self.paths = [found.paths[row.image] for row in self.rows]
        counted = {name: int((self.numbers == n).sum()) for n, name in enumerate(self.kinds)}
        sizes = ", ".join(f"{name} {count:,}" for name, count in counted.items())
        self.pictures = tuple(dict.fromkeys(self.paths))
        pictures = len(self.pictures)
        self.pool = f"{len(kept):,} rows over {pictures:,} pictures ({sizes})"
        if len(kept) < len(rows):
            self.notes.append(f"{len(kept):,} of {len(rows):,} rows have their picture here")
        self.data: dict[str, Any] = {
            "kinds": {kind.name: kind.hash for kind in kinds}, "counts": counted,
            "whole_count": len(rows), "pictures": pictures,
            "pictures_hash": pictures_hash(self.pictures),
        }  # fmt: skip

    def score(self, model: DualEncoder, cache: Path | None) -> Scores:
        """Accuracy: macro, micro, and each kind's."""
        images, kept, notes = row_images(model, self.paths, cache, self.how)
        texts = [text for n in kept for text in (self.rows[n].caption, self.rows[n].negative)]
        vectors = text_vectors(model, texts, self.how, "SugarCrepe").reshape(len(kept), 2, -1)
        right = metrics.nearer(images, vectors[:, 0], vectors[:, 1])
        groups, clusters = self.numbers[kept], numbered([self.paths[n] for n in kept])
        found = [
            Metric("SugarCrepe", right, groups=groups, clusters=clusters),
            Metric("SugarCrepe micro", right, clusters=clusters, headline=False),
        ]
        for number in np.unique(groups):
            own = groups == number
            name = f"SugarCrepe {self.kinds[number]}"
            found.append(Metric(name, right[own], clusters=clusters[own], headline=False))
        return Scores(found, {"right": right, "item": kept}, [*self.notes, *notes])
