"""Insert the tables that benchmarks wrote into the documents, between their markers.

    python -m benchmarks.tables          # write
    python -m benchmarks.tables --check  # exit 1 if a document shows other figures

A document marks a place with `<!-- table: NAME -->` and `<!-- end table -->`; the text in between
is the content of `NAME.md` in `benchmarks/results/` or `study/results/`.
"""

import argparse
import re
import sys
from pathlib import Path

from paraclip.files import write_text

ROOT = Path(__file__).parent.parent
RESULTS = (ROOT / "benchmarks" / "results", ROOT / "study" / "results")
MARK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end table -->)", re.DOTALL)


def documents() -> list[Path]:
    """All files that may show a table."""
    pages = (
        page
        for place in ("docs", "docs/guide", "recipes/*", "src/paraclip/starter", "study", "study/*")
        for page in ROOT.glob(f"{place}/*.md")
    )
    return [ROOT / "README.md", *sorted(pages)]


def filled(text: str, document: Path) -> str:
    """The text with the current table in every marked place.

    Raises:
        SystemExit: a marked table has not been written.
    """
    if missing := sorted(name for _, name, _ in MARK.findall(text) if not file_of(name).exists()):
        names = ", ".join(str(file_of(name).relative_to(ROOT)) for name in missing)
        hint = "run their benchmarks, or remove their marks"
        sys.exit(f"{document.relative_to(ROOT)} marks tables that are missing: {names}; {hint}")
    return MARK.sub(lambda found: found[1] + table(found[2]) + found[3], text)


def file_of(name: str) -> Path:
    """Where a benchmark, or the study, writes its table."""
    found = [path for folder in RESULTS if (path := folder / f"{name}.md").exists()]
    return found[0] if found else RESULTS[0] / f"{name}.md"


def table(name: str) -> str:
    """The table that the benchmark with that name wrote."""
    return f"\n{file_of(name).read_text(encoding='utf-8').strip()}\n\n"


def main() -> int:
    """Update all documents, or report those that are out of date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; print what is out of date"
    )
    check = parser.parse_args().check
    behind = 0
    for path in documents():
        text = path.read_text(encoding="utf-8")
        current = filled(text, path)
        if current == text:
            continue
        behind += 1
        print(f"{path.relative_to(ROOT)} shows other figures than the results")
        if not check:
            write_text(path, current)
    return 1 if check and behind else 0


if __name__ == "__main__":
    sys.exit(main())
