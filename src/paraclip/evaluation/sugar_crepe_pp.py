"""SugarCrepe++, text only (TOT): is a paraphrase nearer than a sentence of other meaning?

Dumpala et al. 2024 (CC BY 4.0). Files of one subset each, rows with `caption`, `caption2` (same
meaning) and `negative_caption` (same words, other meaning).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paraclip.data.problems import Problems
from paraclip.data.record import BrokenRow, clean_text, require
from paraclip.errors import UserError
from paraclip.evaluation import metrics
from paraclip.evaluation.benchmark import Metric, Scores
from paraclip.evaluation.rows import read_rows
from paraclip.evaluation.vectors import Arithmetic, text_vectors
from paraclip.files import file_hash
from paraclip.models.encoder import DualEncoder

COLUMNS = ("caption", "caption2", "negative_caption")
SUBSETS = ("replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj")
NEEDS = ("sugar_crepe_pp",)
GET = (
    "Get the JSON files of https://github.com/Sri-Harsha/scpp into sugar_crepe_pp/ of the data "
    "folder."
)
MEND = "Get the JSON files from https://github.com/Sri-Harsha/scpp and name their folder."


@dataclass(frozen=True)
class Subset:
    """One kind of change, its rows as (caption, caption2, negative_caption)."""

    name: str
    rows: tuple[tuple[str, ...], ...]
    hash: str


def read_subsets(folder: str | Path, problems: Problems | None = None) -> list[Subset]:
    """The subsets that are in the folder, in the order of their names.

    Raises:
        UserError: there is none, a column is missing, an id is there twice, too many broken rows.
    """
    problems = Problems() if problems is None else problems
    files = [Path(folder) / f"{name}.json" for name in SUBSETS]
    found = [read_subset(file, problems) for file in files if file.exists()]
    problems.check(sum(len(subset.rows) for subset in found) + problems.count)
    if not found:
        raise UserError(folder, f"holds no SugarCrepe++ file ({SUBSETS[0]}.json ...)", MEND)
    return found


def read_subset(file: Path, problems: Problems) -> Subset:
    """One file."""
    rows, seen = [], set()
    for where, row in read_rows(str(file), problems):
        for name in COLUMNS:
            require(list(row), name, "text", where)
        if row.get("id") is not None and row["id"] in seen:
            raise UserError(where, f"id {row['id']!r} is there twice", "Take one out.")
        seen.add(row.get("id"))
        try:
            rows.append(tuple(clean_text(row[name], name) for name in COLUMNS))
        except BrokenRow as broken:
            problems.add(where, str(broken))
    if not rows:
        raise UserError(file, "holds no rows", MEND)
    return Subset(file.stem, tuple(rows), file_hash(file))


class SugarCrepePlusPlus:
    """TOT of the subsets at hand, their mean (macro), and the mean over all rows (micro).

    Args:
        subsets: from `read_subsets`.
        how: arithmetic of the vectors.
    """

    name = "sugar-crepe-pp"

    def __init__(self, subsets: list[Subset], how: Arithmetic | None = None) -> None:
        self.subsets, self.how = subsets, how or Arithmetic()
        sizes = ", ".join(f"{subset.name} {len(subset.rows):,}" for subset in subsets)
        total = sum(len(subset.rows) for subset in subsets)
        missing = [name for name in SUBSETS if name not in {subset.name for subset in subsets}]
        without = f"; without {', '.join(missing)}" if missing else ""
        self.pool = f"{total:,} rows, text only ({sizes}{without})"
        self.data: dict[str, Any] = {
            "subsets": {subset.name: subset.hash for subset in subsets}, "missing": missing,
        }  # fmt: skip

    def score(self, model: DualEncoder, cache: Path | None) -> Scores:
        """TOT for each row; nothing is cached, the texts are encoded anew."""
        rows = [row for subset in self.subsets for row in subset.rows]
        texts = [text for row in rows for text in row]
        vectors = text_vectors(model, texts, self.how, "SugarCrepe++").reshape(len(rows), 3, -1)
        right = metrics.text_only_test(vectors[:, 0], vectors[:, 1], vectors[:, 2])
        groups = np.repeat(np.arange(len(self.subsets)), [len(s.rows) for s in self.subsets])
        found = [Metric("TOT", right, groups=groups), Metric("TOT micro", right, headline=False)]
        for number, subset in enumerate(self.subsets):
            name = f"TOT {subset.name}"
            found.append(Metric(name, right[groups == number], headline=False))
        return Scores(found)


def load(data: Path, how: Arithmetic) -> SugarCrepePlusPlus:
    """The subsets in the data folder."""
    problems = Problems(how.max_broken)
    return SugarCrepePlusPlus(read_subsets(data / "sugar_crepe_pp", problems), how)
