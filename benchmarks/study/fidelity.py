"""Fidelity and diversity of the study's triples, beside what tuning on them gave.

    PARACLIP_DATA=folder python -m benchmarks.study.fidelity    # minutes on 2 cores

Fidelity: MiniLM's cosine of both paraphrases with their sources, and the share of them that the
filters of `paraclip generate --limits checked` refuse. Diversity: the share
of content words that differ from the caption's (1 - Jaccard), and the share of distinct word pairs
over all second paraphrases. All over the same number of rows, drawn at random. The outcome is read
from the JSON of the grids of base a, as far as they are there, and drawn against diversity in
`docs/images/study_fidelity.png`.
"""

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.machine import RESULTS, keep, markdown, parse_with_data, say
from benchmarks.study.plots import IMAGES, place_names, values_of
from benchmarks.study.tables import LABELS
from benchmarks.study.triples import triples_file
from paraclip.data.triples import read_triples
from paraclip.evaluation.plots import COLOURS, arms, new_figure, save
from paraclip.evaluation.statistics import Interval
from paraclip.paraphrase.config import CHECKED
from paraclip.paraphrase.diversity import distinct, lexical_distance
from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.filters.minilm import SentenceEncoder

ROWS = 1_000
"""Rows of each file; the share of distinct word pairs falls as their number grows."""
SOURCES: Mapping[str, tuple[str, str]] = {
    "strong": ("built_in", "strong"),
    "mixed": ("built_in", "mixed"),
    "built-in": ("built_in", "built-in"),
    "unfiltered": ("built_in", "built-in, unfiltered"),
    "two-samples": ("built_in", "built-in, two samples"),
    "wrong10": ("generators", "10 % wrong"),
    "wrong20": ("generators", "20 % wrong"),
    "people": ("main", "people"),
    "starter": ("generators", "starter, L2 and L3 alone"),
}
"""Grid and row of the study that were tuned on each file."""
CHANGED = "words changed, step 2"
OUTCOME = (
    ("pairs-sugar-crepe-pp", "AO@10"), ("cxc", "AO@10 CxC ≥ 4.5"), ("variations", "AO@10"),
    ("sts", "STS mean of 7"),
)  # fmt: skip


def qualities(
    rows: Sequence[Mapping[str, Any]], encoder: SentenceEncoder, judge: Judge
) -> dict[str, float]:
    """Fidelity and diversity of triples, in percent."""
    steps = [Question(row["caption"], row["paraphrase_1"]) for row in rows]
    steps += [Question(row["paraphrase_1"], row["paraphrase_2"], row["caption"]) for row in rows]
    sources = encoder.encode([one.source for one in steps])
    answers = encoder.encode([one.answer for one in steps])
    refused = [one.reason is not None for one in judge.judge(steps)]
    second = [row["paraphrase_2"] for row in rows]
    changed = {
        name: mean(lexical_distance(row["caption"], row[name]) for row in rows)
        for name in ("paraphrase_1", "paraphrase_2")
    }
    return {
        "similarity": 100 * float((sources * answers).sum(axis=1).mean()),
        "refused": 100 * mean(refused),
        "words changed, step 1": 100 * changed["paraphrase_1"],
        CHANGED: 100 * changed["paraphrase_2"],
        "distinct word pairs": 100 * (distinct(second, 2) or 0.0),
    }


def outcomes(results: Path, grid: str, row: str) -> dict[str, Interval]:
    """Scores of a row of the study by label; empty if its table has not been made."""
    path = results / f"study_a_{grid}.json"
    if not path.is_file():
        return {}
    values = values_of(json.loads(path.read_text(encoding="utf-8"))["figures"])
    return {LABELS[key]: values[row, *key] for key in OUTCOME if (row, *key) in values}


def draw(
    changed: Mapping[str, float], outcome: Mapping[str, Mapping[str, Interval]], path: Path
) -> None:
    """Plot what tuning on each file gave against the share of words that its paraphrases change.

    Args:
        changed: share of changed words of each file, in percent.
        outcome: scores of the row that was tuned on each file, by label.
        path: PNG file to write.
    """
    drawing = new_figure(13, 4.8)
    for panel, key in zip(drawing.subplots(1, 2), OUTCOME[:2], strict=True):
        for name, scores in outcome.items():
            if LABELS[key] in scores:
                draw_point(panel, short(name), changed[name], scores[LABELS[key]])
        panel.set_xlabel("content words of the caption that paraphrase 2 changes, %")
        panel.set_ylabel(LABELS[key])
        panel.margins(0.15)
        panel.grid(alpha=0.3)
    drawing.suptitle("means over seeds with 95 % intervals, percent", fontsize=9)
    drawing.draw_without_rendering()  # the layout decides which names overlap
    for panel in drawing.axes:
        place_names(panel)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(drawing, path)


def short(name: str) -> str:
    """The name of a file's row, short enough to stand beside its point."""
    return SOURCES[name][1].removeprefix("built-in, ").partition(",")[0]


def draw_point(panel: Any, name: str, across: float, up: Interval) -> None:
    """A file's point, with its interval and name."""
    panel.errorbar(across, up.value, yerr=arms(up), fmt="o", color=COLOURS[2], ecolor="#BBBBBB")
    offset = {"xytext": (6, 5), "textcoords": "offset points", "fontsize": 7}
    panel.annotate(name, (across, up.value), **offset)


def main() -> None:
    """Measure every file and print the table."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--out", type=Path, default=Path("runs/study"), help="folder of the runs")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of table and JSON")
    made.add_argument("--images", type=Path, default=IMAGES, help="folder of the plot")
    made.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES))
    options = parse_with_data(made)
    encoder = SentenceEncoder()
    judge = Judge(CHECKED, encoder)
    found: dict[str, dict[str, float]] = {}
    outcome = {name: outcomes(options.results, *SOURCES[name]) for name in options.sources}
    for name in options.sources:
        file = triples_file(name, Path(options.data), options.out / "triples")
        rows = read_triples(file).to_pylist()
        say(f"{name}: {len(rows)} triples")
        drawn = random.Random(0).sample(rows, min(ROWS, len(rows)))
        scores = {label: one.value for label, one in outcome[name].items()}
        found[name] = {"rows": len(rows), **qualities(drawn, encoder, judge), **scores}
    changed = {name: one[CHANGED] for name, one in found.items()}
    draw(changed, outcome, options.images / "study_fidelity.png")
    keep("study_fidelity", options.results, as_table(found), triples=found, sample=ROWS)


def as_table(found: Mapping[str, Mapping[str, float]]) -> str:
    """The table in Markdown; a dash where the study has no figure."""
    columns = list(dict.fromkeys(name for one in found.values() for name in one))
    rows = [
        [SOURCES[name][1], *(shown(column, one.get(column)) for column in columns)]
        for name, one in found.items()
    ]
    note = (
        f"Percent; {ROWS:,} triples of each file, drawn at random. Refused: share of paraphrases "
        "that do not pass `--limits checked`."
    )
    return f"{markdown(['', *columns], rows)}\n\n{note}"


def shown(column: str, value: float | None) -> str:
    """A cell of the table."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if column == "rows" else f"{value:.1f}"


if __name__ == "__main__":
    main()
