"""The table of all models, the same as a plot, and the recommended model."""

from paraclip.errors import printable
from paraclip.evaluation.plots import plot_lines
from paraclip.evaluation.report import (
    Line,
    Report,
    aligned,
    compared_with,
    figure,
    spread,
)

_OUR_FILES = {
    "captions of wordings.jsonl": "captions of the held-out pictures",
    " of pool.txt": "",
}
"""What the files that quickstart writes for its benchmarks are for a reader."""
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
_RIGHT = (f"R@{K} plain caption", f"R@{K}", f"R@{K} both ways")
"""Figures of right pictures, of which a recommended model may lose none; the first is also shown
for one."""
_MOST_LOST = -2.0
"""Points of it that a recommended model may lose to base, at the lower end of the interval."""


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
    """What each benchmark searched and a blind guess gets, without names of quickstart's files."""
    notes = report.notes()
    for ours, meant in _OUR_FILES.items():
        notes = [note.replace(ours, meant) for note in notes]
    return notes


def recommend(report: Report, base: str = "mini") -> tuple[str | None, str]:
    """Recommend the model whose wordings agree most, of those that lose no right pictures.

    It agrees more than base, or agrees as much and finds more right pictures; no figure of right
    pictures is below that of base or control, and it loses at most two points of the first of these
    figures to base. More and below: the 95 % interval of the paired difference is on one side of 0;
    as much: the difference is not below 0; at most two points: the lower end of the interval.

    Args:
        report: report with base, control and the trained models.
        base: name of the base.

    Returns:
        The label, or None for base, and the reasons in a few lines: the figures of each model that
        was looked at, and what it loses.
    """
    overlap, guard = report.line(f"AO@{K}"), report.line(_RIGHT[0])
    assert overlap is not None and guard is not None  # of the report of the stamps
    right = [line for section in report.sections for line in section.lines if line.name in _RIGHT]
    trained = [label for label in report.models if label not in ("base", "control")]
    refused = list[str]()
    for label in sorted(trained, key=lambda label: -overlap.values[label].value):
        lost = [
            f"{_title(line)} {spread(change, True)} against {other}"
            for line in right
            for other in ("base", "control")
            if (change := line.differences[f"{label} - {other}"]).high < 0
        ]
        gain, kept = (line.differences[f"{label} - base"] for line in (overlap, guard))
        if not lost and kept.low <= _MOST_LOST:
            lost = [f"may lose up to {-kept.low:.1f} points of {_title(guard)} against base"]
        more = gain.low > 0 or (gain.value >= 0 and kept.low > 0)
        if more and not lost:
            return label, "\n".join([f"Use {label}: {_evidence(overlap, guard, label)}.", *refused])
        if not more:
            lost = ["agrees no more than base, beyond chance", *lost]
        refused.append(
            f"Not {label} ({_evidence(overlap, guard, label)}): " + "; ".join(lost) + "."
        )
    hint = (
        "Next: more captions, which narrow the intervals, triples of a stronger LLM (`paraclip"
        " generate --backend openai`), or less of the tuned model (`paraclip merge"
        f" {printable(base)} TUNED --share 0.25`)."
    )
    return None, "\n".join(["Keep base: no model agrees more and loses nothing.", *refused, hint])


def _title(line: Line) -> str:
    """A figure's name in the table."""
    return _OF_STAMPS[line.name]


def _evidence(overlap: Line, guard: Line, label: str) -> str:
    """The differences from base and from control in both figures."""
    return ", ".join(
        f"{_title(line)} {spread(line.differences[f'{label} - base'], True)} over base and"
        f" {spread(line.differences[f'{label} - control'], True)} over control"
        for line in (overlap, guard)
    )
