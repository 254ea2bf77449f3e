"""A stored report with the score of every item, read for comparisons."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from paraclip.errors import UserError
from paraclip.evaluation.benchmark import VALUES, Metric
from paraclip.evaluation.reporting.report import Line, Report, Section, read_report
from paraclip.evaluation.scoring.arrays import read_arrays
from paraclip.files import check_input

AGAIN = "Evaluate again."


@dataclass(frozen=True, eq=False)
class Stored:
    """A report and its items."""

    path: Path  # path of report.json
    report: Report  # the report
    # arrays of items.npz by name, as `item_arrays` of `run.py` names them
    items: dict[str, NDArray[Any]]

    def section(self, name: str) -> Section | None:
        """The benchmark with that name."""
        return next((section for section in self.report.sections if section.name == name), None)

    def scored(self, section: str, label: str) -> set[str]:
        """Names of the figures of a model in a benchmark."""
        stored = self.section(section)
        lines = [] if stored is None else stored.lines
        return {
            line.name
            for line in lines
            if label not in line.values  # `metric` reports it
            or math.isfinite(line.values[label].value)
            or f"{section}/{label}/{line.name}" in self.items
        }

    def metric(self, section: str, line: Line, label: str) -> Metric:
        """One figure of one model with its items."""
        key = f"{section}/{label}/{line.name}"
        if line.statistic not in VALUES:
            what = f"does not say how {line.name} of {section} is made of its items"
            raise UserError(self.path, what, AGAIN)
        if key not in self.items:
            what = f"has no {key}, which report.json has"
            raise UserError(self.path.with_name("items.npz"), what, AGAIN)
        groups, clusters = (self.items.get(f"{key}:{part}") for part in ("groups", "clusters"))
        items = self.items[key]
        if not fit_together(items, groups, clusters, line.statistic):
            what = f"has arrays of {key} that do not fit together"
            raise UserError(self.path.with_name("items.npz"), what, AGAIN)
        return Metric(line.name, items, line.statistic, groups, clusters)  # type: ignore[arg-type]


def fit_together(
    items: NDArray[Any],
    groups: NDArray[Any] | None,
    clusters: NDArray[Any] | None,
    statistic: str,
) -> bool:
    """Whether the arrays of a figure have the shapes and types that `Metric` declares."""
    wide = (len(items), 2) if items.ndim else ()
    columns = {"mean": (), "sampled_spearman": (3,)}.get(statistic, (2,))
    if items.dtype.kind not in "fiub" or items.shape != (*wide[:1], *columns):
        return False
    return (
        groups is None or (groups.dtype.kind in "iu" and groups.shape in (wide[:1], wide))
    ) and (clusters is None or (clusters.dtype.kind in "iu" and clusters.shape == wide[:1]))


def read_stored(path: str | Path) -> Stored:
    """Read report.json (or the folder that contains it) and items.npz in the same folder.

    Raises:
        UserError: a file is missing, broken, or larger than any that ParaCLIP writes.
    """
    check_input(path)
    path, items = stored_files(path)
    return Stored(path, read_report(path), read_items(items))


def stored_files(path: str | Path) -> tuple[Path, Path]:
    """The report.json that a file or folder names, and its items.npz."""
    path = Path(path)
    path = path / "report.json" if path.is_dir() else path
    return path, path.with_name("items.npz")


def read_items(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an items.npz; pickled objects are refused."""
    try:
        return read_arrays(path)
    except FileNotFoundError:
        hint = "Keep report.json and items.npz in one folder."
        raise UserError(path, "is not beside its report", hint) from None
    except (OSError, ValueError) as error:
        raise UserError(path, f"cannot be read ({error})", AGAIN) from error


Origin = tuple[Path, Report, Section | None, str]
"""File, report, benchmark in it, label of the model."""


def differences_in_origin(benchmark: str, origins: Sequence[Origin]) -> tuple[list[str], bool]:
    """Warnings about results from other data, precision or versions than the first.

    Returns:
        The warnings, and whether all were scored on the same data and pool (so that items pair).
    """
    warnings: list[str] = []
    same = True
    path, report, section, label = origins[0]
    for other_path, other_report, other, other_label in origins[1:]:
        if section is None or other is None:
            continue
        both = f"{benchmark}: {path} and {other_path}"
        if section.data_hash != other.data_hash:
            same = False
            named = ", ".join(differing(section, other))
            warnings.append(f"{both} were made with other data ({named}); nothing is paired")
        elif skipped(section) != skipped(other):
            same = False
            warnings.append(f"{both} have left out other items; nothing is paired")
        one, two = (
            made_with(*found)
            for found in ((report, section, label), (other_report, other, other_label))
        )
        warnings += [
            f"{both} were made with other {name} ({one[name]} and {two[name]})"
            for name in one
            if one[name] != two[name]
        ]
    return warnings, same


def skipped(section: Section) -> list[str]:
    """The notes on items that could not be read."""
    return [note for note in section.notes if " left out: " in note]


def differing(one: Section, two: Section) -> list[str]:
    """Names of the facts about the data that differ, with both values."""
    first, second = ({"pool in words": s.pool, **s.data} for s in (one, two))
    names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    return [f"{name} {short(first.get(name))} and {short(second.get(name))}" for name in names]


def short(value: Any) -> str:
    """A short text for a value."""
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def made_with(report: Report, section: Section, label: str) -> dict[str, Any]:
    """Precision and versions used for a model's figures in a benchmark."""
    made = section.made.get(label, {})
    versions = made.get("versions") or report.provenance.get("versions")
    versions = versions if isinstance(versions, dict) else {}
    precision = made.get("precision", report.provenance.get("precision"))
    named = {f"{name} version": versions.get(name) for name in ("paraclip", "torch")}
    return {"precision": precision, **named}
