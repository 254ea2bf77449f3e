"""The benchmarks `scenes` and `probes`: drawn pictures and written texts that ship with ParaCLIP.

Both are variations (`benchmarks/variations.py`) and ask the same three things. `scenes`: a caption
of each drawn scene in seven rewordings, with a contrast. `probes`: idioms, negation and jargon over
the same pictures, one rewording an item. The pool holds each scene and the scene that its contrast
tells of, so finding the right one takes more than finding the right subject.

What they cannot say: drawings are no photographs, a model trained on photographs alone does worse
on them, and the scenes are few. They compare models; they do not rank them for photographs.
"""

import json
from importlib.metadata import version
from pathlib import Path

from paraclip.evaluation.benchmark import Benchmark
from paraclip.evaluation.benchmarks.variations import Variations
from paraclip.evaluation.inputs.pool import Pool
from paraclip.evaluation.inputs.wordings import KINDS, read_wordings
from paraclip.evaluation.scenes.plan import draw
from paraclip.evaluation.scoring.vectors import Arithmetic
from paraclip.files import atomic_path, cache_folder, text_hash

NEEDS: dict[str, tuple[str, ...]] = {"scenes": (), "probes": ()}
GET = dict.fromkeys(NEEDS, "It ships with ParaCLIP: the pictures are drawn when they are needed.")
HERE = Path(__file__).parent
SCENES, PROBES = HERE / "scenes.jsonl", HERE / "probes.jsonl"


def load_scenes(data: Path, how: Arithmetic) -> Benchmark:
    """Captions of the drawn scenes in seven rewordings; `data` is not looked at."""
    return Variations("scenes", read_wordings(SCENES, KINDS), drawn_pool(), how=how)


def load_probes(data: Path, how: Arithmetic) -> Benchmark:
    """Idioms, negation and jargon over the drawn scenes; `data` is not looked at."""
    return Variations("probes", read_wordings(PROBES, None), drawn_pool(), how=how)


def read_plans() -> dict[str, str]:
    """The plan of every picture by its name: each scene, then each contrast's scene."""
    rows = [json.loads(line) for line in SCENES.read_text(encoding="utf-8").splitlines()]
    plans = {row["image_id"]: row["plan"] for row in rows}
    others = {
        row["image_id"].replace(".png", "_contrast.png"): row["contrast_plan"] for row in rows
    }
    return {**plans, **others}


def drawn_pool(folder: Path | None = None) -> Pool:
    """All pictures, drawn where they are not there yet.

    Args:
        folder: for the pictures; a folder of ParaCLIP's cache, by the code that draws them, if
            left out.

    Raises:
        UserError: the disk is full or the place may not be written.
    """
    plans = read_plans()
    made = drawing_hash(plans)
    if folder is None:
        folder = cache_folder() / "scenes" / text_hash(made + version("pillow"))
    for name, plan in plans.items():
        if not (folder / name).exists():
            with atomic_path(folder / name) as temporary:
                draw(plan).save(temporary, "PNG")
    return Pool("drawn scenes", tuple(str(folder / name) for name in plans), None, made)


def drawing_hash(plans: dict[str, str]) -> str:
    """Of the plans and of the code that draws them."""
    drawers = sorted(path for path in HERE.glob("*.py") if path != Path(__file__))
    code = [path.read_text(encoding="utf-8") for path in drawers]
    return text_hash("\n".join([*(f"{name} {plan}" for name, plan in plans.items()), *code]))
