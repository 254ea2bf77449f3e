"""The picture and the table of the README: the output of `make demo`.

    python -m benchmarks.evaluation.demo
    python -m benchmarks.evaluation.demo --coco data/coco

Runs `paraclip quickstart` without changes (a complete run is only read), copies its contact sheet
and writes its table. The pictures are Debian's Tux Paint stamps (`tuxpaint-stamps-default`), the
captions and wordings are included in ParaCLIP. With `--coco`, the same on 337 photographs of COCO
with the first caption of each, as a user's own folder; none of these pictures is copied.
"""

import argparse
import csv
import json
import shutil
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, from_cells, keep
from paraclip.commands.quickstart import quickstart_command
from paraclip.evaluation.report import Report, read_report
from paraclip.quickstart.config import QuickstartConfig
from paraclip.quickstart.results import recommend, table_rows

PICTURE = Path("docs/images/demo.png")


def main() -> None:
    """Run, copy the picture, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--coco", metavar="FOLDER", help="photographs of COCO, not the stamps")
    parser.add_argument("--out", type=Path, help="folder of the run")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="picture to write")
    parser.add_argument("--results", default=RESULTS, help="folder of table and JSON")
    options = parser.parse_args()
    name = "demo_coco" if options.coco else "demo"
    out = options.out or Path("runs") / name
    source = str(coco_captions(Path(options.coco), out)) if options.coco else None
    quickstart_command(QuickstartConfig(source=source, out=str(out)))
    report = read_report(out / "report" / "report.json")
    if not options.coco:
        shutil.copyfile(out / "report" / "contact_sheet.png", options.picture)
    keep(name, Path(options.results), from_cells, cells=[cells(report)],
         verdict=recommend(report)[1], figures=figures(report))  # fmt: skip


def coco_captions(folder: Path, out: Path) -> Path:
    """A captions file of the photographs, with the first caption of each."""
    rows = json.loads((folder / "captions.json").read_text(encoding="utf-8"))
    path = out / "captions.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as lines:
        table = csv.writer(lines)
        table.writerow(("caption", "image"))
        for row in rows:
            picture = (folder / "images" / row["file_name"]).resolve()
            table.writerow((row["captions"][0].strip(), picture))
    return path


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
    """The table of the terminal; the name of a benchmark is a row."""
    head, *rows = table_rows(report)
    full = [[*row, *[""] * (len(head) - len(row))] for row in rows]
    return {"heads": [text.replace(" - ", " − ") for text in head], "rows": full}


if __name__ == "__main__":
    main()
