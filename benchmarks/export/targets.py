"""Which models can be exported to which systems, and their vectors with the system's own loader.

    make targets                               # the systems' environments
    python -m benchmarks.export.targets --small runs/clip-small/tuned/last.safetensors
    python -m benchmarks.export.targets --models ViT-B-32 --texts 200

ViT-B-32, ViT-B-32-quickgelu, ViT-B-16, ViT-L-14 and ViT-B-32-256 have random weights; `--small`
names a tuned CLIP, and `mini` is built in. Each is exported for each system and loaded there in a
separate environment. Its text vectors are compared with ParaCLIP's: the largest difference of unit
vectors, and the number of texts that rank a pool of 100 random vectors differently. If a system
refuses a model, the reason is below the table.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import open_clip
import torch

from benchmarks.export.loaders import environments
from benchmarks.export.loaders.texts import TEXTS
from benchmarks.machine import RESULTS, facts_of, keep, say
from paraclip.errors import UserError
from paraclip.exporting.run import export_model
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import encode_texts
from paraclip.models.formats.published import preprocessing_of
from paraclip.models.loading import load_model
from paraclip.models.openclip import ClipSpec, OpenClip, build_clip
from paraclip.systems import ExportOptions
from paraclip.tables import markdown

LOADERS = Path(environments.__file__).parent
BPE = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
TAGS = {
    "ViT-B-32": "laion2b_s34b_b79k",
    "ViT-B-32-quickgelu": "openai",
    "ViT-B-16": "laion400m_e32",
    "ViT-L-14": "laion2b_s32b_b82k",
    "ViT-B-32-256": "datacomp_s34b_b86k",
}
CLOSE = 1e-4
POOL = 100


@dataclass(frozen=True)
class Way:
    """A way to export to a system.

    Args:
        title: title of its column.
        options: options of the export.
        loader: script that embeds texts with the system's own loader.
        environment: environment of the script; `here` is the current one.
        named: whether the name of the architecture is passed to the loader.
    """

    title: str
    options: ExportOptions
    loader: str
    environment: str = "here"
    named: bool = False


SBERT = ExportOptions(target="sentence-transformers")
WAYS = (
    Way("open_clip", ExportOptions(target="open-clip"), "load_open_clip.py"),
    Way("transformers 5", ExportOptions(to="hf"), "load_transformers.py"),
    Way("transformers 4", ExportOptions(to="hf"), "load_transformers.py", "transformers4"),
    Way("sentence-transformers 6", SBERT, "load_sentence_transformers.py"),
    Way("sentence-transformers 5.3", SBERT, "load_sentence_transformers.py", "transformers4"),
    Way("immich", ExportOptions(target="immich"), "load_immich.py"),
    Way("rclip 3", ExportOptions(target="rclip"), "load_rclip.py", "rclip3"),
    Way("rclip 4", ExportOptions(target="rclip"), "load_rclip.py", "rclip4"),
    Way("fastembed", ExportOptions(target="fastembed"), "load_fastembed.py", "fastembed"),
    Way(
        "transformers.js", ExportOptions(target="transformers-js"), "load_transformers_js.mjs",
        "transformers_js",
    ),
    Way(
        "clip-retrieval", ExportOptions(target="clip-retrieval"), "load_clip_retrieval.py",
        "clip_retrieval", named=True,
    ),
    Way("LanceDB", ExportOptions(target="lancedb"), "load_lancedb.py", "lancedb", named=True),
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """Result of a model in a system.

    Args:
        model: its name.
        way: title of the system.
        difference: largest difference of unit text vectors; None if it was refused or not run.
        reordered: number of texts whose ranking of the pool differs.
        reason: reason why there is no difference.
    """

    model: str
    way: str
    difference: float | None = None
    reordered: int | None = None
    reason: str = ""

    @property
    def shown(self) -> str:
        """The cell of the table."""
        if self.difference is None:
            return "no" if self.reason else "not run"
        good = self.difference < CLOSE and not self.reordered
        return f"{self.difference:.0e}" if good else f"**{self.difference:.0e}, {self.reordered}**"


def main() -> None:
    """Export, load, compare; print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=[*TAGS, "small", "mini"])
    parser.add_argument("--small", metavar="CHECKPOINT", help="a tuned CLIP for the row `small`")
    parser.add_argument("--texts", type=int, default=200, help="how many texts are embedded")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    cells: list[Cell] = []
    for name, model, tag in models(chosen.models, chosen.small):
        listed = TEXTS[: chosen.texts]
        own = encode_texts(model, listed).numpy()
        for way in WAYS:
            cells.append(cell_of(name, model, tag, way, listed, own))
            say(f"{name}, {way.title}: {cells[-1].shown} {cells[-1].reason}")
        found = [asdict(cell) for cell in cells]  # a run takes long: what is complete is kept
        keep("export_targets", chosen.out, written, cells=found, texts=len(listed),
             facts=facts_of())  # fmt: skip


