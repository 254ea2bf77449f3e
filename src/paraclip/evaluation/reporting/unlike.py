"""What makes two results less than comparable: other data, pool, precision or versions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paraclip.evaluation.reporting.report import Report, Section

Place = tuple[Path, Report, Section | None, str]
"""File, report, benchmark in it, label of the model."""


def unlike(benchmark: str, places: Sequence[Place]) -> tuple[list[str], bool]:
    """Warnings where a result differs from the first in what it was made with.

    Args:
        benchmark: its name.
        places: the results compared, each with its file.

    Returns:
        sentences, and whether all were scored on the same data and pool (so that items pair).
    """
    warnings: list[str] = []
    same = True
    path, report, section, label = places[0]
    for other_path, other_report, other, other_label in places[1:]:
        if section is None or other is None:
            continue
        beside = f"{benchmark}: {path} and {other_path}"
        if section.data_hash != other.data_hash:
            same = False
            named = ", ".join(differing(section, other))
            warnings.append(f"{beside} were made with other data ({named}); nothing is paired")
        one, two = (
            made_with(*found)
            for found in ((report, section, label), (other_report, other, other_label))
        )
        warnings += [
            f"{beside} were made with other {name} ({one[name]} and {two[name]})"
            for name in one
            if one[name] != two[name]
        ]
    return warnings, same


def differing(one: Section, two: Section) -> list[str]:
    """Names of the facts about the data that differ, with both values."""
    first, second = ({"pool in words": s.pool, **s.data} for s in (one, two))
    names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    return [f"{name} {short(first.get(name))} and {short(second.get(name))}" for name in names]


def short(value: Any) -> str:
    """A value in few characters."""
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def made_with(report: Report, section: Section, label: str) -> dict[str, Any]:
    """Precision and versions behind a model's figures in a benchmark."""
    made = section.made.get(label, {})
    versions = made.get("versions") or report.provenance.get("versions")
    versions = versions if isinstance(versions, dict) else {}
    precision = made.get("precision", report.provenance.get("precision"))
    named = {f"{name} version": versions.get(name) for name in ("paraclip", "torch")}
    return {"precision": precision, **named}
