"""The table of all models, and the same as a plot."""

from paraclip.errors import printable
from paraclip.evaluation.plots import plot_lines
from paraclip.evaluation.report import Line, Report, compared_with, figure, spread
from paraclip.tables import aligned

_OUR_FILES = {
    "captions of wordings.jsonl": "captions of the held-out pictures",
    " of pool.txt": "",
}
"""What the files that the demo writes for its benchmarks are for a reader."""
K = 10
CUTOFFS = (1, 5, K)
_OF_STAMPS = {
    f"AO@{K}": f"AO@{K}", f"JS@{K}": f"JS@{K}", f"AO@{K} margin": f"AO@{K} over another meaning",
    **{f"R@{k} plain caption": f"R@{k} of the caption" for k in CUTOFFS},
    **{f"R@{k}": f"R@{k} of another wording" for k in CUTOFFS},
    f"R@{K} both ways": f"R@{K} of both",
    "text discrimination": "contrast refused, text", "picture discrimination": "same, picture",
}  # fmt: skip
"""Figures of the stamps' table by their name in the report."""


def table(report: Report) -> str:
    """The figures of all models, and tuned's differences with intervals, for the console."""
    rows = [*aligned(table_rows(report)), "", "In brackets: 95 % interval."]
    return "\n".join(map(printable, [*rows, *_notes(report)]))


def table_rows(report: Report) -> list[list[str]]:
    """Header and rows."""
    labels = list(report.models)
    against = compared_with(labels)
    rows = [["", *labels, *(f"tuned - {other}" for other in against)]]
    for title, line in _shown(report):
        values = [figure(line.values[label].value) for label in labels]
        gains = [spread(line.differences[f"tuned - {other}"], True) for other in against]
        rows.append([title, *values, *gains])
    return rows


def plot(report: Report) -> bytes | None:
    """The figures of the table as a plot, PNG; None without a figure."""
    lines = _shown(report)
    return plot_lines(list(report.models), lines, _notes(report)) if lines else None


def _shown(report: Report) -> list[tuple[str, Line]]:
    """The figures that are shown with their names, in their order."""
    shown = ((title, report.line(name)) for name, title in _OF_STAMPS.items())
    return [(title, line) for title, line in shown if line is not None]


def _notes(report: Report) -> list[str]:
    """What each benchmark searched and a blind guess gets, without names of the demo's files."""
    notes = report.notes()
    for ours, meant in _OUR_FILES.items():
        notes = [note.replace(ours, meant) for note in notes]
    return notes
