"""The benchmarks `scenes` and `probes`: drawn pictures and captions that ship with ParaCLIP.

Both use the metrics of `variations.py`. `scenes` has one caption of each drawn scene in seven
rewordings, with a contrast. `probes` tests idioms, negation and jargon over the same pictures, with
one rewording per item. The pool holds each scene and the scene that its contrast describes, so
recognising the subject alone is not enough to find the right picture.

Limitations: the pictures are drawings, on which models trained only on photographs do worse, and
there are few of them. Use the results to compare models, not to rank them for photographs.
"""

import json
from pathlib import Path
from zipfile import ZipFile

from paraclip.evaluation.benchmark import Benchmark
from paraclip.evaluation.benchmarks.variations import Variations
from paraclip.evaluation.inputs.pool import Pool
from paraclip.evaluation.inputs.wordings import KINDS, read_wordings
from paraclip.evaluation.scoring.vectors import Arithmetic
from paraclip.files import atomic_path, cache_folder, file_hash

NEEDS: dict[str, tuple[str, ...]] = {"scenes": (), "probes": ()}
GET = dict.fromkeys(NEEDS, "It ships with ParaCLIP.")
FILES = Path(__file__).parent / "files"
SCENES, PROBES = FILES / "scenes.jsonl", FILES / "probes.jsonl"
ARCHIVE = FILES / "scenes.zip"  # written by `python -m recipes.scenes`


def load_scenes(data: Path, how: Arithmetic) -> Benchmark:
    """Load the captions of the drawn scenes in seven rewordings; `data` is ignored."""
    return Variations("scenes", read_wordings(SCENES, KINDS), scene_pool(), how=how)


def load_probes(data: Path, how: Arithmetic) -> Benchmark:
    """Load idioms, negation and jargon over the drawn scenes; `data` is ignored."""
    return Variations("probes", read_wordings(PROBES, None), scene_pool(), how=how)


def read_plans() -> dict[str, str]:
    """Return the plan of each picture by name: first the scenes, then the contrast scenes."""
    rows = [json.loads(line) for line in SCENES.read_text(encoding="utf-8").splitlines()]
    plans = {row["image_id"]: row["plan"] for row in rows}
    others = {
        row["image_id"].replace(".png", "_contrast.png"): row["contrast_plan"] for row in rows
    }
    return {**plans, **others}


def scene_pool(folder: Path | None = None) -> Pool:
    """Return the pool of all drawn pictures, unpacked on first use.

    Args:
        folder: folder for the pictures; defaults to a folder in ParaCLIP's cache named after the
            hash of the archive.
    """
    archive_hash = file_hash(ARCHIVE)
    folder = folder or cache_folder() / "scenes" / archive_hash
    with ZipFile(ARCHIVE) as archive:
        names = archive.namelist()
        for name in names:
            if not (folder / name).exists():
                with atomic_path(folder / name) as temporary:
                    temporary.write_bytes(archive.read(name))
    return Pool("drawn scenes", tuple(str(folder / name) for name in names), None, archive_hash)
