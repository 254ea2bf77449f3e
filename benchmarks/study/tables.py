"""Tables of the study: a figure a row, a model a column; then each model's differences.

Means, intervals, paired differences and Holm's correction are those of `paraclip ablate`; here
they are laid out the other way round, since the study has more figures than models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

import numpy as np

from benchmarks.machine import markdown
from paraclip.ablation.results import (
    Change,
    Draws,
    Float,
    Results,
    TableEntry,
    TableFigure,
)
from paraclip.evaluation.compare import Stored
from paraclip.evaluation.pairs import KINDS
from paraclip.evaluation.report import Line, figure, spread
from paraclip.evaluation.statistics import resample
from paraclip.files import atomic_path

LABELS: Mapping[tuple[str, str], str] = {
    ("pairs-sugar-crepe-pp", "AO@10"): "AO@10, SugarCrepe++ pairs (LLM)",
    ("pairs-sugar-crepe-pp", "JS@10"): "JS@10, SugarCrepe++ pairs (LLM)",
    ("pairs-flickr8k", "AO@10"): "AO@10, Flickr8k pairs (LLM)",
    ("pairs-flickr8k", "JS@10"): "JS@10, Flickr8k pairs (LLM)",
    ("pairs-people", "AO@10"): "AO@10, pairs of Flickr8k dev (people)",
    ("pairs-people", "JS@10"): "JS@10, pairs of Flickr8k dev (people)",
    ("cxc", "AO@10 CxC ≥ 4"): "AO@10, CxC pairs ≥ 4 (people)",
    ("cxc", "JS@10 CxC ≥ 4"): "JS@10, CxC pairs ≥ 4 (people)",
    ("cxc", "AO@10 CxC ≥ 4.5"): "AO@10, CxC pairs ≥ 4.5 (people)",
    ("cxc", "JS@10 CxC ≥ 4.5"): "JS@10, CxC pairs ≥ 4.5 (people)",
    ("cxc", "graded consistency"): "graded consistency, CxC",
    ("variations", "AO@10"): "AO@10, variations",
    ("variations", "text discrimination"): "text discrimination, variations",
    ("variations", "picture discrimination"): "picture discrimination, variations",
    ("sugar-crepe-pp", "TOT"): "TOT",
    ("sugar-crepe-pp", "TOT Replace"): "TOT, Replace",
    ("sugar-crepe-pp", "TOT Swap"): "TOT, Swap",
    ("sugar-crepe-pp", "ITT Replace"): "ITT, Replace",
    ("sugar-crepe-pp", "ITT Swap"): "ITT, Swap",
    ("aro-coco-order", "COCO-Order"): "COCO-Order",
    ("cxc", "CxC-STS"): "CxC-STS",
    ("sts", "STS mean of 7"): "STS, mean of seven tasks",
    ("sts", "STS-B dev"): "STS-B, development set",
    ("image-text-retrieval", "T2I R@10"): "text to image R@10",
    ("image-text-retrieval", "I2T R@10"): "image to text R@10",
    ("imagenet", "top-1"): "zero-shot top-1, ImageNet sample",
}
"""Figures with their names in the tables, in order; those that were not scored are left out."""
TASKS = ("STS12", "STS13", "STS14", "STS15", "STS16", "STS-B", "SICK-R")
TASK_LABELS: Mapping[tuple[str, str], str] = {("sts", task): task for task in TASKS}
"""The seven STS tasks, one by one."""
KIND_LABELS: Mapping[tuple[str, str], str] = {
    ("variations", f"{name} {kind}"): f"{name}, {kind}"
    for name in ("AO@10", "R@10", "text discrimination", "picture discrimination")
    for kind in KINDS
}
"""Consistency, accuracy and discrimination by kind of rewording."""
SHORT = (
    ("pairs-sugar-crepe-pp", "AO@10"), ("pairs-flickr8k", "AO@10"), ("cxc", "AO@10 CxC ≥ 4.5"),
    ("sugar-crepe-pp", "TOT"), ("sts", "STS mean of 7"), ("image-text-retrieval", "T2I R@10"),
    ("image-text-retrieval", "I2T R@10"), ("imagenet", "top-1"),
)  # fmt: skip
"""Figures of the short table, which the README shows."""
GAINING = ("consistent", "more triples")
"""Rows of the main grid that show what our recipe gains."""
SHORT_ROWS = ("base", "control", "paper", "consistent", "merged", "more triples")
OVERVIEW = (
    ("pairs-sugar-crepe-pp", "AO@10"), ("pairs-flickr8k", "AO@10"), ("cxc", "AO@10 CxC ≥ 4.5"),
    ("variations", "AO@10"), ("variations", "text discrimination"),
    ("variations", "picture discrimination"), ("sugar-crepe-pp", "TOT"), ("cxc", "CxC-STS"),
    ("sts", "STS mean of 7"), ("image-text-retrieval", "T2I R@10"),
    ("image-text-retrieval", "I2T R@10"), ("imagenet", "top-1"),
)  # fmt: skip
"""Figures of the table of a further question, in the documentation."""
UNITS = "Percent, mean over seeds; correlations times 100."
LEGEND = (
    f"{UNITS} Brackets: 95 % interval of a bootstrap over items and seeds, of paired differences. "
    "* marks p < 0.05 after Holm's correction over all differences of the grid."
)


@dataclass
class KeptDraws(Draws):
    """Resamples that are kept with the scores: those of rank correlations take long.

    Args:
        folder: of the files; a file is named by what it was drawn from.
    """

    resamples: int
    folder: Path
    seed: int = 0
    known: dict[tuple[Path, str, str], tuple[float, Float]] = field(default_factory=dict)

    def of(self, stored: Stored, label: str, figure: TableFigure) -> tuple[float, Float]:
        """Value and resamples [resamples] of a figure of a cell, in percent."""
        key = (stored.path, figure.benchmark, figure.name)
        if key not in self.known:
            metric = stored.metric(figure.benchmark, figure.line, label)
            parts = (metric.items, metric.groups, metric.clusters)
            sums = [crc32(np.ascontiguousarray(part)) for part in parts if part is not None]
            name = "-".join(f"{one:08x}" for one in (*sums, crc32(figure.name.encode())))
            path = self.folder / f"{name}-{self.resamples}-{self.seed}.npy"
            if not path.exists():
                self.folder.mkdir(parents=True, exist_ok=True)
                with atomic_path(path) as temporary, open(temporary, "wb") as file:
                    np.save(file, 100 * resample(metric, self.resamples, self.seed))
            self.known[key] = 100 * metric.value(), np.load(path, allow_pickle=False)
        return self.known[key]


def wanted_figures(stored: Stored, labels: Mapping[tuple[str, str], str]) -> list[TableFigure]:
    """The labelled figures that a cell has, in the order of the labels."""
    lines: dict[tuple[str, str], Line] = {
        (section.name, line.name): line
        for section in stored.report.sections
        for line in section.lines
    }
    return [TableFigure(key[0], lines[key]) for key in labels if key in lines]


def means_table(results: Results) -> str:
    """Means of all rows, with a note on how they were made."""
    return "\n\n".join([means(results), UNITS, seeds_note(results)])


def differences_tables(results: Results) -> str:
    """The differences of each row from base, control and reference; a table a row."""
    known = {one.name for one in results.rows}
    parts = [
        f"**{row.name}**, differences:\n\n{differences(results, row.name)}"
        for row in results.rows
        if {row.base, row.control, row.reference} & known
    ]
    return "\n\n".join([*parts, LEGEND, seeds_note(results)])


def gains_table(results: Results) -> str:
    """The differences of our rows from base and from their control, side by side."""
    known = {one.name: one for one in results.rows}
    pairs = [
        (row, other)
        for row in GAINING if row in known
        for other in (known[row].base, known[row].control) if other in known
    ]  # fmt: skip
    rows = []
    for place, one in enumerate(results.figures):
        changes = {
            (row, change.against): change
            for row in GAINING if row in known
            for change in results.entries[row, place].changes
        }  # fmt: skip
        rows.append([label_of(one), *(difference(changes.get(pair)) for pair in pairs)])
    table = markdown(["", *(f"{row} − {other}" for row, other in pairs)], rows)
    return f"{table}\n\n{LEGEND}"


def means(results: Results) -> str:
    """A figure a row, a model a column."""
    rows = [
        [label_of(one), *(figure(results.entries[row.name, place].value.value)
                          for row in results.rows)]
        for place, one in enumerate(results.figures)
    ]  # fmt: skip
    return markdown(["", *(row.name for row in results.rows)], rows)


def differences(results: Results, name: str) -> str:
    """A figure a row; differences of one model from each that it is compared with."""
    places = range(len(results.figures))
    against = list(dict.fromkeys(
        change.against for place in places for change in results.entries[name, place].changes
    ))  # fmt: skip
    rows = []
    for place, one in enumerate(results.figures):
        changes = {change.against: change for change in results.entries[name, place].changes}
        rows.append([label_of(one), *(difference(changes.get(other)) for other in against)])
    return markdown(["", *(f"− {other}" for other in against)], rows)


def short_table(results: Results) -> str:
    """A few figures and rows, and what the last row gains over base."""
    rows = [name for name in SHORT_ROWS if name in {one.name for one in results.rows}]
    places = {(one.benchmark, one.name): at for at, one in enumerate(results.figures)}
    lines = [
        [LABELS[key],
         *(figure(results.entries[row, places[key]].value.value) for row in rows),
         difference(results.entries[rows[-1], places[key]].base)]
        for key in SHORT if key in places
    ]  # fmt: skip
    return markdown(["", *rows, f"{rows[-1]} − base"], lines)


def overview_table(results: Results) -> str:
    """A few figures of all rows; marks show which differ from base and from the reference."""
    places = {(one.benchmark, one.name): at for at, one in enumerate(results.figures)}
    rows = [
        [LABELS[key], *(marked(results.entries[row.name, places[key]]) for row in results.rows)]
        for key in OVERVIEW if key in places
    ]  # fmt: skip
    reference = next((row.reference for row in results.rows if row.reference), "")
    marks = f" * differs from base{f', † from *{reference}*' if reference else ''}"
    note = f"{UNITS}{marks}: p < 0.05 after Holm's correction over all differences of the grid."
    table = markdown(["", *(row.name for row in results.rows)], rows)
    return "\n\n".join([table, note, seeds_note(results)])


def marked(entry: TableEntry) -> str:
    """A mean with the marks of its differences."""
    marks = [
        mark
        for mark, change in (("*", entry.base), ("†", entry.reference))
        if change is not None and change.verdict
    ]
    return " ".join([figure(entry.value.value), "".join(marks)]).strip()


def difference(change: Change | None) -> str:
    """A difference with its interval and its mark."""
    if change is None:
        return "-"
    return spread(change.difference, signed=True) + (" *" if change.verdict else "")


def label_of(one: TableFigure) -> str:
    """The name of a figure in the tables."""
    return LABELS.get((one.benchmark, one.name), one.name)


def seeds_note(results: Results) -> str:
    """How many seeds each row has."""
    counts = {row.name: len(results.seeds[row.name]) for row in results.rows}
    listed = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    return f"Seeds: {listed}."


def as_json(results: Results) -> Sequence[Mapping[str, object]]:
    """Every value and difference, for programs and plots."""
    return [
        {
            "row": row.name, "kind": row.kind, "seeds": list(results.seeds[row.name]),
            "benchmark": one.benchmark, "figure": one.name, "label": label_of(one),
            "value": vars(results.entries[row.name, place].value),
            "against": [
                {
                    "row": change.against, "difference": vars(change.difference),
                    "p": change.p, "adjusted": change.adjusted, "verdict": change.verdict,
                }
                for change in results.entries[row.name, place].changes
            ],
        }
        for row in results.rows
        for place, one in enumerate(results.figures)
    ]  # fmt: skip
