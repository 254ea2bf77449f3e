"""The picture and the table of the README: the output of `make demo`.

    python -m benchmarks.evaluation.demo

Runs `recipes.demo` without changes (a complete run is only read), copies its contact sheet and
writes its table. The pictures are Debian's Tux Paint stamps (`tuxpaint-stamps-default`), the
captions and wordings are in `recipes/demo`.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, from_cells, keep
from paraclip.commands.quickstart import QuickstartConfig
from paraclip.evaluation.report import Report
from recipes.demo.__main__ import run_stages
from recipes.demo.results import table_rows
from recipes.demo.stamps import PACKAGE

PICTURE = Path("docs/images/demo.png")


def main() -> None:
    """Run, copy the picture, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of the run")
    parser.add_argument("--epochs", type=int, help="of training")
    parser.add_argument("--name", default="demo", help="name of the table")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="picture to write")
    parser.add_argument("--results", default=RESULTS, help="folder of table and JSON")
    options = parser.parse_args()
    report = run_stages(QuickstartConfig(PACKAGE, str(options.out), epochs=options.epochs))
    shutil.copyfile(options.out / "report" / "contact_sheet.png", options.picture)
    keep(options.name, Path(options.results), from_cells, cells=[cells(report)],
         figures=figures(report))  # fmt: skip


def figures(report: Report) -> dict[str, dict[str, dict[str, float]]]:
    """Values and differences with intervals, by benchmark and figure."""
    return {
        f"{section.name}: {line.name}": {
            name: vars(interval) for name, interval in {**line.values, **line.differences}.items()
        }
        for section in report.sections
        for line in section.lines
    }


def cells(report: Report) -> dict[str, Any]:
    """The table of the terminal."""
    head, *rows = table_rows(report)
    return {"heads": [text.replace(" - ", " − ") for text in head], "rows": rows}


if __name__ == "__main__":
    main()
