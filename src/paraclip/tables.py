"""Tables for the console and in Markdown, and the texts in their cells."""

import html
from collections.abc import Sequence

from paraclip.errors import printable


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


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]], rest: str = "---:") -> str:
    """A Markdown table; `rest` aligns the columns after the first, by default to the right."""
    rule = "|".join(["---", *[rest] * (len(heads) - 1)])
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in (heads, *rows)]
    return "\n".join([f"| {lines[0]} |", f"|{rule}|", *(f"| {line} |" for line in lines[1:])])


def inert(text: str) -> str:
    """A text on one printable line that is not HTML."""
    return html.escape(printable(" ".join(text.split())), quote=False)
