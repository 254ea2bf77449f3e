"""`paraclip compare`: reads reports, chooses the two models, prints the differences."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from paraclip.errors import UserError
from paraclip.evaluation.benchmark import LOWER_IS_BETTER
from paraclip.evaluation.config import CompareConfig
from paraclip.evaluation.reporting.compare import LEVEL, Comparison, Drawing, Row, Side, compare
from paraclip.evaluation.reporting.report import as_dict, compared_with, figure, spread
from paraclip.evaluation.reporting.stored import Stored, read_stored
from paraclip.files import write_text
from paraclip.provenance import provenance

FORMAT = "paraclip-comparison-1"
HEAD = ("", "items", "first", "second", "difference [95 %]", "p", "Holm", "counts")


def compare_command(config: CompareConfig) -> None:
    """Compare and print.

    Raises:
        UserError: a report is missing or broken, or the models cannot be told.
    """
    pairs = choose_pairs(config)
    how = Drawing(config.resamples, config.seed, config.all_metrics)
    found = compare(pairs, how)
    print("\n\n".join(as_text(comparison) for comparison in found))
    figures = sum(len(comparison.rows) for comparison in found)
    if figures * 2 / (config.resamples + 1) >= LEVEL:
        told = f"{config.resamples} resamples are too few for {figures} figures"
        print(f"warning: nothing can count: {told}; give more --resamples")
    if config.out is not None:
        write_text(config.out, as_json(found, config))
        print(f"\nWritten: {config.out}")


def choose_pairs(config: CompareConfig) -> list[tuple[Side, Side]]:
    """Which model of which reports is set against which; the rules stand in `CompareConfig`.

    Raises:
        UserError: no report is named, a label is in none, or too many are.
    """
    if not config.reports:
        raise UserError("compare", "no report is named", "Name report.json of an evaluation.")
    if len(config.models) > 2:
        raise UserError("--models", f"{len(config.models)} are named", "Name one or two.")
    reports = tuple(read_stored(path) for path in config.reports)
    against = tuple(read_stored(path) for path in config.against)
    if against:
        return across(reports, against, config.models)
    if len(reports) == 2 and len(config.models) < 2:
        return across(reports[:1], reports[1:], config.models)
    return [inside(reports, config.models)]


def inside(reports: tuple[Stored, ...], models: Sequence[str]) -> tuple[Side, Side]:
    """Two models of the same reports, each report a seed."""
    labels = list(reports[0].report.models)
    first = models[0] if len(models) == 2 else compared_with(labels)[0]
    usual = "tuned" if "tuned" in labels and first != "tuned" else labels[-1]
    second = models[-1] if models else usual
    if first == second:
        what = f"there is nothing to set {first} against"
        raise UserError(reports[0].path, what, "Name another report, or two --models.")
    return side(first, reports), side(second, reports)


def across(
    reports: tuple[Stored, ...], against: tuple[Stored, ...], models: Sequence[str]
) -> list[tuple[Side, Side]]:
    """Models of one set of reports against those of another: the named, else the like-named."""
    if models:
        return [(side(models[0], reports), side(models[-1], against))]
    known = [set(stored.report.models) for stored in (*reports, *against)]
    common = [label for label in reports[0].report.models if all(label in some for some in known)]
    if common:
        return [(side(label, reports), side(label, against)) for label in common]
    if all(len(some) == 1 for some in known):
        (first,), (second,) = reports[0].report.models, against[0].report.models
        return [(side(first, reports), side(second, against))]
    what = "the reports have no model of the same label"
    raise UserError("compare", what, "Name the first and the second with --models.")


def side(label: str, runs: tuple[Stored, ...]) -> Side:
    """The model of that label in all these reports.

    Raises:
        UserError: one has none.
    """
    for run in runs:
        if label not in run.report.models:
            hint = f"It has {', '.join(run.report.models)}."
            raise UserError(run.path, f"has no model {label!r}", hint)
    return Side(label, runs)


def as_text(found: Comparison) -> str:
    """A comparison for the console: warnings, table, and what counts."""
    lines = [f"warning: {warning}" for warning in found.warnings]
    lines += [f"first:  {found.first}", f"second: {found.second}", ""]
    rows: list[tuple[str, ...]] = [HEAD]
    benchmark = None
    for row in found.rows:
        if row.benchmark != benchmark:
            benchmark = row.benchmark
            rows.append((benchmark, *([""] * (len(HEAD) - 1))))
        rows.append(cells(row))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    for cells_of in rows:
        padded = [text.rjust(width) for text, width in zip(cells_of, widths, strict=True)]
        lines.append("  ".join([cells_of[0].ljust(widths[0]), *padded[1:]]).rstrip())
    return "\n".join([*lines, "", *verdict(found)])


def cells(row: Row) -> tuple[str, ...]:
    """One line of the table."""
    mark = "" if row.paired else " unpaired"
    return (
        f"  {row.metric}{mark}", f"{row.items:,}", figure(row.first), figure(row.second),
        spread(row.difference, signed=True), chance(row.p), chance(row.adjusted),
        "yes" if row.counts else "no",
    )  # fmt: skip


def chance(p: float) -> str:
    """A p-value with four decimals; a dash where it is not defined."""
    return f"{p:.4f}" if math.isfinite(p) else "-"


def verdict(found: Comparison) -> list[str]:
    """What a reader takes home."""
    counting = [row for row in found.rows if row.counts]
    better = [changed(row) for row in counting if gain(row) > 0]
    worse = [changed(row) for row in counting if gain(row) < 0]
    rest = len(found.rows) - len(counting)
    lines = [
        f"better: {', '.join(better) or 'nothing that counts'}",
        f"worse: {', '.join(worse) or 'nothing that counts'}",
        f"no change that counts: {rest} of {len(found.rows)} figures",
        f"counts: p under {LEVEL:g} after Holm's correction over all figures compared",
    ]
    if max(found.seeds) > 1:
        lines.append(f"runs (seeds): {found.seeds[0]} of the first, {found.seeds[1]} of the second")
    return lines


def gain(row: Row) -> float:
    """The difference, above zero where the second is better."""
    return -row.difference.value if row.metric in LOWER_IS_BETTER else row.difference.value


def changed(row: Row) -> str:
    """`AO@10 +7.1`, with the benchmark where the metric's name alone would not tell."""
    return f"{row.benchmark} {row.metric} {figure(row.difference.value, signed=True)}"


def as_json(found: Sequence[Comparison], config: CompareConfig) -> str:
    """All comparisons for a file."""
    content = {
        "format": FORMAT,
        "unit": "percent; correlations times 100; difference is second less first",
        "comparisons": [
            {
                "first": one.first, "second": one.second, "seeds": list(one.seeds),
                "warnings": list(one.warnings), "figures": [row_as_dict(row) for row in one.rows],
            }
            for one in found
        ],
        "provenance": provenance(settings=asdict(config)),
    }  # fmt: skip
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def row_as_dict(row: Row) -> dict[str, Any]:
    """One figure; what is not defined is null."""
    facts = {name: value for name, value in vars(row).items() if name != "difference"}
    for name in ("first", "second", "p", "adjusted"):
        facts[name] = round(facts[name], 6) if math.isfinite(facts[name]) else None
    return {**facts, "difference": as_dict(row.difference), "counts": row.counts}
