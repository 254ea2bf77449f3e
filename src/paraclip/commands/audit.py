"""`paraclip audit`."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from paraclip.audit import PAGE, SHEET, read_marks, read_sheet, report_marks, write_audit
from paraclip.errors import UserError, printable
from paraclip.files import read_bounded, text_hash
from paraclip.options import Checked, Count


@dataclass(frozen=True)
class AuditConfig(Checked):
    """Sample paraphrases for people to check, on a page that works offline in any browser; with
    --marks, report what they marked."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """Output folder of `paraclip generate`."""

    out: str | None = None
    """Folder of audit.html and sheet.jsonl. Default: RUN/audit."""

    sample: Count = 100
    """Number of pairs on the page: half of them kept by the filters, half rejected. If there are
    fewer of one kind, the others fill the page."""

    marks: tuple[str, ...] = ()
    """Files of marks exported from the page, one for each reviewer: report rates with intervals and
    the filters' precision and recall, and draw no sample."""


def audit_command(config: AuditConfig) -> None:
    """Write the page and print what it contains; with marks, print the report."""
    folder = Path(config.out or Path(config.run, "audit"))
    if not config.marks:
        pairs = write_audit(Path(config.run), folder, config.sample)
        for stratum, count in sorted(Counter(pair.stratum for pair in pairs).items()):
            print(printable(f"{count:>5,}  {stratum}"))
        print(printable(f"{len(pairs):,} pairs to check: open {folder / PAGE} in a browser."))
        return
    # By their real paths: a link to a file is the same file.
    if len(set(map(os.path.realpath, config.marks))) < len(config.marks):
        what = "a file is given twice and would count as two reviewers"
        raise UserError("--marks", what, "Name each file once.")
    sheet = read_sheet(folder / SHEET)
    # Marks name the sheet that they are of by this hash.
    name = text_hash(read_bounded(folder / SHEET).decode())
    marks = [mark for path in config.marks for mark in read_marks(Path(path), sheet, name)]
    # One by one, because `printable` escapes line feeds.
    print("\n".join(map(printable, report_marks(sheet, marks).split("\n"))))
