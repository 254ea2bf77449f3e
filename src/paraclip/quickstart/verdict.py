"""Which of the models to use, by what was measured."""

from paraclip.evaluation.reporting.report import Line, Report
from paraclip.evaluation.reporting.tables import spread
from paraclip.quickstart.results import CONSISTENCY, K

GUARDS = (f"T2I R@{K}", f"R@{K} plain caption")
"""Retrieval with the captions themselves, which must not get worse."""


def verdict(report: Report) -> str:
    """Recommend tuned, merged or base, in one or two lines.

    A model is recommended over base if its consistency gains over base and control beyond chance
    and retrieval does not lose beyond chance (95 % intervals of the paired differences).

    Args:
        report: with the models base, control, tuned and merged.
    """
    overlap, guard = found(report, (CONSISTENCY,)), found(report, GUARDS)
    for label in ("tuned", "merged"):
        if gains(overlap, label) and not loses(guard, label):
            return f"Use {label}: {evidence(overlap, guard, label)}."
    why = evidence(overlap, guard, "tuned")
    return f"Keep base: neither tuned nor merged is better beyond chance (tuned: {why})."


def found(report: Report, names: tuple[str, ...]) -> Line:
    """The first figure with one of the names."""
    return next(line for name in names if (line := report.line(name)) is not None)


def gains(line: Line, label: str) -> bool:
    """Whether a model's figure is above that of base and of control beyond chance."""
    return all(line.differences[f"{label} - {other}"].low > 0 for other in ("base", "control"))


def loses(line: Line, label: str) -> bool:
    """Whether a model's figure is below that of base beyond chance."""
    return line.differences[f"{label} - base"].high < 0


def evidence(overlap: Line, guard: Line, label: str) -> str:
    """Both differences from base, and that from control."""
    return (
        f"{overlap.name} {spread(overlap.differences[f'{label} - base'], True)} over base and "
        f"{spread(overlap.differences[f'{label} - control'], True)} over control, "
        f"{guard.name} {spread(guard.differences[f'{label} - base'], True)}"
    )
