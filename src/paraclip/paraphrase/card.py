"""The dataset card of a run, in Hugging Face's form (README.md with YAML metadata)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from paraclip.data.triples import TEXTS
from paraclip.errors import printable

LONGEST_CELL = 120  # characters
SIZES = {
    1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M",
    10_000_000: "1M<n<10M", 100_000_000: "10M<n<100M", 10**9: "100M<n<1B",
}  # fmt: skip
METADATA = """\
---
language: en
license: other
license_name: see-card
pretty_name: Two-step paraphrases
size_categories: {size}
tags: [paraclip, paraphrase, synthetic]
configs:
- config_name: default
  data_files: triples.parquet
---"""
INTRODUCTION = (
    "Each row holds a caption, its paraphrase in plain language (`paraphrase_1`) and a paraphrase "
    "of that with other words and another structure (`paraphrase_2`), written by a language model "
    "and filtered by rules and sentence vectors. Nobody has read all of them: "
    "`paraclip audit` draws a sample for people to check."
)


def render_card(
    summary: Mapping[str, Any],
    settings: Mapping[str, Any],
    licence: str,
    rows: Sequence[Mapping[str, Any]],
) -> str:
    """The card in Markdown.

    Args:
        summary: counts and generator, as in summary.json.
        settings: options of the run, without secrets.
        licence: terms of the generator's answers.
        rows: kept triples to show.
    """
    size = next((name for most, name in SIZES.items() if summary["kept"] < most), "1B<n<10B")
    counts = [
        ["captions", summary["captions"]],
        ["kept", summary["kept"]],
        *([f"rejected, {reason}", count] for reason, count in summary["rejected"].items()),
        ["failed", summary["failed"]],
        ["broken input rows", summary["broken"]],
    ]
    sample = [[row[name] for name in TEXTS] for row in rows]
    parts = [
        METADATA.format(size=size),
        "# Two-step paraphrases of image captions",
        INTRODUCTION,
        f"- Generator: {_escape(summary['generator'])}\n"
        f"- Licence of the answers: {_escape(licence)}\n"
        "- Licence of the captions: that of their source; check it before you publish.",
        f"## Counts\n\n{_table([['', 'rows'], *counts])}",
        f"## Filters\n\nLimits: `{json.dumps(settings['filter_limits'])}`. "
        "Reasons of rejection are above.",
        f"## Sample\n\n{_table([TEXTS, *sample])}\n",
    ]
    return "\n\n".join(parts)


def _table(rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; the first row is the header."""
    lines = [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def _cell(value: Any) -> str:
    """A value as short text on one line without markup."""
    text = f"{value:,}" if type(value) is int else " ".join(str(value).split())
    return _escape(text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 3]}...")


def _escape(text: str) -> str:
    """A text on one line without markup."""
    text = printable(" ".join(text.split()))
    for mark in "\\|<>[]`*_!":
        text = text.replace(mark, f"\\{mark}" if mark != "<" else "&lt;")
    return text