def models(names: list[str], small: str | None) -> Iterator[tuple[str, DualEncoder, str | None]]:
    """Names, models and tags of their bases, one after the other."""
    for name in names:
        if name == "small":
            if small is not None:
                yield "tuned small CLIP", load_model(small, "cpu"), None
        elif name == "mini":
            yield "mini", load_model("mini", "cpu"), None
        else:
            yield name, random_clip(name), TAGS[name]


def random_clip(name: str) -> OpenClip:
    """A model of open_clip with random weights; texts are spread like those of a trained one."""
    torch.manual_seed(0)
    config = open_clip.get_model_config(name)
    tag = open_clip.get_pretrained_cfg(name, TAGS[name])
    spec = ClipSpec(name, config, preprocessing_of(tag))
    model = OpenClip(spec, build_clip(spec))
    with torch.no_grad():
        for parameter in model.text_tower.parameters():
            parameter.mul_(1.5)
    return model


def cell_of(
    name: str, model: DualEncoder, tag: str | None, way: Way, listed: list[str], own: np.ndarray
) -> Cell:
    """Export a model to a system and compare its vectors there."""
    program = program_of(way.environment)
    if program is None:
        return Cell(name, way.title, reason="")
    with TemporaryDirectory(prefix="paraclip-export-") as place:
        folder = Path(place) / "out"
        settings = {**asdict(way.options), "tag": tag}
        try:
            export_model(model, folder, ExportOptions(**settings))
        except UserError as error:
            return Cell(name, way.title, reason=error.what)
        theirs = loaded(way, program, folder, model.architecture.name, listed)
    difference = float(np.abs(unit(theirs) - own).max())
    pool = unit(np.random.default_rng(0).standard_normal((POOL, own.shape[1])))
    orders = [(vectors @ pool.T).argsort(1)[:, -10:] for vectors in (unit(theirs), own)]
    return Cell(name, way.title, difference, int((orders[0] != orders[1]).any(1).sum()))


def loaded(way: Way, program: list[str], folder: Path, name: str, listed: list[str]) -> np.ndarray:
    """Vectors of the texts by a system's own loader."""
    prepare(way, folder)
    given, out = folder.parent / "texts.json", folder.parent / "vectors.npy"
    given.write_text(json.dumps(listed), encoding="utf-8")
    words = [*program, str(LOADERS / way.loader), str(folder), str(given), str(out)]
    node = str(environments.node_modules() or "")
    settings = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": "", "PARACLIP_NODE": node}
    subprocess.run([*words, *([name] if way.named else [])], check=True, env=settings,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    if way.loader.endswith(".mjs"):
        return np.asarray(json.loads(out.read_text()), np.float32)
    return np.asarray(np.load(out), np.float32)


def prepare(way: Way, folder: Path) -> None:
    """Add the files that the system already has for its base to the export."""
    if way.options.target == "rclip":
        (folder / "tokenizer").mkdir()
        shutil.copy(BPE, folder / "tokenizer" / BPE.name)
    if way.options.target == "immich":
        (base,) = (folder / "clip").iterdir()
        (base / "config.json").write_text('{"text_cfg": {"context_length": 77}}')


def program_of(environment: str) -> list[str] | None:
    """The program of an environment, or None if it was not created."""
    if environment == "here":
        return [sys.executable]
    if environment == "transformers_js":
        return ["node"] if environments.node_modules() else None
    found = environments.program(environment)
    return [str(found)] if found else None


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of unit length."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def written(record: dict[str, Any]) -> str:
    """Systems by models, and the reasons below."""
    cells = [Cell(**one) for one in record["cells"]]
    names = list(dict.fromkeys(cell.model for cell in cells))
    by_place = {(cell.way, cell.model): cell for cell in cells}
    rows = [[way.title, *(by_place[way.title, name].shown for name in names)] for way in WAYS]
    reasons: dict[str, list[str]] = {}
    for cell in cells:
        if cell.reason:
            reasons.setdefault(cell.reason, []).append(f"{cell.way} ({cell.model})")
    lines = [f"- {reason}: {', '.join(places)}." for reason, places in reasons.items()]
    note = (
        f"Largest difference of {record['texts']} unit text vectors from ParaCLIP's. All others"
        " than `mini` and the tuned CLIP have random weights. No:"
        f" {len(reasons)} reasons. {record['facts']}"
    )
    return "\n".join([markdown(["", *names], rows), "", note, "", *lines])


if __name__ == "__main__":
    main()
