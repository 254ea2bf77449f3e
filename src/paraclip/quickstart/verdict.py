"""Recommends a model, based on the scores."""

from paraclip.evaluation.reporting.report import Line, Report
from paraclip.evaluation.reporting.tables import spread
from paraclip.quickstart.results import CONSISTENCY, K

GUARDS = (f"T2I R@{K}", f"R@{K} plain caption")
"""Retrieval with the captions themselves, which must not degrade."""


def verdict(report: Report) -> str:
    """Recommend tuned, merged or base, in one or two lines.

    A model is recommended if its consistency is significantly above base and control, and its
    retrieval is not significantly below base (95 % intervals of the paired differences).

    Args:
        report: report with the models base, control, tuned and merged.
    """
    overlap, guard = found(report, (CONSISTENCY,)), found(report, GUARDS)
    for label in ("tuned", "merged"):
        if gains(overlap, label) and not loses(guard, label):
            return f"Use {label}: {evidence(overlap, guard, label)}."
    why = evidence(overlap, guard, "tuned")
    return f"Keep base: neither tuned nor merged is better beyond chance (tuned: {why})."


def found(report: Report, names: tuple[str, ...]) -> Line:
    """The first figure that has one of the names."""
    return next(line for name in names if (line := report.line(name)) is not None)


def gains(line: Line, label: str) -> bool:
    """Whether a model's figure is significantly above those of base and control."""
    return all(line.differences[f"{label} - {other}"].low > 0 for other in ("base", "control"))


def loses(line: Line, label: str) -> bool:
    """Whether a model's figure is significantly below that of base."""
    return line.differences[f"{label} - base"].high < 0


def evidence(overlap: Line, guard: Line, label: str) -> str:
    """The differences from base, and the one from control."""
    return (
        f"{overlap.name} {spread(overlap.differences[f'{label} - base'], True)} over base and "
        f"{spread(overlap.differences[f'{label} - control'], True)} over control, "
        f"{guard.name} {spread(guard.differences[f'{label} - base'], True)}"
    )
