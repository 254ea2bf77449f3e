"""ARO (Yuksekgonul et al. 2023, ICLR): relations and attributes of Visual Genome.

Formula, data and limitations of each benchmark: docs/guide/evaluate.md. The macro means follow the
authors; the micro mean differs by many points, and papers confuse the two.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from paraclip.arrays import Float, Integers
from paraclip.data.captions import BrokenRow, Problems, clean_text, require_columns
from paraclip.data.rows import good_rows
from paraclip.evaluation.benchmark import Arithmetic, find_source, grouped
from paraclip.evaluation.benchmarks.choice import Choice, Item, true_is_nearest
from paraclip.evaluation.pictures import find_pictures
from paraclip.evaluation.statistics import Metric
from paraclip.files import file_hash

RELATION, ATTRIBUTION = "relation", "attribution"
_GET = (
    "Get visual_genome_relation.json, visual_genome_attribution.json and images/ (1 GB) into aro/ "
    "as https://github.com/mertyg/vision-language-models-are-bows says."
)
_LEAST_CASES = 25  # of a pair of attributes in the macro mean, as the authors have it
# Relations that the authors' notebook ("Replicate ARO!") excludes from the macro mean: symmetric
# relations, and many rare ones.
SYMMETRIC = frozenset(
    Path(__file__).with_name("aro_symmetric.txt").read_text(encoding="utf-8").splitlines()
)


def load_aro(task: str, data: Path | None, how: Arithmetic) -> Choice:
    """Load VG-Relation or VG-Attribution from the data folder."""
    file = find_source(data, f"aro/visual_genome_{task}.json", _GET)
    folder = find_source(data, "aro/images", _GET)
    # The original contains duplicate cases without ids, which are counted as they occur.
    items, broken = good_rows(file, _read_case, Problems(how.max_broken), _GET)
    found = find_pictures([item.image for item in items], folder, None, how)
    count = sum(item.image in found.paths for item in items)
    facts = {
        "entries": file.name, "hash": file_hash(file), "count": count,
        "skipped": broken + len(items) - count,
    }  # fmt: skip
    pool = f"{{items}} entries of {file.name}, {{pictures}} pictures cut to boxes"
    figures = partial(_accuracies, task)
    return Choice(f"aro-vg-{task}", pool, facts, items, found, figures, found.notes, how)


def _read_case(row: dict[str, Any], where: str) -> Item:
    """Make an item from a row of `visual_genome_relation.json` or `..._attribution.json`."""
    group = "relation_name" if "relation_name" in row else "attributes"
    sides = [f"bbox_{side}" for side in "xywh"]
    columns = ("image_path", "true_caption", "false_caption", group, *sides)
    require_columns(row, columns, where, _GET)
    x, y, width, height = (row[side] for side in sides)
    if not all(type(side) is int for side in (x, y, width, height)):  # True is no width
        raise BrokenRow(f"the box {[x, y, width, height]} is not of whole pixels")
    kind = row[group]
    if group == "attributes":
        if not isinstance(kind, list) or len(kind) != 2:
            raise BrokenRow("the attributes are not two")
        kind = "_".join(map(str, kind))
    image, true, false = (
        clean_text(row[name], name) for name in ("image_path", "true_caption", "false_caption")
    )
    return Item(image, (true, false), clean_text(kind, group), (x, y, width, height))


def _accuracies(
    task: str, similar: Float, items: Sequence[Item], pictures: Integers
) -> tuple[list[Metric], list[str]]:
    """Return the authors' macro mean, the micro mean, each group's mean, and a note on coverage."""
    right, groups = true_is_nearest(similar), [item.group for item in items]  # both [items]
    if task == RELATION:
        label, groups_are, counted = "VG-R", "relations", sorted(set(groups) - SYMMETRIC)
    else:
        label, groups_are = "VG-A", "attribute pairs"
        counted = sorted(one for one, cases in Counter(groups).items() if cases >= _LEAST_CASES)
    members = np.array([group in counted for group in groups])
    coverage = f"{label} macro is over {len(counted)} of {len(set(groups))} {groups_are}"
    notes = [f"{coverage}, {int(members.sum()):,} of {len(groups):,} entries"]
    micro = Metric(f"{label} micro", right, clusters=pictures, headline=False)
    if not counted:
        return [micro], notes
    numbers = np.array([counted.index(group) for group in groups if group in counted])
    macro, _, *each = grouped(label, right[members], numbers, counted, pictures[members])
    return [replace(macro, name=f"{label} macro"), micro, *each], notes
