"""Options of `paraclip audit` and `paraclip audit report`; the text below a field is its help."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from paraclip.options import Checked, Count, Seed


@dataclass(frozen=True)
class AuditConfig(Checked):
    """Sample paraphrases for people to check, and write a page that works offline in any
    browser."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Output folder of `paraclip generate`."""

    out: Path | None = None
    """Folder for audit.html and sheet.jsonl. Default: RUN/audit."""

    sample: Count = 100
    """Number of pairs on the page: half of them kept by the filters, half rejected. If there are
    fewer of one kind, the others fill the page."""

    seed: Seed = 0
    """Random seed of the sample."""


@dataclass(frozen=True)
class AuditReportConfig(Checked):
    """Turn marks into rates with intervals, agreement, and the filters' precision and recall."""

    sheet: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SHEET")]
    """The sheet.jsonl that `paraclip audit` wrote."""

    marks: Annotated[
        tyro.conf.Positional[tuple[Path, ...]],
        tyro.conf.arg(metavar="MARKS [MARKS ...]", help_behavior_hint="(required)"),
    ]
    """Marks exported from the page, one file per reviewer."""

    judge: str | None = None
    """Language model on an OpenAI-compatible server that marks the same sheet. The report states
    its agreement with people."""

    base_url: str | None = None
    """URL of that server. Default: the variable OPENAI_BASE_URL, else OpenAI's server."""

    out: Path | None = None
    """JSON file to write the report to. Default: only print it."""
