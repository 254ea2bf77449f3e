"""The dataset card of a run, in Hugging Face's form (README.md with YAML metadata)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from paraclip.data.triples import TEXTS
from paraclip.errors import printable

SHOWN = 5  # sample rows
LONGEST_CELL = 120  # characters
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
         (10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (10**9, "100M<n<1B"))  # fmt: skip


def card_of(
    summary: Mapping[str, Any],
    settings: Mapping[str, Any],
    licence: str,
    rows: Sequence[Mapping[str, Any]],
) -> str:
    """The card in Markdown.

    Args:
        summary: counts, generator and diversity, as in summary.json.
        settings: options of the run, without secrets.
        licence: terms of the generator's answers.
        rows: kept triples, of which the first few are shown.
    """
    from huggingface_hub import DatasetCardData

    metadata = DatasetCardData(
        language="en", license="other", license_name="see-card", pretty_name="Two-step paraphrases",
        size_categories=size_of(summary["kept"]), tags=["paraclip", "paraphrase", "synthetic"],
        configs=[{"config_name": "default", "data_files": "triples.parquet"}],
    )  # fmt: skip
    return "\n".join(
        ["---", metadata.to_yaml(), "---", "", "# Two-step paraphrases of image captions", "",
         INTRODUCTION, "", f"- Generator: {escaped(summary['generator'])}",
         f"- Licence of the answers: {escaped(licence)}",
         "- Licence of the captions: that of their source; check it before you publish.", "",
         "## Counts", "", *counts_of(summary), "", "## Filters", "",
         f"Limits: `{json.dumps(settings['filter_limits'])}`. Reasons of rejection are above.", "",
         "## Diversity", "", *diversity_lines(summary["diversity"]), "", "## Sample", "",
         *table([TEXTS, *([row[name] for name in TEXTS] for row in rows[:SHOWN])]), ""]
    )  # fmt: skip


INTRODUCTION = (
    "Each row holds a caption, its paraphrase in plain language (`paraphrase_1`) and a paraphrase "
    "of that with other words and another structure (`paraphrase_2`), written by a language model "
    "and filtered by rules and sentence vectors. Nobody has read all of them: "
    "`paraclip audit` draws a sample for people to check."
)


def size_of(count: int) -> str:
    """Hugging Face's size category."""
    return next((name for most, name in SIZES if count < most), "1B<n<10B")


def counts_of(summary: Mapping[str, Any]) -> list[str]:
    """A table with the outcomes of all captions."""
    rows = [["captions", summary["captions"]], ["kept", summary["kept"]]]
    rows += [[f"rejected, {reason}", count] for reason, count in summary["rejected"].items()]
    rows += [["failed", summary["failed"]], ["broken input rows", summary["broken"]]]
    return table([["", "rows"], *rows])


def diversity_lines(diversity: Mapping[str, Any]) -> list[str]:
    """A table of the measures, by text or pair of texts."""
    rows: list[list[Any]] = []
    for name, values in diversity.items():
        if isinstance(values, Mapping):
            rows += [[name.replace("_", " "), which, value] for which, value in values.items()]
    return [
        f"Of {diversity['rows']:,} triples drawn at random.",
        "",
        *table([["measure", "of", "value"], *rows]),
    ]


def table(rows: Sequence[Sequence[Any]]) -> list[str]:
    """A Markdown table; the first row is the header."""
    lines = [f"| {' | '.join(map(cell, row))} |" for row in rows]
    return [lines[0], "|---" * len(rows[0]) + "|", *lines[1:]]


def cell(value: Any) -> str:
    """A value as short text on one line without markup."""
    text = " ".join((f"{value:,}" if type(value) is int else str(value)).split())
    return escaped(text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 3]}...")


def escaped(text: str) -> str:
    """A text on one line without markup."""
    text = printable(" ".join(text.split()))
    for mark in "\\|<>[]`*_!":
        text = text.replace(mark, f"\\{mark}" if mark != "<" else "&lt;")
    return text
