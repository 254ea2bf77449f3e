"""The benchmarks `scenes` and `probes`: drawn pictures and written texts that ship with ParaCLIP.

Both are variations (`variations.py`) and ask the same three things. `scenes`: a caption
of each drawn scene in seven rewordings, with a contrast. `probes`: idioms, negation and jargon over
the same pictures, one rewording an item. The pool holds each scene and the scene that its contrast
tells of, so finding the right one takes more than finding the right subject.

What they cannot say: drawings are no photographs, a model trained on photographs alone does worse
on them, and the scenes are few. They compare models; they do not rank them for photographs.
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
    """Captions of the drawn scenes in seven rewordings; `data` is not looked at."""
    return Variations("scenes", read_wordings(SCENES, KINDS), scene_pool(), how=how)


def load_probes(data: Path, how: Arithmetic) -> Benchmark:
    """Idioms, negation and jargon over the drawn scenes; `data` is not looked at."""
    return Variations("probes", read_wordings(PROBES, None), scene_pool(), how=how)


def read_plans() -> dict[str, str]:
    """The plan of every picture by its name: each scene, then each contrast's scene."""
    rows = [json.loads(line) for line in SCENES.read_text(encoding="utf-8").splitlines()]
    plans = {row["image_id"]: row["plan"] for row in rows}
    others = {
        row["image_id"].replace(".png", "_contrast.png"): row["contrast_plan"] for row in rows
    }
    return {**plans, **others}


def scene_pool(folder: Path | None = None) -> Pool:
    """All pictures, unpacked on first use.

    Args:
        folder: for the pictures; a folder of ParaCLIP's cache, named by the archive's hash, if
            left out.

    Raises:
        UserError: the disk is full or the folder may not be written.
    """
    made = file_hash(ARCHIVE)
    folder = folder or cache_folder() / "scenes" / made
    with ZipFile(ARCHIVE) as archive:
        names = archive.namelist()
        for name in names:
            if not (folder / name).exists():
                with atomic_path(folder / name) as temporary:
                    temporary.write_bytes(archive.read(name))
    return Pool("drawn scenes", tuple(str(folder / name) for name in names), None, made)
