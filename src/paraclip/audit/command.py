"""`paraclip audit` and `paraclip audit report`."""

import json
from collections import Counter
from pathlib import Path

from paraclip.audit.config import AuditConfig, AuditReportConfig
from paraclip.audit.judge import judge_sheet
from paraclip.audit.report import EXPORT_HINT, AuditReport, Mark, read_marks, report_of
from paraclip.audit.sheet import read_sheet, write_sheet
from paraclip.errors import UserError, printable
from paraclip.files import read_bounded, refuse_overwriting, text_hash, write_text
from paraclip.provenance import provenance


def audit_command(config: AuditConfig) -> None:
    """Write the page and print what it contains.

    Raises:
        UserError: see `write_sheet`.
    """
    page, pairs = write_sheet(config)
    for stratum, count in sorted(Counter(pair.stratum for pair in pairs).items()):
        print(f"{count:>5,}  {stratum}")
    print(printable(f"{len(pairs):,} pairs to check: open {page} in a browser."))


def audit_report_command(config: AuditReportConfig) -> AuditReport:
    """Print the report and write its JSON.

    Raises:
        UserError: no file of marks or one of them twice, `--out` is an input, the sheet or a file
            of marks is damaged, or the judge's server fails.
    """
    check_files(config)
    sheet = read_sheet(config.sheet)
    sheet_name = text_hash(read_bounded(config.sheet).decode())
    reviewers: dict[str, dict[str, Mark]] = {}
    for path in config.marks:
        name, marks = read_marks(path, sheet, sheet_name)
        names = (name, f"{name} ({path.name})")  # of several pages, the files have one name
        reviewers[next((one for one in names if one not in reviewers), f"{name} ({path})")] = marks
    judge = judge_sheet(sheet, config.judge, config.base_url) if config.judge else None
    report = report_of(sheet, reviewers, judge)
    print(printable_lines(report.table()))
    if config.out is not None:
        content = report.as_dict() | {"judge_model": config.judge, "provenance": provenance()}
        write_text(config.out, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    return report


def check_files(config: AuditReportConfig) -> None:
    """Refuse marks that are missing or given twice, and an output that is an input."""
    if not config.marks:
        raise UserError("MARKS", "names no file of marks", EXPORT_HINT)
    seen: set[Path] = set()
    for path in config.marks:
        if path.resolve() in seen:
            what = "is given twice and would count as two reviewers"
            raise UserError(path, what, "Name each file once.")
        seen.add(path.resolve())
    if config.out is not None:
        refuse_overwriting(config.out, [config.sheet, *config.marks])


def printable_lines(text: str) -> str:
    """The text with control characters escaped, except line ends."""
    return "\n".join(map(printable, text.split("\n")))
