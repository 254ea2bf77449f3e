"""ARO, Visual Genome (Yuksekgonul et al. 2023, ICLR): relations and attributes.

VG-Relation: "the horse eats the grass" against "the grass eats the horse". VG-Attribution: "the
crouched cat and the open door" against "the open cat and the crouched door". The picture is
cropped to the bounding box of the entry; the true sentence must be closer than the false one, and
a tie counts as wrong.

The macro means follow the authors: VG-R averages over relations, excluding symmetric ones; VG-A
averages over attribute pairs with at least 25 cases. The mean over all entries (micro) is reported
separately; the two differ by many points, and papers confuse them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paraclip.arrays import Float, Integers
from paraclip.data.captions import BrokenRow, clean_text
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Benchmark, numbered
from paraclip.evaluation.benchmarks.text_choice import TextChoice
from paraclip.evaluation.pictures import Box, Crop, find_pictures
from paraclip.evaluation.rows import good_rows, require_columns
from paraclip.evaluation.statistics import Metric
from paraclip.evaluation.vectors import Arithmetic
from paraclip.files import file_hash

RELATION, ATTRIBUTION = "relation", "attribution"
GET = (
    "Get visual_genome_relation.json, visual_genome_attribution.json and images/ (1 GB) into aro/ "
    "as https://github.com/mertyg/vision-language-models-are-bows says."
)
LEAST_CASES = 25
# Relations that the authors' notebook ("Replicate ARO!") excludes from the macro mean: symmetric
# relations, and many rare ones.
SYMMETRIC = frozenset(
    Path(__file__).with_name("aro_symmetric.txt").read_text(encoding="utf-8").splitlines()
)


def files(task: str) -> tuple[str, str]:
    """Return the file of a task and the folder of its pictures, relative to the data folder."""
    return f"aro/visual_genome_{task}.json", "aro/images"


def load(task: str, data: Path, how: Arithmetic) -> Benchmark:
    """Load VG-Relation or VG-Attribution from the data folder."""
    return make_visual_genome(f"aro-vg-{task}", data / files(task)[0], how=how)


@dataclass(frozen=True)
class Case:
    """One case."""

    image: str  # name of the picture
    box: Box  # bounding box of the region that is scored
    true: str  # the sentence that describes the region
    false: str  # the same sentence with its parts swapped
    group: str  # the relation, or the pair of attributes


def read_case(row: dict[str, Any], where: str) -> Case:
    """Make a case from a row of `visual_genome_relation.json` or `..._attribution.json`.

    Raises:
        UserError: if a column is missing.
        BrokenRow: if a value is invalid for its column.
    """
    group = "relation_name" if "relation_name" in row else "attributes"
    sides = [f"bbox_{side}" for side in "xywh"]
    columns = ("image_path", "true_caption", "false_caption", group, *sides)
    require_columns(row, columns, where, GET)
    x, y, width, height = (row[side] for side in sides)
    if not all(type(side) is int for side in (x, y, width, height)):
        raise BrokenRow(f"the box {[x, y, width, height]} is not of whole pixels")
    kind = row[group]
    if group == "attributes":
        if not isinstance(kind, list) or len(kind) != 2:
            raise BrokenRow("the attributes are not two")
        kind = "_".join(map(str, kind))
    image, true, false = (
        clean_text(row[name], name) for name in ("image_path", "true_caption", "false_caption")
    )
    return Case(image, (x, y, width, height), true, false, clean_text(kind, group))


def make_visual_genome(
    name: str, file: Path, images: Path | None = None, how: Arithmetic | None = None
) -> TextChoice:
    """Make VG-Relation or VG-Attribution from one file and its folder of pictures.

    Args:
        name: name of the benchmark on the command line.
        file: JSON file with the entries. It has no ids, and the original contains duplicate cases,
            which are counted as they occur.
        images: folder of the pictures; defaults to `images` next to the file.
        how: how vectors are computed.

    Raises:
        UserError: if the file is invalid, or more pictures are missing than `how.max_broken`
            allows (fewer are skipped with a note).
    """
    how = how or Arithmetic()
    if not file.is_file():
        raise UserError(file, "there is no such file", GET)
    cases, broken = good_rows(file, read_case, Problems(how.max_broken))
    if not cases:
        raise UserError(file, "contains no entries", GET)
    folder = file.parent / "images" if images is None else images
    found = find_pictures([case.image for case in cases], folder, None, how)
    items = [case for case in cases if case.image in found.paths]
    crops = [Crop(found.paths[item.image], item.box) for item in items]
    pictures = len({crop.path for crop in crops})
    data = {
        "entries": file.name, "hash": file_hash(file), "count": len(items),
        "skipped": broken + len(cases) - len(items),
    }  # fmt: skip

    def accuracies(similar: Float, kept: Integers) -> tuple[list[Metric], list[str]]:
        right = (similar[:, 0] > similar[:, 1]).astype(np.float64)
        clusters = numbered([items[number].image for number in kept])
        return figures(name, right, [items[number].group for number in kept], clusters)

    pool = f"{len(items):,} entries of {file.name}, {pictures:,} pictures cut to boxes"
    texts = [(item.true, item.false) for item in items]
    return TextChoice(name, pool, data, crops, texts, accuracies, found.notes, how)


def figures(
    name: str, right: Float, groups: Sequence[str], pictures: Integers
) -> tuple[list[Metric], list[str]]:
    """Compute the authors' macro mean, the micro mean and the accuracy of each group.

    Args:
        name: name of the benchmark; selects the rule for the groups that count.
        right: 1 where an entry is correct, else 0 [entries].
        groups: relation or pair of attributes of each entry.
        pictures: index of the picture of each entry [entries].

    Returns:
        The metrics, and a note on the groups that the macro mean covers.
    """
    if name == "aro-vg-relation":
        label, groups_are, counted = "VG-R", "relations", sorted(set(groups) - SYMMETRIC)
    else:
        label, groups_are = "VG-A", "attribute pairs"
        counted = sorted(one for one, cases in Counter(groups).items() if cases >= LEAST_CASES)
    members = np.array([group in counted for group in groups])
    coverage = f"{label} macro is over {len(counted)} of {len(set(groups))} {groups_are}"
    notes = [f"{coverage}, {int(members.sum()):,} of {len(groups):,} entries"]
    results = [Metric(f"{label} micro", right, clusters=pictures, headline=False)]
    if not counted:
        return results, notes
    numbers = np.array([counted.index(g) if g in counted else -1 for g in groups])
    macro = Metric(
        f"{label} macro", right[members], groups=numbers[members], clusters=pictures[members]
    )
    each = [
        Metric(f"{label} {group}", right[numbers == number],
               clusters=pictures[numbers == number], headline=False)
        for number, group in enumerate(counted)
    ]  # fmt: skip
    return [macro, *results, *each], notes
