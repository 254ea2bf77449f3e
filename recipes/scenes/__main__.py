"""Draw every scene and write the archive that is included in ParaCLIP.

    python -m recipes.scenes

Run it from the root of the repository after changing a drawing or a plan in scenes.jsonl. The
archive has fixed dates, so that the same pictures give the same bytes.
"""

import argparse
import io
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from paraclip.evaluation.benchmarks.scenes import ARCHIVE, read_plans
from recipes.scenes.plan import draw

MOST_BYTES = 2_000_000


def main() -> None:
    """Write the archive."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ARCHIVE)
    out = parser.parse_args().out
    count = write_archive(read_plans(), out)
    print(f"{count} pictures, {out.stat().st_size:,} bytes: {out}")


def write_archive(plans: dict[str, str], out: Path) -> int:
    """Draw the plans into a zip file and return their number.

    Args:
        plans: plan of each picture by its file name.
        out: the archive.
    """
    with ZipFile(out, "w", ZIP_STORED) as archive:
        for name, plan in plans.items():
            archive.writestr(ZipInfo(name), png_bytes(plan))
    if out.stat().st_size > MOST_BYTES:
        raise SystemExit(f"{out} is larger than {MOST_BYTES:,} bytes, more than a package may hold")
    return len(plans)


def png_bytes(plan: str) -> bytes:
    """The picture of a plan as a PNG file."""
    buffer = io.BytesIO()
    draw(plan).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
