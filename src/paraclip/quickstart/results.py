"""The table of all models, the same as a plot, and the recommended model."""

from collections.abc import Sequence

from paraclip.errors import printable
from paraclip.evaluation.plots import plot_lines
from paraclip.evaluation.report import (
    Line,
    Report,
    Section,
    aligned,
    compared_with,
    figure,
    spread,
)

_OUR_FILES = {
    "captions of wordings.jsonl": "captions of the held-out pictures",
    "pairs of queries.jsonl": "query pairs of the starter set",
    "pairs of pairs.jsonl": "held-out captions with their rewordings",
    "captions of held_out.jsonl": "captions of the held-out pictures",
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
_OF_PAIRS = (f"R@{K} rewording", f"R@{K} both ways")
"""Figures of pairs whose picture is known, shown beside their consistency."""
_RIGHT = (f"T2I R@{K}", f"R@{K} plain caption", f"R@{K}", *_OF_PAIRS)
"""Figures of right pictures, of which a recommended model may lose none; the first that a report
has is also shown for one."""
_MOST_LOST = -2.0
"""Points of it that a recommended model may lose to base, at the lower end of the interval."""


def table(report: Report) -> str:
    """The figures of all models, and tuned's differences with intervals, for the console."""
    rows = [*aligned(table_rows(report)), "", "In brackets: 95 % interval."]
    return "\n".join(map(printable, [*rows, *_notes(report)]))


def table_rows(report: Report) -> list[list[str]]:
    """Header and rows; a row of one cell is the name of a benchmark, if there are several."""
    labels = list(report.models)
    against = compared_with(labels)
    rows = [["", *labels, *(f"tuned - {other}" for other in against)]]
    for section in report.sections:
        lines = _shown(section)
        if lines and len(report.sections) > 1:
            rows.append([section.name])
        for line in lines:
            values = [figure(line.values[label].value) for label in labels]
            gains = [spread(line.differences[f"tuned - {other}"], True) for other in against]
            rows.append([_title(line), *values, *gains])
    return rows


def plot(report: Report) -> bytes | None:
    """The figures of the table as a plot, PNG; None without a figure."""
    lines = [
        (_title(line) if len(report.sections) == 1 else f"{_title(line)}\n{section.name}", line)
        for section in report.sections
        for line in _shown(section)
    ]
    return plot_lines(list(report.models), lines, _notes(report)) if lines else None


def _shown(section: Section) -> list[Line]:
    """The figures of a benchmark that are shown, in their order."""
    by_name = {line.name: line for line in section.lines}
    if by_name.keys() >= _OF_STAMPS.keys():
        return [by_name[name] for name in _OF_STAMPS]
    lines = [line for line in section.lines if line.headline or line.name in _OF_PAIRS]
    return [line for line in lines if not line.name.startswith("I2T")]


def _notes(report: Report) -> list[str]:
    """What each benchmark searched and a blind guess gets, without names of quickstart's files."""
    notes = report.notes()
    for ours, meant in _OUR_FILES.items():
        notes = [note.replace(ours, meant) for note in notes]
    return notes


def recommend(report: Report, base: str = "mini") -> tuple[str | None, str]:
    """Recommend the model whose wordings agree most, of those that lose no right pictures.

    It agrees more than base, no figure of right pictures is below that of base or control, and it
    loses at most two points of the first of these figures to base. Above and below: the 95 %
    interval of the paired difference is on one side of 0; at most two points: its lower end.

    Args:
        report: report with base, control and the trained models.
        base: name of the base.

    Returns:
        The label, or None for base, and the reasons in a few lines: the figures of each model that
        was looked at, and what it loses.
    """
    overlap = _first(report, (f"AO@{K}",))
    right = [line for section in report.sections for line in section.lines if line.name in _RIGHT]
    guard = _first(report, _RIGHT)
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
        if gain.low > 0 and not lost:
            return label, "\n".join([f"Use {label}: {_evidence(overlap, guard, label)}.", *refused])
        if gain.low <= 0:
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


def _first(report: Report, names: Sequence[str]) -> Line:
    """The first of some figures that the report has."""
    return next(line for name in names if (line := report.line(name)) is not None)


def _title(line: Line) -> str:
    """A figure's name in the table of the stamps, or else in the report."""
    return _OF_STAMPS.get(line.name, line.name)


def _evidence(overlap: Line, guard: Line, label: str) -> str:
    """The differences from base and from control in both figures."""
    return ", ".join(
        f"{_title(line)} {spread(line.differences[f'{label} - base'], True)} over base and"
        f" {spread(line.differences[f'{label} - control'], True)} over control"
        for line in (overlap, guard)
    )
