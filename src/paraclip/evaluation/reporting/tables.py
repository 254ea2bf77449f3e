"""Figures as text, and the two forms of a table: aligned for the console, Markdown for files."""

import html
import math
from collections.abc import Sequence
from typing import Any

from paraclip.errors import printable
from paraclip.evaluation.scoring.bootstrap import Interval


def figure(value: float, signed: bool = False) -> str:
    """A figure with one decimal; a dash if undefined."""
    if not math.isfinite(value):
        return "-"
    rounded = round(value, 1) + 0.0  # no minus zero
    return f"{rounded:+.1f}" if signed else f"{rounded:.1f}"


def spread(interval: Interval, signed: bool = False) -> str:
    """A figure with its interval: `70.1 [68.9, 71.3]`."""
    low, high = figure(interval.low, signed), figure(interval.high, signed)
    return f"{figure(interval.value, signed)} [{low}, {high}]"


def counts(interval: Interval) -> bool:
    """Whether the interval of a difference excludes zero."""
    return interval.low > 0 or interval.high < 0


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table for the console: the first column left-aligned, others right-aligned.

    A row of one cell is a heading.
    """
    columns = max(map(len, rows))
    full = [[*row, *[""] * (columns - len(row))] for row in rows]
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    lines = []
    for first, *rest in full:
        figures = (text.rjust(width) for text, width in zip(rest, widths[1:], strict=True))
        lines.append("  ".join([first.ljust(widths[0]), *figures]).rstrip())
    return lines


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with figures right-aligned."""
    align = ["---", *("---:" for _ in head[1:])]
    lines = [[escape(text) for text in row] for row in (head, *rows)]
    lines.insert(1, align)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape(text: str) -> str:
    """Escape text so that it stays in its cell and is not HTML."""
    return inert(text).replace("|", "\\|")


def inert(text: str) -> str:
    """Escape text to one printable line that is not HTML."""
    return html.escape(printable(text.replace("\n", " ")), quote=False)


def one_line(value: Any) -> str:
    """A value of any type as text for a list."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {one_line(inner)}" for name, inner in value.items())
    return escape(str(value))
