"""`report.md`: a report as a Markdown page."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paraclip.evaluation.benchmark import LOWER_IS_BETTER
from paraclip.evaluation.reporting.report import Line, Report, Section, headline_rows, legend
from paraclip.evaluation.reporting.tables import counts, inert, markdown_table, one_line, spread
from paraclip.evaluation.scoring.significance import MARGIN, not_inferior

SPACE = re.compile(r" +\)")


def report_page(report: Report, pictures: Sequence[str], pages: Sequence[str] = ()) -> str:
    """The whole page."""
    labels = list(report.models)
    headlines = [
        [f"{section}: {name}", *(SPACE.sub(")", cell) for cell in cells)]
        for section, name, cells in headline_rows(report)
    ]
    parts = ["# Evaluation", models_table(report)]
    parts += [markdown_table(["in percent", *labels], headlines), *filter(None, [legend(labels)])]
    parts += [f"[The pairs whose rankings changed most]({name})" for name in pages]
    parts += [f"![{Path(name).stem.replace('_', ' ')}]({name})" for name in pictures]
    parts += [section_page(section, labels) for section in report.sections]
    facts = dict(report.provenance)
    if left_out := facts.pop("left_out", None):
        lines = [f"- {name}: {one_line(reason)}" for name, reason in left_out.items()]
        parts += ["## Left out", "\n".join(lines)]
    parts += ["## How it was made", provenance_list(facts)]
    return "\n\n".join(parts) + "\n"


def models_table(report: Report) -> str:
    """Architecture and weights of each model."""
    rows = [
        [label, str(facts.get("architecture", {}).get("name", "-")), f"`{facts.get('weights')}`"]
        for label, facts in report.models.items()
    ]
    return markdown_table(["model", "architecture", "weights"], rows)


def section_page(section: Section, labels: list[str]) -> str:
    """One benchmark: its headlines, and all other figures folded."""
    notes = [f"Note: {inert(note)}." for note in section.notes]
    parts = [f"## {section.name}", f"On {inert(section.pool)}.", *notes]
    first = [line for line in section.lines if line.headline]
    further = [line for line in section.lines if not line.headline]
    if first:
        parts += figure_tables(first, labels)
    if further:
        head = f"<details><summary>{len(further)} further figures</summary>"
        parts += [head, *figure_tables(further, labels), "</details>"]
    return "\n\n".join(parts)


def figure_tables(lines: list[Line], labels: list[str]) -> list[str]:
    """Figures with their intervals, then the differences, if there are any."""
    values = [[line.name, *(spread(line.values[label]) for label in labels)] for line in lines]
    parts = [markdown_table(["in percent, with 95 % interval", *labels], values)]
    if pairs := list(lines[0].differences):
        rows = [[line.name, *(marked(line, pair) for pair in pairs)] for line in lines]
        parts.append(markdown_table(["paired difference", *pairs], rows))
        parts.append(
            "Bold: the 95 % interval of the difference excludes zero. ≥: not inferior, it "
            f"excludes a loss of {MARGIN:g} point or more."
        )
    return parts


def marked(line: Line, pair: str) -> str:
    """A difference, bold if its interval excludes zero, with a mark if it is not inferior."""
    difference = line.differences[pair]
    text = spread(difference, signed=True)
    text = f"**{text}**" if counts(difference) else text
    return f"{text} ≥" if not_inferior(difference, line.name in LOWER_IS_BETTER) else text


def provenance_list(facts: dict[str, Any]) -> str:
    """Provenance as a list, without options that were not given."""
    given = {**facts, "command": " ".join(map(str, facts.get("command", [])))}
    return "\n".join(
        f"- {name}: {one_line(value)}" for name, value in given.items() if value is not None
    )
