"""Options of `paraclip audit` and `paraclip audit report`; the text below a field is its help."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from paraclip.options import Checked, Count, Seed


@dataclass(frozen=True)
class AuditConfig(Checked):
    """Draw paraphrases for people to check; writes a page that works offline in any browser."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Output folder of `paraclip generate`."""

    out: Path | None = None
    """Folder for audit.html and sheet.jsonl. Default: RUN/audit."""

    sample: Count = 100
    """Pairs on the page: half of them kept by the filters, half rejected."""

    seed: Seed = 0
    """Seed of the draw."""


@dataclass(frozen=True)
class AuditReportConfig(Checked):
    """Turn marks into rates with intervals, agreement, and the filters' precision and recall."""

    sheet: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SHEET")]
    """sheet.jsonl of `paraclip audit`."""

    marks: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="MARKS")]
    """Files exported from the page, one for each reviewer."""

    judge: str | None = None
    """A language model on an OpenAI-compatible server that marks the same sheet; its agreement with
    people is reported."""

    base_url: str | None = None
    """Address of that server. Default: OPENAI_BASE_URL, else OpenAI's own."""

    out: Path | None = None
    """JSON file for the report."""
