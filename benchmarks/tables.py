"""Render every stored result, and insert the tables into the documents, between their markers.

    python -m benchmarks.tables          # write
    python -m benchmarks.tables --check  # exit 1 if a file shows other figures

Each `NAME.json` in `benchmarks/results/` or `study/results/` names the function that renders it
(`machine.keep`). Its tables are written beside it as `.md`; a document shows one between
`<!-- table: NAME -->` and `<!-- end table -->`.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.machine import rendered
from paraclip.files import write_text

ROOT = Path(__file__).parent.parent
RESULTS = ("benchmarks/results", "study/results")
MARK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end table -->)", re.DOTALL)


def documents() -> list[Path]:
    """All files that may show a table."""
    pages = (
        page
        for place in ("docs/**", "recipes/*", "src/paraclip/starter", "study", "study/*")
        for page in ROOT.glob(f"{place}/*.md")
        if page.parent != ROOT / "study" / "results"
    )
    return [ROOT / "README.md", *sorted(pages)]


def all_tables() -> dict[Path, str]:
    """The text of every table, by the file that holds it alone."""
    found: dict[Path, str] = {}
    for folder in RESULTS:
        for path in sorted((ROOT / folder).glob("*.json")):
            record = json.loads(path.read_text(encoding="utf-8"))
            for name, text in rendered(path.stem, record).items():
                found[path.with_name(f"{name}.md")] = text + "\n"
    return found


def filled(text: str, document: Path, tables: Mapping[str, str]) -> str:
    """The text with the current table in every marked place.

    Raises:
        SystemExit: there is no result of a marked table.
    """
    if missing := sorted({name for _, name, _ in MARK.findall(text)} - {*tables}):
        hint = "run their benchmarks, or remove their marks"
        where = document.relative_to(ROOT)
        sys.exit(f"{where} marks tables that are missing: {', '.join(missing)}; {hint}")
    return MARK.sub(lambda found: f"{found[1]}\n{tables[found[2]]}\n{found[3]}", text)


def outdated(tables: Mapping[Path, str]) -> dict[Path, str]:
    """Files that show something else than the results, with what they should hold."""
    by_name = {path.stem: text for path, text in tables.items()}
    pages = {path: filled(path.read_text(encoding="utf-8"), path, by_name) for path in documents()}
    return {
        path: text
        for path, text in {**tables, **pages}.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }


def main() -> int:
    """Update all files, or report those that are out of date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; print what is out of date"
    )
    check = parser.parse_args().check
    behind = outdated(all_tables())
    for path, text in behind.items():
        print(f"{path.relative_to(ROOT)} shows other figures than the results")
        if not check:
            write_text(path, text)
    return 1 if check and behind else 0


if __name__ == "__main__":
    sys.exit(main())
